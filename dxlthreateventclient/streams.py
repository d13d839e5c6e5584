"""Threat events in a ``for`` loop or an ``async for`` loop."""

import logging
import math
import threading
import time
from _thread import allocate_lock
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from dxlclient.callbacks import EventCallback
from dxlclient.message import Event

from dxlthreateventclient._feed.dispatching import Outcome, Route
from dxlthreateventclient._feed.gaps import start_thread, wait_for
from dxlthreateventclient.callbacks import Predicate, is_wanted, log_error
from dxlthreateventclient.exceptions import ThreatEventDecodeError
from dxlthreateventclient.payload import decode_threat_event

if TYPE_CHECKING:
    import asyncio  # loaded only by programs that open an asynchronous stream

__all__ = ["AsyncThreatEventStream", "ThreatEventStream"]

logger = logging.getLogger(__name__)

# The longest single wait, in seconds. Waits are split because Ctrl-C does not interrupt a wait on Windows.
_LONGEST_STEP = 1.0
# A worker that waits for room checks this often, in seconds. Usually the loop wakes the worker earlier.
_LOOK_EVERY = 0.1
# A loop that takes buffered events never waits. It yields to other tasks after this many seconds.
_LONGEST_TURN = 0.01

_Taken: TypeAlias = tuple[dict[str, Any], Event]


class _StreamedEvent(Event):
    """An event whose finalizer runs no Python code.

    The finalizer of dxlclient's ``Event`` is Python code that would run on the thread of the loop. If a
    signal handler raises an exception during a finalizer, Python ignores the exception, so Ctrl-C would have
    no effect.
    """

    __del__ = object.__hash__


class Source(Protocol):
    """The source of a stream's events."""

    def add(self, route: Route) -> None: ...

    def remove_everywhere(self, callback: Any, /) -> None: ...

    def drain(self, callback: Any, done: Callable[[], None], /) -> None: ...

    def is_waiting_for_broker(self) -> bool: ...


class Stream(EventCallback):
    """Buffers events on dxlclient's worker thread and decodes each event when the loop takes it."""

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
            raise ValueError(
                f"max_buffered must be a whole number of events, at least 1, got {max_buffered!r}"
            )
        self._source = source
        self._route = Route(topic, self, self._deliver, self._report)
        self._max_buffered = max_buffered
        self._on_error = log_error if on_error is None else on_error
        self._where = where
        # The buffered events. If `where` has seen an event, its dictionary is stored, too. None marks the
        # end.
        self._events: SimpleQueue[tuple[dict[str, Any] | None, Event] | None] = SimpleQueue()
        self._is_opened = self._is_closed = self._is_ended = False
        self._ends = self._highest = self._entered = self._filtered = 0
        # Counted by single calls into C, because several threads can take from the stream.
        self._taken = count()
        self._counting = threading.Lock()
        # Only one worker at a time fills the buffer, so that it never exceeds its limit.
        self._filling = threading.Lock()
        # Released when the loop makes room. A worker that misses the release is only delayed briefly.
        self._room = allocate_lock()
        self._room.acquire()
        # The warning logged since the buffer was last empty: 0 for none, 1 for half full, 2 for full.
        self._warned = 0

    def close(self) -> None:
        """Accept no more events. The loop ends after it has taken the events in the buffer.

        Can be called from any thread and from a signal handler.
        """
        self._is_closed = True
        # Repeat this at each call, because a signal handler may have interrupted an earlier call.
        self._events.put(None)
        self._ends += 1
        self._announce()
        self._make_room()

    def drain(self) -> None:
        """Accept no new events and end the loop after it has taken all events that had arrived.

        Unlike :meth:`close`, this also delivers events still queued in dxlclient. If the broker sends nothing
        for two seconds, the stream stops waiting for an answer. Returns immediately. Can be called from any
        thread and from a signal handler.
        """
        self._source.drain(self, self.close)

    @property
    def buffered(self) -> int:
        """The number of events waiting in this stream."""
        return max(0, self._events.qsize() - self._ends)

    @property
    def buffered_max(self) -> int:
        """The highest number of events that have waited in this stream."""
        return self._highest

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
        """Buffer an event from another topic, if this stream was also added there as a callback."""
        self._deliver(event)

    def _deliver(self, event: Event) -> Outcome:
        with self._counting:
            self._entered += 1
        threat_event: dict[str, Any] | None = None
        if self._where is not None:
            with suppress(ThreatEventDecodeError):  # the loop reports it later
                threat_event = decode_threat_event(event.payload)
            if threat_event is not None and not is_wanted(self._where, threat_event, event):
                with self._counting:
                    self._filtered += 1
                return "filtered"
        with self._filling:
            while self._events.qsize() >= self._max_buffered and not self._is_closed and self._is_limited():
                self._warn(
                    2,
                    "The stream's buffer is full: %d events wait for the loop, and dxlclient waits, too."
                    " Requests over this DxlClient get no answer until the loop takes more: send them over"
                    " a second one",
                )
                self._room.acquire(timeout=_LOOK_EVERY)
            if self._is_closed:
                return "passed over"
            waiting = self._events.qsize() + 1
            if self._warned and waiting == 1:
                self._log("The stream's loop has caught up: %d events have waited for it", self._highest)
                self._warned = 0
            self._highest = max(self._highest, waiting)
            if type(event) is Event:
                event.__class__ = _StreamedEvent
            self._events.put((threat_event, event))
            self._announce()
            if self._max_buffered <= 2 * waiting < 2 * self._max_buffered:
                self._warn(1, "The stream's buffer is half full: %d events wait for the loop")
        return "handled"

    def _is_limited(self) -> bool:
        return not self._source.is_waiting_for_broker()

    def _warn(self, stage: int, message: str) -> None:
        # Warn only once until the loop has caught up, not for each event.
        if self._warned < stage:
            self._warned = stage
            self._log(message, self._events.qsize())

    def _log(self, message: str, events: int) -> None:
        with suppress(Exception):  # a logging handler may raise
            logger.warning(message, events)

    def _announce(self) -> None:
        """Wake the loop. By default do nothing, because the queue wakes a thread that waits for it."""

    def _report(self, route: Route, passed_over: int) -> int:
        """Log and return the number of events that were not handed over."""
        unread, taken = self.buffered, next(self._taken)
        # Also count events that arrived after closing, an event that a worker still holds while waiting for
        # room, and an event lost to an exception in a signal handler.
        passed_over += self._entered - self._filtered - taken - unread
        if unread or passed_over:
            logger.warning(
                "Stream on %s closed: %d events handed over, %d unread, %d passed over",
                route.topic,
                taken,
                unread,
                passed_over,
            )
        return unread + passed_over

    # Called by the loop.

    def _decoded(self, item: tuple[dict[str, Any] | None, Event] | None) -> _Taken | None:
        """Decode an item of the buffer. Return None if it cannot be decoded, or if it marks the end."""
        if item is None:
            self._is_ended = True
            self._events.put(None)  # put the end marker back for other consumers
            return None
        self._make_room()
        threat_event, event = item
        if threat_event is None:
            try:
                threat_event = decode_threat_event(event.payload)
            except ThreatEventDecodeError as error:
                next(self._taken)
                self._on_error(error, event)
                return None
        next(self._taken)
        return threat_event, event

    def _make_room(self) -> None:
        if self._room.locked():
            with suppress(RuntimeError):  # another thread was faster
                self._room.release()


