"""Delivers threat events to a ``for`` loop or an ``async for`` loop."""

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from dxlclient.callbacks import EventCallback
from dxlclient.message import Event

from dxlthreateventclient._feed.gaps import start_thread, wait_for
from dxlthreateventclient._feed.routing import Outcome, Route, Source
from dxlthreateventclient.callbacks import Predicate, is_wanted, log_error
from dxlthreateventclient.exceptions import ThreatEventDecodeError
from dxlthreateventclient.payload import decode_threat_event

__all__ = ["AsyncThreatEventStream", "ThreatEventStream"]

logger = logging.getLogger(__name__)

# The maximum duration of a single wait, in seconds. Long waits are split into shorter ones because, on
# Windows, Ctrl-C does not interrupt a wait.
_LONGEST_STEP = 1.0
# While the buffer is full, the worker checks it every _LOOK_EVERY seconds. The loop usually wakes the worker
# before the next check.
_LOOK_EVERY = 0.1
# An ``async for`` loop never waits while the buffer contains events, so the stream lets other tasks run
# every _LONGEST_TURN seconds.
_LONGEST_TURN = 0.01

_Taken: TypeAlias = tuple[dict[str, Any], Event]


class _StreamedEvent(Event):
    """An event whose finalizer runs no Python code.

    Without this class, the Python finalizer of dxlclient's ``Event`` would run on the loop's thread. Python
    ignores any exception that a signal handler raises while a finalizer runs, so Ctrl-C would have no effect.
    """

    __del__ = object.__hash__


class _EndOfStreamError(EOFError):
    """Ends a loop. An ``EOFError`` raised by ``on_error`` does not end the loop."""


