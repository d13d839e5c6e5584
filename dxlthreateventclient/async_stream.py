"""The same events in an async for loop."""

import logging
import math
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dxlclient.message import Event

from dxlthreateventclient._buffer import Buffer
from dxlthreateventclient._feed import start_thread
from dxlthreateventclient._stream import BufferedStream, Taken, seconds_of

if TYPE_CHECKING:
    import asyncio  # whoever opens a stream has loaded it; nobody else has to

logger = logging.getLogger(__name__)

# Taking events that have arrived does not wait. After this many seconds it lets other tasks run all the same.
_LONGEST_TURN = 0.01


class AsyncThreatEventStream(BufferedStream):
    """Threat events in an ``async for`` loop. Made by ``CommonThreatEventClient.async_threat_events()``.

    It takes each event off dxlclient's worker at once and decodes it when the loop takes it. It never blocks
    the event loop, and lets other tasks run every 10 ms, however many events wait. Several tasks may take
    from one stream: each event goes to one of them. A task that is cancelled while it waits loses no event.
    """

    _loop: "asyncio.AbstractEventLoop"
    _subscribed: "asyncio.Future[None]"
    _unsubscribed: "asyncio.Future[None]"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._waiters: list[asyncio.Future[None]] = []
        self._is_waking = False
        self._is_left = threading.Event()
        self._turn_began = 0.0

    async def __aenter__(self) -> "AsyncThreatEventStream":
        from asyncio import get_running_loop  # noqa: PLC0415

        self._check_not_opened()
        self._loop = get_running_loop()
        self._subscribed, self._unsubscribed = self._loop.create_future(), self._loop.create_future()
        self._is_opened = True
        # Both wait for the broker. Not on the default executor: asyncio.run() would wait for it in the end.
        start_thread("DxlThreatEventStream", self._subscribe_until_left)
        try:
            await self._subscribed
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
        await self._unsubscribed

    def __aiter__(self) -> "AsyncThreatEventStream":
        return self

    async def __anext__(self) -> tuple[dict[str, Any], Event]:
        taken = await self._take(math.inf)
        if taken is None:
            raise StopAsyncIteration
        return taken

    async def get(self, timeout: float | None = None) -> tuple[dict[str, Any], Event]:
        """Return the next threat event, waiting for it if there is none yet.

        :param timeout: how many seconds to wait at most; ``None`` and infinity wait as long as it takes, 0
            and less do not wait
        :return: the threat event as a dictionary, and the DXL event that carried it
        :raise TimeoutError: if none arrived in that time
        :raise EOFError: if the stream is closed and all that was buffered has been taken
        :raise ValueError: if the time-out is not a number (NaN)
        """
        taken = await self._take(seconds_of(timeout))
        if taken is None:
            raise EOFError("the stream is closed, and all its events have been taken")
        return taken

    async def _take(self, seconds: float) -> Taken | None:
        """Return the next event that can be decoded, or None if there is none left in a closed stream."""
        self._check_opened()
        if time.monotonic() - self._turn_began > _LONGEST_TURN:
            await self._give_way()
        deadline = self._loop.time() + seconds
        while True:
            # Asked first: what came before the stream was closed is still taken.
            is_closed = self._buffer.is_closed
            # From here to the return nothing is awaited: a task that is cancelled has taken nothing.
            taken = self._take_now()
            if taken is not None:
                return taken
            if is_closed:
                return None
            left = deadline - self._loop.time()
            if left <= 0:
                raise TimeoutError("no threat event arrived in time")
            await self._wait(left)

    async def _give_way(self) -> None:
        from asyncio import sleep  # noqa: PLC0415

        await sleep(0)
        self._turn_began = time.monotonic()

    async def _wait(self, seconds: float) -> None:
        """Wait until there may be something to take."""
        waiter = self._loop.create_future()
        timer = self._loop.call_later(seconds, self._wake) if seconds < math.inf else None
        self._waiters.append(waiter)
        try:
            # Asked again: only what is put into the buffer later sees the waiter.
            if not self._buffer and not self._buffer.is_closed:
                await waiter
        finally:
            self._waiters.remove(waiter)
            if timer is not None:
                timer.cancel()
        self._turn_began = time.monotonic()

    def _wake(self) -> None:
        """Wake all tasks that wait. Called on the event loop."""
        self._is_waking = False
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _wake_soon(self) -> None:
        """Wake all tasks that wait. Called on any thread."""
        if self._waiters and not self._is_waking:
            # Once for all that arrives until then: a call for each event would cost more than decoding it.
            self._is_waking = True
            self._call_soon(self._wake)

    def _call_soon(self, function: Callable[..., object], *arguments: object) -> bool:
        """Let the event loop call a function. Return whether it is still there to do so."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # it is closed
            return False
        return True

    def _new_buffer(self, size: int) -> Buffer:
        return Buffer(size, self._may_exceed, self._wake_soon)

    def _may_exceed(self) -> bool:
        if self._is_opened and not self._buffer.is_closed and self._loop.is_closed():
            # Else dxlclient would wait forever, and with it all other callbacks of this DxlClient.
            self.close()
            logger.error("Stream on %s: its event loop was closed before it", self._registration.topic)
        return self._buffer.is_closed or self._subscriptions.is_waiting_for_broker()

    def _leave(self) -> None:
        # A worker that waits for room has to go first: the broker's answer waits behind it.
        self.close()
        self._is_left.set()

    def _subscribe_until_left(self) -> None:
        """Subscribe, and unsubscribe when the stream is left. Runs on a thread of its own."""
        if self._do(lambda: self._subscriptions.add(self._registration), self._subscribed):
            self._is_left.wait()
            self._do(lambda: self._subscriptions.remove(self._registration.topic, self), self._unsubscribed)

    def _do(self, call: Callable[[], object], done: "asyncio.Future[None]") -> bool:
        """Make a call, and report to the event loop how it went. Return whether it went well."""
        failed: BaseException | None = None
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised on the event loop
            failed = error
        if not self._call_soon(self._settle, done, failed):
            self._settle(done, failed)
        return failed is None

    def _settle(self, done: "asyncio.Future[None]", error: BaseException | None) -> None:
        if not done.done() and not self._loop.is_closed():
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
        elif error is not None:
            logger.error(
                "Stream on %s, after its task was cancelled", self._registration.topic, exc_info=error
            )
