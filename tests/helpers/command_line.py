"""Runs the command line as a process."""

import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

import trustme

from dxlthreateventclient.testing import LocalFabric

TIMEOUT = 30.0
WAITING = "Waiting for threat events"
PROGRAM = [sys.executable, "-m", "dxlthreateventclient"]


class Lines:
    """The lines that a process writes to a pipe, as they arrive."""

    def __init__(self, pipe: "IO[str]") -> None:
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=[pipe], daemon=True)
        self._thread.start()

    def _read(self, pipe: "IO[str]") -> None:
        with pipe:
            for line in pipe:
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()

    def wait_for(self, text: str, *, times: int = 1) -> str:
        """Wait for ``times`` occurrences of ``text`` in the output, and return the output."""
        with self._changed:
            assert self._changed.wait_for(lambda: "".join(self._lines).count(text) >= times, TIMEOUT), (
                f"{text!r} is not in {self._lines}"
            )
            return "".join(self._lines)

    def all(self) -> str:
        """Wait until the process ends and return its output."""
        self._thread.join(TIMEOUT)
        return "".join(self._lines)


class Command:
    """A running subcommand that is killed at the end of the ``with`` block."""

    def __init__(
        self,
        *arguments: object,
        program: Sequence[str] = PROGRAM,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        **environment: str,
    ) -> None:
        self.process = subprocess.Popen(
            [*program, *map(str, arguments)],
            env=clean_environment() | environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            encoding="utf-8",
        )
        if self.process.stderr:
            self.errors = Lines(self.process.stderr)
        if self.process.stdout:
            self.output = Lines(self.process.stdout)

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT)


class Listen(Command):
    """A running ``listen`` that waits for events on a topic."""

    def __init__(self, config_file: Path, topic: str, *arguments: object, **keywords: Any) -> None:
        super().__init__("listen", "-c", config_file, "--topic", topic, *arguments, **keywords)
        self._topic = topic

    def __enter__(self) -> "Listen":
        self.errors.wait_for(f"{WAITING} on {self._topic}...")
        return self

    def said(self, *counts: int) -> list[str]:
        """Wait until the process ends, check the counts in its last line, and return the earlier lines.

        The first line and any message about remaining events are omitted. On a busy machine, ``listen`` may
        report remaining events.
        """
        _, *said, last = self.errors.all().splitlines()
        names = ("Received", "written", "rejected", "filtered", "dropped")
        expected = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
        assert expected in last, last
        return [line for line in said if not line.startswith("Writing the remaining events")]


Start: TypeAlias = Callable[..., Listen]


def clean_environment() -> dict[str, str]:
    """Return the environment without the variables under test."""
    changed = ("DXLCLIENT_CONFIG", "NO_COLOR", "PYTHONUNBUFFERED")
    return {name: value for name, value in os.environ.items() if name not in changed}


def run(
    *arguments: object, program: Sequence[str] = PROGRAM, stdin: str = "", **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a subcommand until it ends."""
    return subprocess.run(
        [*program, *map(str, arguments)],
        env=clean_environment() | environment,
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )


def shown_on(terminal: int) -> str:
    """Read a terminal until its other end is closed, then close the terminal and return the output."""
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:  # the other end of the terminal is closed
        pass
    os.close(terminal)
    return shown.decode()


def shown_on_terminal(*arguments: object, program: Sequence[str] = PROGRAM, **environment: str) -> str:
    """Run a subcommand until it ends and return its terminal output."""
    terminal, end = pty.openpty()
    with Command(
        *arguments, program=program, stdout=end, stderr=end, **{"TERM": "xterm"} | environment
    ) as command:
        os.close(end)
        shown = shown_on(terminal)
        command.process.wait(TIMEOUT)
    return shown


def without(*modules: str) -> list[str]:
    """Return a command that runs the command line as if some modules were not installed."""
    missing = f"import sys; sys.modules |= dict.fromkeys({modules})"
    return [sys.executable, "-c", f"{missing}; from dxlthreateventclient._cli import main; sys.exit(main())"]


def copy_of_configuration(fabric: LocalFabric, directory: Path, **replacements: str) -> Path:
    """Copy a fabric's configuration and other files, with some settings replaced."""
    for file in fabric.directory.iterdir():
        shutil.copy(file, directory)
    config_file = directory / "dxlclient.config"
    names = {"ca": "ca-bundle.crt", "port": f";{fabric.port};"}
    text = config_file.read_text()
    for name, replacement in replacements.items():
        assert names[name] in text
        text = text.replace(names[name], replacement)
    config_file.write_text(text)
    return config_file


def make_foreign_certificates(directory: Path) -> None:
    """Write ``foreign-ca.crt``, ``foreign.crt`` and ``foreign.key``, which no fabric trusts."""
    ca = trustme.CA()
    certificate = ca.issue_cert("stranger")
    ca.cert_pem.write_to_path(directory / "foreign-ca.crt")
    certificate.cert_chain_pems[0].write_to_path(directory / "foreign.crt")
    certificate.private_key_pem.write_to_path(directory / "foreign.key")
    (directory / "foreign.key").chmod(0o600)
