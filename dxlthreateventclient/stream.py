"""The same events in a for loop, on the caller's own thread."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from dxlclient.callbacks import EventCallback
from dxlclient.message import Event

from dxlthreateventclient._subscriptions import Subscriptions
from dxlthreateventclient.callbacks import log_error
from dxlthreateventclient.exceptions import ThreatEventDecodeError
from dxlthreateventclient.payload import decode_threat_event

logger = logging.getLogger(__name__)

# On Windows Ctrl-C does not interrupt a wait, so no wait is longer than this many seconds.
_LONGEST_WAIT = 1.0

# How often a worker that waits for room looks whether the broker is waited for, in seconds.
_LONGEST_WAIT_FOR_ROOM = 0.1


class ThreatEventStream(EventCallback):
    """Threat events in a ``for`` loop. Made by ``CommonThreatEventClient.threat_events()``.

    It takes each event off dxlclient's worker at once and decodes it when the loop takes it, so a slow loop
    does not keep dxlclient from reconnecting. Several threads may take from one stream: each event goes to
    one of them.
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        topic: str,
        *,
        max_buffered: int,
        on_error: Callable[[ThreatEventDecodeError, Event], object] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(max_buffered, int) or max_buffered < 1:
            raise ValueError(
                f"max_buffered is {max_buffered!r}: it has to be a whole number of events, at least 1"
            )
        self._subscriptions = subscriptions
        self._topic = topic
        self._max_buffered = max_buffered
        self._on_error = on_error or log_error
        # SimpleQueue.put() may interrupt itself, so a signal handler can call close() at any moment.
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()
        # One worker at a time fills the buffer, so that it never holds more than it may.
        self._filling = threading.Lock()
        self._is_waiting = False
        self._is_warned = False
        self._is_opened = False
        self._closing = threading.Lock()
        self._is_closed = False
        self._passed_over = 0

    def __enter__(self) -> "ThreatEventStream":
        if self._is_opened:
            raise RuntimeError("a stream is opened once: call threat_events() for another one")
        try:
            self._subscriptions.add(self._topic, self)
        except BaseException:
            # Nobody will take what arrived already.
            self.close()
            raise
        self._is_opened = True
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A worker that waits for room has to go first: removing waits for the broker, whose answer waits
        # behind that worker.
        self.close()
        try:
            self._subscriptions.remove([(self._topic, self)])
        finally:
            left = self._events.qsize() - 1 + self._passed_over
            if left > 0:
                logger.warning("A stream was left with %d events that had arrived and were not taken", left)

    def __iter__(self) -> "ThreatEventStream":
        return self

    def __next__(self) -> tuple[dict[str, Any], Event]:
        taken = self._take(None)
        if taken is None:
            raise StopIteration
        return taken

    def get(self, timeout: float | None = None) -> tuple[dict[str, Any], Event]:
        """Return the next threat event, waiting for it if there is none yet.

        :param timeout: how many seconds to wait at the most; ``None`` is as long as it takes
        :return: the threat event as a dictionary, and the DXL event that carried it
        :raise TimeoutError: if none arrived in that time
        :raise EOFError: if the stream is closed and all that was buffered has been taken
        """
        taken = self._take(timeout)
        if taken is None:
            raise EOFError("the stream is closed, and all its events have been taken")
        return taken

    def close(self) -> None:
        """End the loop after what is buffered. May be called from any thread and from a signal handler."""
        # The one who gets this lock closes the stream; nobody ever waits for it.
        if self._closing.acquire(blocking=False):
            self._is_closed = True
            self._events.put(None)
            self._room.put(None)

    def on_event(self, event: Event) -> None:
        """Buffer an event. Called by dxlclient."""
        with self._filling:
            self._wait_for_room()
            if self._is_closed:
                self._passed_over += 1
            else:
                self._events.put(event)

    def _wait_for_room(self) -> None:
        buffered = self._events.qsize()
        if buffered == 0:
            self._is_warned = False
        while buffered >= self._max_buffered and not self._is_closed:
            if self._subscriptions.is_waiting_for_broker():
                # Its answer waits behind this worker, and perhaps the thread that takes waits for it.
                return
            if not self._is_warned:
                # Once until the loop has caught up, not for each event that finds no room.
                self._is_warned = True
                logger.warning(
                    "The stream's buffer is full: %d events wait for the loop, and now dxlclient waits too",
                    buffered,
                )
            # Asked again after it is set, for what is taken from now on is told.
            self._is_waiting = True
            if self._events.qsize() >= self._max_buffered and not self._is_closed:
                with suppress(queue.Empty):
                    self._room.get(timeout=_LONGEST_WAIT_FOR_ROOM)
            self._is_waiting = False
            buffered = self._events.qsize()

    def _take(self, timeout: float | None) -> tuple[dict[str, Any], Event] | None:
        """Return the next event that can be decoded, or None if there is none left in a closed stream."""
        if not self._is_opened:
            raise RuntimeError("the stream is not open: use it in a with statement")
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            event = self._next(deadline)
            if event is None:
                # For the other threads that take from this stream.
                self._events.put(None)
                return None
            try:
                return decode_threat_event(event.payload), event
            except ThreatEventDecodeError as error:
                self._on_error(error, event)

    def _next(self, deadline: float | None) -> Event | None:
        while True:
            wait = _LONGEST_WAIT if deadline is None else min(_LONGEST_WAIT, deadline - time.monotonic())
            try:
                event = self._events.get(timeout=max(0.0, wait))
            except queue.Empty:
                if deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError("no threat event arrived in time") from None
                continue
            if self._is_waiting:
                self._room.put(None)
            return event
