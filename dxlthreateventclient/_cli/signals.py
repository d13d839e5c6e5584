"""What Ctrl-C and SIGTERM, which ends a service, do."""

import math
import os
import queue
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from dxlthreateventclient._cli.terminal import tell

INTERRUPTED = 130
"""The exit status of a subcommand that a signal ended before it was done: 128 + SIGINT, as shells have it."""

# How often a pause checks whether a signal came, in seconds.
_CHECK_EVERY = 0.25

# How many seconds after a signal writing has to stop, and the process has to end.
_WRITE_WITHIN = 0.5
_END_WITHIN = 0.7

_came: set[int] = set()


def on_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    """Let Ctrl-C and SIGTERM call a function, on the main thread."""
    for number in (signal.SIGINT, signal.SIGTERM):
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

    :param stop: what keeps events from coming; called by a signal handler
    """

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        self._deadline = math.inf
        self.is_written = False
        # A signal handler can do no more than this: starting a thread or setting an Event takes a lock, which
        # the code that it interrupts may hold.
        self._begun: queue.SimpleQueue[None] = queue.SimpleQueue()
        threading.Thread(target=self._end_in_time, daemon=True).start()
        on_signals(self._begin)

    def is_overdue(self) -> bool:
        """Return whether writing has to stop. The stream logs how many events it then leaves."""
        return time.monotonic() > self._deadline

    def _begin(self, *_: object) -> None:
        self._deadline = time.monotonic() + _WRITE_WITHIN
        self._stop()
        self._begun.put(None)

    def _end_in_time(self) -> None:
        self._begun.get()
        time.sleep(_END_WITHIN)
        # The reader of the pipe has stopped, or the broker does not answer: nothing else would end this.
        try:
            if not self.is_written and select.select([], [sys.stderr], [], 0)[1]:
                tell("Ended while nobody took what was written: events that had arrived are lost")
        finally:
            os._exit(0)
