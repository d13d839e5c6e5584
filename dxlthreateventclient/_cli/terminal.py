"""Command-line output: events on stdout, and one-line messages on stderr."""

import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import cache
from typing import IO, Any

from dxlclient.message import Event

from dxlthreateventclient.formats import FORMATS, explain, one_line, severity_of, text_columns

# The maximum number of dxlclient log lines to remember.
_REMEMBERED = 1000
# How long to remember each log line, in seconds.
_FORGET_AFTER = 600.0
_SEVERITY_STYLES = {1: "1;31", 2: "31", 3: "33", 4: "33"}  # Bold red, red, yellow.
_NOT_STOPPED = "1;37;41"  # Bold white on red.
_CLEAR_LINE = "\r\x1b[K"


class CommandError(Exception):
    """Ends a subcommand with a one-line message on stderr and an exit status.

    :param message: the problem, the offending value, and the remedy
    :param status: 2 for an error in the command line, a file or the configuration, 1 for a problem on the
        fabric
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


def tell(message: str) -> None:
    """Print a message to stderr. Ignore failures to write."""
    if sys.stderr is None:  # stderr is closed, so print() would write to stdout
        return
    start = _CLEAR_LINE if _is_terminal(sys.stderr) else ""
    try:
        print(f"{start}{one_line(message)}", file=sys.stderr, flush=True)
    except OSError:
        _drop_buffer(sys.stderr)


def write(text: str) -> None:
    """Write text and a newline to stdout, then flush the stream.

    :raise BrokenPipeError: if the reader closed the pipe
    :raise CommandError: if writing fails
    """
    encoding = sys.stdout.encoding if sys.stdout.isatty() else "utf-8"
    left = f"{text}\n".encode(encoding, errors="backslashreplace")
    try:
        # If PYTHONUNBUFFERED is set, a signal can interrupt a write before all the text is written.
        while left:
            left = left[sys.stdout.buffer.write(left) :]
        sys.stdout.buffer.flush()
    except OSError as error:
        _drop_buffer(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise
        raise CommandError(f"cannot write to stdout: {error.strerror}", status=1) from error


def _drop_buffer(stream: IO[str]) -> None:
    # Redirect the stream to the null device, because Python prints a traceback if flushing fails at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_terminal(stream: IO[str]) -> bool:
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def painted(text: str, style: str) -> str:
    """Return text, styled with an ANSI code if stdout is a terminal."""
    return f"\x1b[{style}m{text}\x1b[0m" if style and _has_colors() else text


@cache
def _has_colors() -> bool:
    return _is_terminal(sys.stdout) and not os.environ.get("NO_COLOR")  # https://no-color.org


def text_of(threat_event: Mapping[str, Any], event: Event, name: str, *, is_painted: bool = True) -> str:
    """Return an event in the given format, with colors if stdout is a terminal."""
    if name == "text" and is_painted:
        severity = _SEVERITY_STYLES.get(severity_of(threat_event) or 0, "")
        styles = "2", severity, "36", "1", _NOT_STOPPED if explain(threat_event).stopped is False else ""
        return "".join(map(painted, text_columns(threat_event), styles))
    now = datetime.now(timezone.utc)
    topic, event_id = event.destination_topic, event.message_id
    return FORMATS[name](threat_event, topic=topic, event_id=event_id, arrived=now)


def show_progress(text: str) -> None:
    """Show progress on the terminal's last line until the next message appears."""
    if sys.stderr and _is_terminal(sys.stderr):
        print(f"{_CLEAR_LINE}{text}", end="", file=sys.stderr, flush=True)


class _Log(logging.Handler):
    """Writes each log record as one line.

    dxlclient logs the same lines for each connection attempt. The handler hides any line that dxlclient
    has already logged in the last ten minutes. ``--verbose`` shows all lines.
    """

    is_verbose = False
    is_in_use = False
    """True while a client is in use. At other times, this program reports dxlclient's problems itself."""

    def __init__(self) -> None:
        super().__init__()
        self._logged: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        package = record.name.partition(".")[0]
        is_ours = package == "dxlthreateventclient"
        line = record.getMessage() if is_ours else f"{package}: {record.getMessage()}"
        if record.exc_info and record.exc_info[1]:
            line += f": {_describe(record.exc_info[1])}"
        if is_ours or self.is_verbose or (self.is_in_use and self._is_new(line)):
            tell(line)

    def _is_new(self, line: str) -> bool:
        line = re.sub(r"[\d.]+", "", line)  # ignore numbers, such as the delay before the next attempt
        now = time.monotonic()
        is_new = now - self._logged.get(line, -_FORGET_AFTER) >= _FORGET_AFTER
        if len(self._logged) == _REMEMBERED:
            self._logged.clear()
        self._logged[line] = now
        return is_new


log = _Log()


def report_faults(*, verbose: bool) -> None:
    """Write each warning, error and uncaught thread exception to stderr on a single line.

    When a broker disappears, uncaught exceptions may end dxlclient's threads.

    :param verbose: write all log messages of dxlclient and this package
    """
    log.is_verbose = verbose
    for name in ("dxlclient", "dxlthreateventclient"):
        logger = logging.getLogger(name)
        logger.addHandler(log)
        logger.setLevel(logging.DEBUG if verbose else logging.WARNING)
    threading.excepthook = _log_end_of_thread
    sys.unraisablehook = _tell_unraisable


def _tell_unraisable(failed: "sys.UnraisableHookArgs") -> None:
    # Do not report a KeyboardInterrupt from a destructor, because pause() raises another one.
    if not isinstance(failed.exc_value, KeyboardInterrupt):
        tell(f"{failed.err_msg or 'ignored'}: {_describe(failed.exc_value)}")


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    frames = traceback.walk_tb(ended.exc_traceback)
    packages = {str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in frames}
    is_ours = "dxlthreateventclient" in packages or not packages & {"dxlclient", "pahoproxy"}
    logger = logging.getLogger("dxlthreateventclient" if is_ours else "dxlclient")
    logger.error("a thread ended: %s", _describe(ended.exc_value))


def _describe(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"
