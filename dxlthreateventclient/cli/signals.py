"""What Ctrl-C and SIGTERM, which ends a service, do."""

import os
import signal
from collections.abc import Callable
from types import FrameType

INTERRUPTED = 130
"""The exit status of what Ctrl-C kept from being done: 128 + SIGINT, as shells have it."""


def on_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    """Have Ctrl-C and SIGTERM call a function, on the main thread."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def interrupt_on_signals() -> None:
    """Have the first signal raise KeyboardInterrupt, and another one end the process, without a traceback."""

    def interrupt(*_: object) -> None:
        on_signals(lambda *_: os._exit(INTERRUPTED))
        raise KeyboardInterrupt

    on_signals(interrupt)
