"""The same events in a for loop, on the caller's own thread."""

import logging
import math
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from dxlclient.callbacks import EventCallback
from dxlclient.message import Event

from dxlthreateventclient._buffer import LOOK_EVERY, Buffer
from dxlthreateventclient._registration import Registration
from dxlthreateventclient.callbacks import Predicate, deliverer, log_error
from dxlthreateventclient.exceptions import ThreatEventDecodeError
from dxlthreateventclient.payload import decode_threat_event

logger = logging.getLogger(__name__)


class _Source(Protocol):
    """What a stream takes its events from."""

    def add(self, registration: Registration) -> None: ...

    def remove(self, topic: str, callback: Any, /) -> None: ...

    def drain(self, topic: str, callback: Any, done: Callable[[], None], /) -> None: ...

    def is_waiting_for_broker(self) -> bool: ...


class ThreatEventStream(EventCallback):
    """Threat events in a ``for`` loop. Made by ``CommonThreatEventClient.threat_events()``.

    It takes each event off dxlclient's worker at once and decodes it when the loop takes it, so a slow loop
    does not keep dxlclient from reconnecting. Several threads may take from one stream: each event goes to
    one of them.

    An exception that a signal handler raises loses no event: it stays in the stream. Python 3.10 is an
    exception for :meth:`get`: there an interrupted call can lose its event.
    """

    def __init__(
        self,
        subscriptions: _Source,
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
        self._subscriptions = subscriptions
        self._buffer = Buffer(max_buffered, subscriptions.is_waiting_for_broker)
        self._registration = Registration(topic, self, deliverer(self, where=where), self._report)
        self._on_error = log_error if on_error is None else on_error
        self._is_opened = False

    def __enter__(self) -> "ThreatEventStream":
        if self._is_opened:
            raise RuntimeError("a stream is opened once: call threat_events() for another one")
        try:
            self._subscriptions.add(self._registration)
            self._is_opened = True
        except BaseException:
            # Nobody will take what arrived already.
            self.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A worker that waits for room has to go first: the broker's answer waits behind it.
        self.close()
        self._subscriptions.remove(self._registration.topic, self)

    def __iter__(self) -> "ThreatEventStream":
        return self

    def __next__(self) -> tuple[dict[str, Any], Event]:
        taken = self._take(math.inf)
        if taken is None:
            raise StopIteration
        return taken

    def get(self, timeout: float | None = None) -> tuple[dict[str, Any], Event]:
        """Return the next threat event, waiting for it if there is none yet.

        :param timeout: how many seconds to wait at most; ``None`` and infinity wait as long as it takes, 0
            and less do not wait
        :return: the threat event as a dictionary, and the DXL event that carried it
        :raise TimeoutError: if none arrived in that time
        :raise EOFError: if the stream is closed and all that was buffered has been taken
        :raise ValueError: if the time-out is not a number (NaN)
        """
        if timeout is not None and math.isnan(timeout):
            raise ValueError(f"timeout must be a number of seconds, or None, got {timeout!r}")
        taken = self._take(math.inf if timeout is None else timeout)
        if taken is None:
            raise EOFError("the stream is closed, and all its events have been taken")
        return taken

    def close(self) -> None:
        """End the loop after what is buffered. May be called from any thread and from a signal handler."""
        self._buffer.close()

    def drain(self) -> None:
        """Let no new event in, and end the loop when it has taken all that had arrived.

        :meth:`close` leaves out what waits in dxlclient; this does not. If nothing comes from the broker for
        two seconds, its answer is not waited for. It returns at once, and may be called from any thread and
        from a signal handler.
        """
        self._subscriptions.drain(self._registration.topic, self, self.close)

    def on_event(self, event: Event) -> None:
        """Buffer an event. Called by dxlclient."""
        self._buffer.put(event)

    @property
    def buffered(self) -> int:
        """How many events wait in this stream."""
        return len(self._buffer)

    @property
    def buffered_max(self) -> int:
        """The most events that have waited in this stream."""
        return self._buffer.highest

    def _take(self, seconds: float) -> tuple[dict[str, Any], Event] | None:
        """Return the next event that can be decoded, or None if there is none left in a closed stream."""
        if not self._is_opened:
            raise RuntimeError("the stream is not open: use it in a with statement")
        while True:
            # Asked first: what came before the stream was closed is still taken.
            is_closed = self._buffer.is_closed
            hand = self._buffer.hand()
            if hand:
                try:
                    taken = decode_threat_event(hand[0].payload), hand[0]
                except ThreatEventDecodeError as error:
                    try:
                        self._on_error(error, hand[0])
                    finally:
                        del hand[0]
                    continue
                # Nothing is called from here on, so no exception of a signal handler can come in between.
                del hand[0]
                return taken
            if is_closed:
                return None
            if seconds <= 0:
                raise TimeoutError("no threat event arrived in time")
            # Looks are counted instead of asking a clock: a test may have stopped the clock.
            if not self._buffer.wait(min(seconds, LOOK_EVERY)):
                seconds -= LOOK_EVERY

    def _report(self, registration: Registration, passed_over: int) -> int:
        """Log what was not handed over, and return how many events that were."""
        unread = len(self._buffer)
        passed_over += self._buffer.passed_over
        if unread or passed_over:
            logger.warning(
                "Stream on %s closed: %d events handed over, %d unread, %d passed over that had arrived, too",
                registration.topic,
                max(0, registration.received - self._buffer.passed_over - unread),
                unread,
                passed_over,
            )
        return unread + passed_over
