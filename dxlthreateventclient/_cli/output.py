"""Files to which events and rejected payloads are appended, one per line."""

import base64
import json
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dxlclient.message import Event

from dxlthreateventclient import ThreatEventDecodeError
from dxlthreateventclient._cli.terminal import CommandError, tell

# The interval between attempts to write to a file, in seconds.
_TRY_EVERY = 0.5


class LineFile:
    """A file to which complete lines are appended.

    If the file was moved, for example by logrotate, the next line is written to a new file. Every write first
    checks whether the path still refers to the open file.

    :param pattern: the path of the file, in which ``strftime`` fields stand for the time in UTC
    """

    def __init__(self, pattern: Path) -> None:
        self._pattern = str(pattern)
        self._open_file: int | None = None

    def __str__(self) -> str:
        return self._pattern

    def append(self, text: str) -> None:
        """Append a line.

        :raise OSError: if the line cannot be written. In this case, the file contains no part of the line.
        """
        file = self.open()
        end = os.fstat(file).st_size
        line = f"{text}\n".encode("utf-8", errors="backslashreplace")
        try:
            while line:
                line = line[os.write(file, line) :]
        except OSError:
            with suppress(OSError):  # not a regular file
                os.ftruncate(file, end)
            raise

    def open(self) -> int:
        """Open the file at the path, unless it is already open.

        :raise OSError: if the file cannot be opened
        """
        is_dated = "%" in self._pattern
        path = Path(time.strftime(self._pattern, time.gmtime()) if is_dated else self._pattern)
        if self._open_file is not None:
            with suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(self._open_file)):
                    return self._open_file
            os.close(self._open_file)
            self._open_file = None
        if is_dated:
            path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            _begin_line(file)
        except OSError:
            os.close(file)
            raise
        self._open_file = file
        return file


def _begin_line(file: int) -> None:
    # A killed process may have left an incomplete last line.
    if stat.S_ISREG(os.fstat(file).st_mode) and os.fstat(file).st_size:
        os.lseek(file, -1, os.SEEK_END)
        if os.read(file, 1) != b"\n":
            os.write(file, b"\n")


def open_lines(file: Path, what: str) -> LineFile:
    """Return a file to which lines can be appended.

    :param what: the purpose of the file, for the error message
    :raise CommandError: if the file cannot be opened
    """
    lines = LineFile(file)
    try:
        lines.open()
    except OSError as error:
        raise CommandError(f"cannot write the {what} file {file}: {error.strerror}", status=2) from error
    return lines


class PatientFile:
    """A file that retries failed writes instead of raising an error.

    :param file: the file
    :param may_wait: returns True while there is still time and enough memory for incoming events
    """

    def __init__(self, file: LineFile, may_wait: Callable[[], bool]) -> None:
        self.tries = 0
        self._file = file
        self._may_wait = may_wait
        self._dropped = 0
        self._failing_since: float | None = None

    def write(self, text: str) -> bool:
        """Append a line. Return False if the line could not be written in time."""
        while True:
            self.tries += 1
            try:
                self._file.append(text)
            except OSError as error:
                self._note_failure(error)
            else:
                self._note_success()
                return True
            if not self._may_wait():
                self._dropped += 1
                if self._dropped == 1:
                    tell(f"{self._file} still cannot be written: from now on the oldest events are dropped")
                return False
            time.sleep(_TRY_EVERY)

    def _note_failure(self, error: OSError) -> None:
        if self._failing_since is None:
            self._failing_since = time.monotonic()
            tell(
                f"Cannot write {self._file}: {error.strerror}. Events wait in memory until it can be written"
            )

    def _note_success(self) -> None:
        if self._failing_since is not None:
            seconds = time.monotonic() - self._failing_since
            tell(f"{self._file} can be written again after {seconds:.0f} s; dropped: {self._dropped}")
            self._failing_since, self._dropped = None, 0


class Rejects:
    """Reports payloads that are not threat events and optionally appends them to a file.

    :raise CommandError: if the file cannot be written
    """

    def __init__(self, file: Path | None) -> None:
        self.count = 0
        self.not_kept = 0
        self._file = open_lines(file, "reject") if file else None
        self._is_failing = False

    def __call__(self, error: ThreatEventDecodeError, event: Event) -> None:
        """Report a payload, and append it to the reject file if there is one."""
        self.count += 1
        tell(f"Message {event.message_id} on topic {event.destination_topic} was not handled: {error}")
        if not self._file:
            return
        # Save the repr() of a DXL payload that is not bytes.
        payload = error.payload if isinstance(error.payload, bytes) else repr(error.payload).encode()
        line = {
            "topic": event.destination_topic,
            "message_id": event.message_id,
            "reason": error.reason,
            "base64": base64.b64encode(payload).decode(),
        }
        try:
            self._file.append(json.dumps(line))
        except OSError as failure:
            self.not_kept += 1
            if not self._is_failing:
                tell(f"Cannot write the reject file {self._file}: {failure.strerror}. Continuing without it")
            self._is_failing = True
        else:
            if self._is_failing:
                tell(f"The reject file {self._file} can be written again, but lacks {self.not_kept} payloads")
            self._is_failing = False
