"""Handles the signals that end a program: SIGINT (Ctrl-C), SIGTERM, and SIGHUP from a closed terminal."""

import math
import os
import queue
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from dxlthreateventclient._cli.terminal import tell

INTERRUPTED = 130
"""The exit status of a subcommand interrupted by a signal: 128 + SIGINT, as in shells."""

# The interval at which pause() checks for signals, in seconds.
_CHECK_EVERY = 0.25

# The delay, in seconds, before reporting that events are still being written.
_SAY_AFTER = 1.0

# The time allowed for a normal exit, in seconds, before os._exit() ends the process.
_END_WITHIN = 1.5

_came: set[int] = set()


def on_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    """Install a handler for Ctrl-C, SIGTERM and SIGHUP. The handler runs on the main thread."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    # If SIGHUP is already ignored, as under nohup or with --output, leave it ignored. Windows has no SIGHUP.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, handler)


def interrupt_on_signals() -> None:
    """Raise KeyboardInterrupt on the first signal.

    The second signal ends the process without a traceback.
    """

    def interrupt(number: int, _: object) -> None:
        on_signals(lambda *_: os._exit(INTERRUPTED))
        _came.add(number)
        raise KeyboardInterrupt

    on_signals(interrupt)


def pause(seconds: float) -> None:
    """Wait.

    :param seconds: the time to wait
    :raise KeyboardInterrupt: if a signal has arrived, even before the call, because Python discards an
        exception that is raised during a destructor
    """
    end = time.monotonic() + seconds
    while not _came:
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, _CHECK_EVERY))
    raise KeyboardInterrupt


class Ending:
    """After a signal, stops the flow of new events, limits the time to write the rest, and ends the process.

    A second signal ends the process immediately.

    :param drain: stops the flow of new events; called by a signal handler
    :param seconds: the time limit for writing after the first signal
    :param report: returns the last message if the process hangs and has to be ended
    """

    def __init__(self, drain: Callable[[], object], seconds: float, report: Callable[[], str]) -> None:
        self.status: int | None = None
        self._drain = drain
        self._seconds = seconds
        self._report = report
        self._deadline = math.inf
        # The signal handler uses a SimpleQueue, because starting a thread or setting an Event acquires a lock
        # that the interrupted code may hold.
        self._signals: queue.SimpleQueue[None] = queue.SimpleQueue()
        threading.Thread(target=self._end_in_time, daemon=True).start()
        on_signals(self._on_signal)

    def is_overdue(self) -> bool:
        """Return True if writing has to stop."""
        return time.monotonic() > self._deadline

    def _on_signal(self, *_: object) -> None:
        if self._deadline == math.inf:
            self._deadline = time.monotonic() + self._seconds
            self._drain()
        else:
            self._deadline = -math.inf
        self._signals.put(None)

    def _end_in_time(self) -> None:
        self._signals.get()
        with suppress(queue.Empty):
            self._signals.get(timeout=min(_SAY_AFTER, self._seconds))
            self._seconds = 0.0  # a second signal
        if self._seconds > _SAY_AFTER and self.status is None:
            self._tell("Writing the remaining events. Another Ctrl-C or SIGTERM ends the process immediately")
            with suppress(queue.Empty):
                self._signals.get(timeout=self._seconds - _SAY_AFTER)
        time.sleep(_END_WITHIN)
        # Writing is blocked because the pipe's reader has stopped or the disk is not responding.
        try:
            if self.status is None:
                self._tell(self._report())
        finally:
            os._exit(1 if self.status is None else self.status)

    @staticmethod
    def _tell(message: str) -> None:
        # A write to a full pipe that nobody reads would block. On Windows, select() accepts only sockets.
        if sys.platform == "win32" or (sys.stderr and select.select([], [sys.stderr], [], 0)[1]):
            tell(message)
