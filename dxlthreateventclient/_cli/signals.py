"""What Ctrl-C and SIGTERM, which ends a service, do."""

import os
import signal
import time
from collections.abc import Callable
from types import FrameType

INTERRUPTED = 130
"""The exit status of what Ctrl-C kept from being done: 128 + SIGINT, as shells have it."""

# How often a pause looks whether a signal came, in seconds.
_LOOK_EVERY = 0.25

_came: set[int] = set()


def on_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    """Have Ctrl-C and SIGTERM call a function, on the main thread."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def interrupt_on_signals() -> None:
    """Have the first signal raise KeyboardInterrupt, and another one end the process, without a traceback."""

    def interrupt(number: int, _: object) -> None:
        on_signals(lambda *_: os._exit(INTERRUPTED))
        _came.add(number)
        raise KeyboardInterrupt

    on_signals(interrupt)


def pause(seconds: float) -> None:
    """Wait.

    :param seconds: how long
    :raise KeyboardInterrupt: if a signal came, also before: Python drops what its handler raises where a
        destructor happens to run
    """
    end = time.monotonic() + seconds
    while not _came:
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, _LOOK_EVERY))
    raise KeyboardInterrupt