class Stream(EventCallback):
    """Buffers events on dxlclient's worker thread and decodes each event when the loop takes it."""

    buffered_max: int = 0
    """The highest number of events that have waited in this stream."""

    def __init__(
        self,
        source: Source,
        topic: str,
        *,
        max_buffered: int,
        on_error: Callable[[ThreatEventDecodeError, Event], object] | None,
        where: Predicate | None,
    ) -> None:
        super().__init__()
        if not isinstance(max_buffered, int) or max_buffered < 1:
            raise ValueError(f"max_buffered must be a positive integer, got {max_buffered!r}")
        self._source = source
        self._route = Route(topic, self, self._deliver, self._report)
        self._max_buffered = max_buffered
        self._on_error = log_error if on_error is None else on_error
        self._where = where
        # The buffered events. Each event that `where` has checked is stored with its decoded dictionary. None
        # marks the end.
        self._events: SimpleQueue[tuple[dict[str, Any] | None, Event] | None] = SimpleQueue()
        # _has_warned is True if the stream has logged a warning since the buffer was last empty.
        self._is_opened = self._is_closed = self._has_warned = False
        self._ends = 0
        # Several threads can deliver and take events, so increment the counters with next(), which is atomic.
        self._entered, self._filtered, self._taken = count(), count(), count()
        # Only one worker at a time fills the buffer, so that concurrent workers cannot exceed the limit.
        self._filling = threading.Lock()
        # The loop releases _room after making room in the buffer. If a worker misses the release, it sees the
        # free space within _LOOK_EVERY seconds.
        self._room = threading.Lock()
        self._room.acquire()

    def close(self) -> None:
        """Stop accepting events. The loop ends after it has taken all events from the buffer.

        This method can be called from any thread and from a signal handler.
        """
        self._is_closed = True
        # Add the end marker on each call, because a signal handler may have interrupted an earlier call.
        self._events.put(None)
        self._ends += 1
        self._announce()
        self._make_room()

    def drain(self) -> None:
        """Stop requesting events, and end the loop after it has taken all events that have already arrived.

        Unlike :meth:`close`, :meth:`drain` also delivers the events in dxlclient's queue. If the broker
        sends nothing for two seconds, the stream stops waiting for it. :meth:`drain` returns immediately and
        can be called from any thread and from a signal handler.
        """
        self._source.drain(self, self.close)

    @property
    def buffered(self) -> int:
        """The number of events waiting in this stream."""
        return max(0, self._events.qsize() - self._ends)

    def _check_not_opened(self) -> None:
        if self._is_opened:
            raise RuntimeError("a stream can be opened only once: ask the client for another one")

    def _check_opened(self) -> None:
        if not self._is_opened:
            raise RuntimeError("the stream is not open: use it in a with statement")

    def _leave(self) -> None:
        self.close()
        self._source.remove_everywhere(self)

    # Called by the worker.

    def on_event(self, event: Event) -> None:
        """Buffer an event from another topic for which this stream is a callback."""
        self._deliver(event)

    def _deliver(self, event: Event) -> Outcome:
        next(self._entered)
        threat_event: dict[str, Any] | None = None
        if self._where is not None:
            with suppress(ThreatEventDecodeError):  # the loop reports it later
                threat_event = decode_threat_event(event.payload)
                if not is_wanted(self._where, threat_event, event):
                    next(self._filtered)
                    return "filtered"
        limit = self._max_buffered
        with self._filling:
            while self._events.qsize() >= limit and not (self._is_closed or self._source.is_answer_overdue()):
                if not self._has_warned:
                    self._has_warned = True
                    self._warn(
                        "The stream's buffer is full: %d events wait for the loop, and dxlclient waits, too."
                        " Requests over this DxlClient get no answer until the loop takes more: send them"
                        " over a second one",
                        self._events.qsize(),
                    )
                self._room.acquire(timeout=_LOOK_EVERY)
                self._announce()  # detects a closed event loop
            if self._is_closed:
                return "passed over"
            waiting = self._events.qsize() + 1
            if self._has_warned and waiting == 1:
                self._has_warned = False
                self._warn("The stream's loop has caught up: %d events have waited for it", self.buffered_max)
            self.buffered_max = max(self.buffered_max, waiting)
            if type(event) is Event:
                event.__class__ = _StreamedEvent
            self._events.put((threat_event, event))
            self._announce()
        return "handled"

    def _warn(self, message: str, events: int) -> None:
        with suppress(Exception):  # a logging handler may raise
            logger.warning(message, events)

    def _announce(self) -> None:
        """Wake the loop.

        In a ``for`` loop, this method does nothing, because the queue itself wakes a waiting thread.
        """

    def _report(self, route: Route, passed_over: int) -> int:
        """Log and return the number of events that the loop did not receive."""
        unread, taken = self.buffered, next(self._taken)
        # Also count events that arrived after the stream was closed, the event held by a waiting worker, and
        # any event lost because a signal handler raised an exception.
        passed_over += next(self._entered) - next(self._filtered) - taken - unread
        if unread or passed_over:
            counts = f"{taken} events handed over, {unread} unread, {passed_over} passed over"
            logger.warning("Stream on %s closed: %s", route.topic, counts)
        return unread + passed_over

    # Called by the loop.

    def _decoded(self, item: tuple[dict[str, Any] | None, Event] | None) -> _Taken | None:
        """Decode an item from the buffer. Return None if the item cannot be decoded."""
        if item is None:
            self._events.put(None)  # put the end marker back for other threads and tasks
            raise _EndOfStreamError("the stream is closed, and all its events have been taken")
        self._make_room()
        threat_event, event = item
        try:
            taken = (threat_event or decode_threat_event(event.payload), event)
        except ThreatEventDecodeError as error:
            next(self._taken)
            try:
                self._on_error(error, event)
            except (StopIteration, StopAsyncIteration) as stop:  # would end the loop without a word
                raise RuntimeError("on_error raised an exception that ends a loop") from stop
            return None
        next(self._taken)
        return taken

    def _make_room(self) -> None:
        if self._room.locked():
            with suppress(RuntimeError):  # another thread was faster
                self._room.release()


class ThreatEventStream(Stream):
    """A stream of threat events for a ``for`` loop.

    Created by ``CommonThreatEventClient.threat_events()``.

    The stream buffers each event immediately but decodes it only when the loop takes it, so a slow loop does
    not prevent dxlclient from reconnecting. Several threads can take events from one stream. Each event is
    delivered to only one thread. If a signal handler raises an exception while a thread is taking an event,
    the event may be lost.
    """

    def __enter__(self) -> "ThreatEventStream":
        self._check_not_opened()
        try:
            self._source.add(self._route)
            self._is_opened = True
        except BaseException:
            # No loop will take the events that have already arrived, so count them as dropped.
            self._leave()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        # Count the events that the broker has already sent, but do not wait long for a silent broker.
        wait_for(partial(self._source.drain, self), _LONGEST_STEP)
        self._leave()

    def __iter__(self) -> "ThreatEventStream":
        return self

    def __next__(self) -> _Taken:
        try:
            return self.get()
        except _EndOfStreamError:
            raise StopIteration from None

    def get(self, timeout: float | None = None) -> _Taken:
        """Return the next threat event, waiting for one if necessary.

        :param timeout: the longest wait in seconds; with ``None`` or infinity, wait as long as necessary;
            with 0 or less, do not wait
        :return: the threat event as a dictionary, and the DXL event that carried the threat event
        :raise TimeoutError: if no event arrived in that time
        :raise EOFError: if the stream is closed and all buffered events have been taken
        """
        self._check_opened()
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            try:
                item = self._events.get(timeout=max(0.0, min(left, _LONGEST_STEP)))
            except Empty:
                if not left > 0:  # also if it is not a number
                    raise TimeoutError("no threat event arrived in time") from None
            else:
                if taken := self._decoded(item):
                    return taken


