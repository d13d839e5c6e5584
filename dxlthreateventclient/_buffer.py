"""The buffer between dxlclient's worker, which fills it, and the loop over a stream, which empties it."""

import logging
import threading
from _thread import allocate_lock, get_ident
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import repeat

from dxlclient.message import Event

logger = logging.getLogger(__name__)

# How often a thread that waits looks around, in seconds. Whoever changes something wakes it earlier.
LOOK_EVERY = 0.1


class _Hint:
    """Wakes a thread that waits. Its lock guards nothing: a hint that is missed costs a moment."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def give(self) -> None:
        if self._lock.locked():
            with suppress(RuntimeError):  # another thread was faster
                self._lock.release()

    def wait(self, seconds: float) -> bool:
        """Return whether a hint came in time."""
        return self._lock.acquire(timeout=seconds)


class Buffer:
    """Holds the events of a stream. If it is full, the worker that fills it waits for room.

    An exception that a signal handler raises at any moment loses no event: one call into C, on which no
    handler runs, moves an event from the buffer to the thread that takes it.

    :param size: how many events it holds
    :param is_unlimited: returns whether it may hold more for the moment
    :param wake: called when there is something to take, or to end for; the default wakes :meth:`wait`
    """

    def __init__(
        self, size: int, is_unlimited: Callable[[], bool], wake: Callable[[], object] | None = None
    ) -> None:
        self.is_closed = False
        self.passed_over = 0
        self.highest = 0
        self._size = size
        self._is_unlimited = is_unlimited
        self._events: deque[Event] = deque()
        # What each thread has taken and not returned yet.
        self._hands: dict[int, deque[Event]] = {}
        # One worker at a time fills the buffer, so that it never holds more than it may.
        self._filling = threading.Lock()
        self._came, self._room = _Hint(), _Hint()
        self._wake = self._came.give if wake is None else wake
        # What was logged since the buffer was empty: nothing, that it is half full, or that it is full.
        self._warned = 0

    def __len__(self) -> int:
        return len(self._events) + sum(len(hand) for hand in list(self._hands.values()))

    def put(self, event: Event) -> None:
        """Add an event, if necessary when there is room. Called on dxlclient's worker."""
        with self._filling:
            while len(self._events) >= self._size and not self.is_closed and not self._is_unlimited():
                self._warn(
                    2,
                    "The stream's buffer is full: %d events wait for the loop, and dxlclient waits, too."
                    " Requests over this DxlClient get no answer until the loop takes more: send them over"
                    " a second one",
                )
                self._room.wait(LOOK_EVERY)
            if self.is_closed:
                self.passed_over += 1
                return
            self._events.append(event)
            waiting = len(self._events)
            self.highest = max(self.highest, waiting)
            self._wake()
            if self._size <= 2 * waiting < 2 * self._size:
                self._warn(1, "The stream's buffer is half full: %d events wait for the loop")

    def hand(self) -> deque[Event]:
        """Return what this thread has taken: one event, or none if there is none.

        The event stays there until the caller deletes it, just before it returns it.
        """
        hand = self._hands.get(get_ident()) or self._hands.setdefault(get_ident(), deque())
        if not hand:
            if self._events:
                with suppress(IndexError):  # another thread was faster
                    hand.extend(map(deque.popleft, repeat(self._events, 1)))
            self._room.give()
            if self._warned and not self._events:
                self._warned = 0
                logger.warning(
                    "The stream's loop has caught up. At most %d events have waited for it", self.highest
                )
        return hand

    def wait(self, seconds: float) -> bool:
        """Wait until there is something to take. Return whether that came in time."""
        return self._came.wait(seconds)

    def close(self) -> None:
        """Let nothing more in. May be called in a signal handler."""
        self.is_closed = True
        self._wake()
        self._room.give()

    def _warn(self, stage: int, message: str) -> None:
        # Once until the loop has caught up, not for each event.
        if self._warned < stage:
            self._warned = stage
            with suppress(Exception):  # what a logging handler raises
                logger.warning(message, len(self._events))
