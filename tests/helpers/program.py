"""Runs programs in separate processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any


@contextmanager
def started(*command: object, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a command and kill the process at the end if it is still running."""
    process = subprocess.Popen(
        [str(word) for word in command],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def running(program: str, *arguments: object) -> AbstractContextManager["subprocess.Popen[str]"]:
    """Run a Python program."""
    return started(sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, *arguments)


def freeze(process: "subprocess.Popen[Any]") -> None:
    """Suspend a process and wait until it has stopped."""
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)


def until_printed(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout
    while (printed := process.stdout.readline()) != line + "\n":
        assert printed, f"the program ended before it printed {line!r}"