class ThreatEventStream(Stream):
    """Threat events in a ``for`` loop. Created by ``CommonThreatEventClient.threat_events()``.

    The stream buffers each event immediately and decodes it when the loop takes it, so a slow loop does not
    keep dxlclient from reconnecting. Several threads can take events from one stream; each event goes to one
    thread. If a signal handler raises an exception while an event is being taken, that event may be lost.
    """

    def __enter__(self) -> "ThreatEventStream":
        self._check_not_opened()
        try:
            self._source.add(self._route)
            self._is_opened = True
        except BaseException:
            # Nobody will take the events that have already arrived.
            self._leave()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        # Count what the broker has already sent, but do not wait long for a silent one.
        wait_for(partial(self._source.drain, self), _LONGEST_STEP)
        self._leave()

    def __iter__(self) -> "ThreatEventStream":
        return self

    def __next__(self) -> _Taken:
        taken = self._take(math.inf)
        if taken is None:
            raise StopIteration
        return taken

    def get(self, timeout: float | None = None) -> _Taken:
        """Return the next threat event. If there is none yet, wait for it.

        :param timeout: the longest wait in seconds; with ``None`` or infinity, wait as long as necessary;
            with 0 or less, do not wait
        :return: the threat event as a dictionary, and the DXL event that carried the threat event
        :raise TimeoutError: if no event arrived in that time
        :raise EOFError: if the stream is closed and all buffered events have been taken
        :raise ValueError: if the time-out is not a number (NaN)
        """
        return _check_taken(self._take(_seconds_of(timeout)))

    def _take(self, seconds: float) -> _Taken | None:
        """Return the next event that can be decoded, or None at the end."""
        self._check_opened()
        deadline = time.monotonic() + seconds if seconds < math.inf else seconds
        while not self._is_ended:
            left = deadline - time.monotonic() if seconds < math.inf else seconds
            try:
                item = self._events.get(timeout=max(0.0, min(left, _LONGEST_STEP)))
            except Empty:
                if left <= 0:
                    raise TimeoutError("no threat event arrived in time") from None
            else:
                taken = self._decoded(item)
                if taken is not None:
                    return taken
        return None


