"""What the signals do that end a program: Ctrl-C, SIGTERM of a service, SIGHUP of a closed terminal."""

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
"""The exit status of a subcommand that a signal ended before it was done: 128 + SIGINT, as shells have it."""

# How often a pause checks whether a signal came, in seconds.
_CHECK_EVERY = 0.25

# In seconds: after which time it says that it is not done yet, and how long the end may take after writing
# has to stop.
_SAY_AFTER = 1.0
_END_WITHIN = 1.5

_came: set[int] = set()


def on_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    """Let Ctrl-C, SIGTERM and SIGHUP call a function, on the main thread."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    # nohup ignores it, and so does a file that may be rotated. Windows has none.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, handler)


def interrupt_on_signals() -> None:
    """Let the first signal raise KeyboardInterrupt, and another one end the process, without a traceback."""

    def interrupt(number: int, _: object) -> None:
        on_signals(lambda *_: os._exit(INTERRUPTED))
        _came.add(number)
        raise KeyboardInterrupt

    on_signals(interrupt)


def pause(seconds: float) -> None:
    """Wait.

    :param seconds: how long
    :raise KeyboardInterrupt: if a signal came, also before the call: Python drops an exception that is raised
        while a destructor runs
    """
    end = time.monotonic() + seconds
    while not _came:
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, _CHECK_EVERY))
    raise KeyboardInterrupt


class Ending:
    """What a signal does: no more events come, what has come is written, and the process ends in time.

    A second signal ends it at once.

    :param drain: what keeps events from coming; called by a signal handler
    :param seconds: how long writing may take after the first signal
    :param report: returns the last line, if the process has to be ended because it hangs
    """

    def __init__(self, drain: Callable[[], object], seconds: float, report: Callable[[], str]) -> None:
        self.status: int | None = None
        self._drain = drain
        self._seconds = seconds
        self._report = report
        self._deadline = math.inf
        # A signal handler can do no more than this: starting a thread or setting an Event takes a lock, which
        # the code that it interrupts may hold.
        self._signals: queue.SimpleQueue[None] = queue.SimpleQueue()
        threading.Thread(target=self._end_in_time, daemon=True).start()
        on_signals(self._on_signal)

    def is_overdue(self) -> bool:
        """Return whether writing has to stop."""
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
            self._seconds = 0.0  # a second one
        if self._seconds > _SAY_AFTER and self.status is None:
            self._tell("Writing what has arrived. Another Ctrl-C or SIGTERM ends this at once")
            with suppress(queue.Empty):
                self._signals.get(timeout=self._seconds - _SAY_AFTER)
        time.sleep(_END_WITHIN)
        # The reader of the pipe has stopped, or the disk does not answer: nothing else would end this.
        try:
            if self.status is None:
                self._tell(self._report())
        finally:
            os._exit(1 if self.status is None else self.status)

    @staticmethod
    def _tell(message: str) -> None:
        # Writing into a pipe that nobody reads would hang. On Windows only sockets can be asked.
        if sys.platform == "win32" or (sys.stderr and select.select([], [sys.stderr], [], 0)[1]):
            tell(message)
