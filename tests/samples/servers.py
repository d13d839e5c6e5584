"""The servers that samples send to, as processes in the directory of a test."""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from helpers.waiting import until

# Debian puts some servers into /usr/sbin, which is not on every user's PATH.
PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))


class Server:
    """A server on a free port of 127.0.0.1. It can be started again after it has ended.

    :param directory: its current directory, in which it also writes its log
    :param executable: its name
    :param package: the package of Debian that has it
    """

    def __init__(self, directory: Path, executable: str, package: str) -> None:
        found = shutil.which(executable, path=PATH)
        if found is None:
            pytest.fail(f"{executable} is not installed: apt-get install {package}")
        self.directory = directory
        self._executable = found
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]

    def arguments(self) -> list[str]:
        """Return the arguments of the command line."""
        return []

    def answers(self) -> bool:
        """Return whether clients can connect."""
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except ConnectionRefusedError:
            return False
        return True

    def start(self) -> None:
        """Start the server; return when it answers."""
        log = self.directory / "server.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [self._executable, *self.arguments()], cwd=self.directory, stdout=output, stderr=output
            )
        self._process = process

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text()
            return self.answers()

        until(is_ready, f"{self._executable} answers")

    def end(self, with_signal: signal.Signals = signal.SIGKILL) -> None:
        """End the server."""
        if self._process:
            self._process.send_signal(with_signal)
            self._process.wait()
            self._process = None

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