class AsyncThreatEventStream(Stream):
    """Threat events in an ``async for`` loop. Created by ``CommonThreatEventClient.async_threat_events()``.

    The stream buffers each event immediately and decodes it when the loop takes it. It never blocks the event
    loop, and lets other tasks run every 10 ms, even if many events are waiting. Several tasks can take events
    from one stream; each event goes to one task. Cancelling a waiting task never loses an event.
    """

    _loop: "asyncio.AbstractEventLoop"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._waiters: list[asyncio.Future[None]] = []
        self._is_waking = False
        self._turn_began = 0.0

    async def __aenter__(self) -> "AsyncThreatEventStream":
        from asyncio import get_running_loop  # noqa: PLC0415

        self._check_not_opened()
        self._loop = get_running_loop()
        self._is_opened = True
        subscribed = self._loop.create_future()
        # Subscribing waits for the broker, so do it on a thread. Do not use the default executor, because
        # asyncio.run() waits for the executor at exit.
        start_thread("DxlThreatEventStream", partial(self._subscribe, subscribed))
        try:
            await subscribed
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()

    def __aiter__(self) -> "AsyncThreatEventStream":
        return self

    async def __anext__(self) -> _Taken:
        taken = await self._take(math.inf)
        if taken is None:
            raise StopAsyncIteration
        return taken

    async def get(self, timeout: float | None = None) -> _Taken:
        """Return the next threat event. If there is none yet, wait for it.

        :param timeout: the longest wait in seconds; with ``None`` or infinity, wait as long as necessary;
            with 0 or less, do not wait
        :return: the threat event as a dictionary, and the DXL event that carried the threat event
        :raise TimeoutError: if no event arrived in that time
        :raise EOFError: if the stream is closed and all buffered events have been taken
        :raise ValueError: if the time-out is not a number (NaN)
        """
        return _check_taken(await self._take(_seconds_of(timeout)))

    async def _take(self, seconds: float) -> _Taken | None:
        """Return the next event that can be decoded, or None at the end."""
        self._check_opened()
        if time.monotonic() - self._turn_began > _LONGEST_TURN:
            await self._yield_to_others()
        deadline = self._loop.time() + seconds
        while not self._is_ended:
            # Do not await anything between here and the return, so that cancelling the task loses no event.
            if not self._events.empty():
                with suppress(Empty):  # another task or thread was faster
                    taken = self._decoded(self._events.get_nowait())
                    if taken is not None:
                        return taken
                continue
            left = deadline - self._loop.time()
            if left <= 0:
                raise TimeoutError("no threat event arrived in time")
            await self._wait(left)
        return None

    async def _yield_to_others(self) -> None:
        from asyncio import sleep  # noqa: PLC0415

        await sleep(0)
        self._turn_began = time.monotonic()

    async def _wait(self, seconds: float) -> None:
        """Wait until an event may be available."""
        waiter = self._loop.create_future()
        # Do not use asyncio.wait_for(), which can lose a cancellation on Python 3.11.
        timer = self._loop.call_later(seconds, self._wake) if seconds < math.inf else None
        self._waiters.append(waiter)
        try:
            # Check again: only events that are buffered from now on wake the waiter.
            if self._events.empty():
                await waiter
        finally:
            self._waiters.remove(waiter)
            if timer is not None:
                timer.cancel()
        self._turn_began = time.monotonic()

    def _wake(self) -> None:
        """Wake all waiting tasks. Called on the event loop."""
        self._is_waking = False
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _announce(self) -> None:
        # An exception in a signal handler may have prevented an earlier close() from waking the loop.
        if self._waiters and (not self._is_waking or self._is_closed):
            # Wake the loop only once until it runs. A call for each event would cost more than decoding it.
            self._is_waking = True
            self._call_soon(self._wake)

    def _call_soon(self, function: Callable[..., object], *arguments: object) -> bool:
        """Schedule a call on the event loop. Return False if the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def _is_limited(self) -> bool:
        if self._loop.is_closed():
            # Otherwise dxlclient and all other callbacks of this DxlClient would wait forever.
            self.close()
            logger.error("Stream on %s: its event loop was closed before it", self._route.topic)
        return super()._is_limited()

    def _subscribe(self, subscribed: "asyncio.Future[None]") -> None:
        """Subscribe and report the result to the event loop. Runs on a separate thread."""
        failed: BaseException | None = None
        try:
            self._source.add(self._route)
        except BaseException as error:  # noqa: BLE001 - raised on the event loop
            failed = error
        if self._is_closed:
            # The task that opened the stream was cancelled in the meantime.
            self._source.remove_everywhere(self)
        if not self._call_soon(self._settle, subscribed, failed):
            self._settle(subscribed, failed)

    def _settle(self, subscribed: "asyncio.Future[None]", error: BaseException | None) -> None:
        if not subscribed.done() and not self._loop.is_closed():
            if error is None:
                subscribed.set_result(None)
            else:
                subscribed.set_exception(error)
        elif error is not None:
            logger.error("Stream on %s, after its task was cancelled", self._route.topic, exc_info=error)


def _seconds_of(timeout: float | None) -> float:
    if timeout is None:
        return math.inf
    if math.isnan(timeout):
        raise ValueError(f"timeout must be a number of seconds, or None, got {timeout!r}")
    return timeout


def _check_taken(taken: _Taken | None) -> _Taken:
    if taken is None:
        raise EOFError("the stream is closed, and all its events have been taken")
    return taken