class AsyncThreatEventStream(Stream):
    """A stream of threat events for an ``async for`` loop.

    Created by ``CommonThreatEventClient.async_threat_events()``.

    The stream buffers each event immediately but decodes it only when the loop takes it. The stream
    never blocks the event loop and lets other tasks run about every 10 ms, even when many events are
    waiting. Several tasks can take events from one stream. Each event is delivered to only one task. No event
    is lost when a waiting task is cancelled.
    """

    # True while a task is waiting or about to wait.
    _is_waiting = False
    _turn_began = 0.0

    async def __aenter__(self) -> "AsyncThreatEventStream":
        # Load asyncio only for programs that use it.
        import asyncio  # noqa: PLC0415
        from concurrent.futures import Future  # noqa: PLC0415

        self._check_not_opened()
        self._loop, self._arrival = asyncio.get_running_loop(), asyncio.Event()
        self._is_opened = True
        # Subscribe on a separate thread, because subscribing waits for the broker. Do not use the default
        # executor, because asyncio.run() waits for it at exit.
        subscribed: Future[None] = Future()

        def subscribe() -> None:
            try:
                self._source.add(self._route)
                finish = partial(subscribed.set_result, None)
            except BaseException as error:  # noqa: BLE001 - raised on the event loop
                finish = partial(subscribed.set_exception, error)
            if subscribed.set_running_or_notify_cancel():
                finish()
            else:
                # The task was cancelled while waiting for the subscription.
                self._source.remove_everywhere(self)

        start_thread("DxlThreatEventStream", subscribe)
        try:
            await asyncio.wrap_future(subscribed)
        except BaseException:
            subscribed.cancel()
            self._leave()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def __aiter__(self) -> "AsyncThreatEventStream":
        return self

    async def __anext__(self) -> _Taken:
        try:
            return await self.get()
        except _EndOfStreamError:
            raise StopAsyncIteration from None

    async def get(self, timeout: float | None = None) -> _Taken:
        """Return the next threat event, waiting for one if necessary.

        :param timeout: see :meth:`ThreatEventStream.get`, which also explains the return value and the
            exceptions
        """
        self._check_opened()
        if time.monotonic() - self._turn_began > _LONGEST_TURN:
            from asyncio import sleep  # noqa: PLC0415

            await sleep(0)
            self._turn_began = time.monotonic()
        deadline = math.inf if timeout is None else self._loop.time() + timeout
        while True:
            # Do not await anything between taking an event and returning it, because a cancellation would
            # lose the event.
            try:
                item = self._events.get_nowait()
            except Empty:
                left = deadline - self._loop.time()
                if not left > 0:
                    raise TimeoutError("no threat event arrived in time") from None
                await self._wait(left)
            else:
                if taken := self._decoded(item):
                    return taken

    async def _wait(self, seconds: float) -> None:
        """Wait until an event might be available."""
        # Do not use asyncio.wait_for(), which can lose a cancellation on Python 3.11.
        timer = self._loop.call_later(seconds, self._arrival.set) if seconds < math.inf else None
        self._arrival.clear()
        self._is_waiting = True
        try:
            # Check the buffer again, because only an event that arrives after this moment wakes the task.
            if self._events.empty():
                await self._arrival.wait()
        finally:
            if timer is not None:
                timer.cancel()
        self._turn_began = time.monotonic()

    def _announce(self) -> None:
        # Wake the event loop only if a task is waiting. Waking the loop for each event would take longer than
        # decoding the event.
        if self._is_opened and (self._is_waiting or self._is_closed or self._loop.is_closed()):
            self._is_waiting = False
            try:
                self._loop.call_soon_threadsafe(self._arrival.set)
            except RuntimeError:  # the loop is closed
                if not self._is_closed:
                    # If the stream stayed open, dxlclient and this DxlClient's other callbacks would wait
                    # forever.
                    self.close()
                    logger.exception("Stream on %s: its event loop was closed before it", self._route.topic)
