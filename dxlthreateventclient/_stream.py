"""What the two streams have in common."""

import logging
import math
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from dxlclient.callbacks import EventCallback
from dxlclient.message import Event

from dxlthreateventclient._buffer import Buffer
from dxlthreateventclient._registration import Registration
from dxlthreateventclient.callbacks import Predicate, deliverer, log_error
from dxlthreateventclient.exceptions import ThreatEventDecodeError
from dxlthreateventclient.payload import decode_threat_event

logger = logging.getLogger(__name__)

Taken: TypeAlias = tuple[dict[str, Any], Event]

# How often in seconds, and how many times, to look whether a worker has noticed that a buffer is closed.
_LOOK_EVERY = 0.01
_MOST_LOOKS = 100


class _Source(Protocol):
    """What a stream takes its events from."""

    def add(self, registration: Registration) -> None: ...

    def remove(self, topic: str, callback: Any, /) -> None: ...

    def drain(self, topic: str, callback: Any, done: Callable[[], None], /) -> None: ...

    def is_waiting_for_broker(self) -> bool: ...


class BufferedStream(EventCallback):
    """Buffers events on dxlclient's worker, and decodes each when it is taken."""

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
        self._buffer = self._new_buffer(max_buffered)
        self._registration = Registration(topic, self, deliverer(self, where=where), self._report)
        self._on_error = log_error if on_error is None else on_error
        self._is_opened = False

    def close(self) -> None:
        """Accept no more events, so that the loop ends when it has taken those in the buffer.

        May be called from any thread and from a signal handler.
        """
        self._buffer.close()

    def drain(self) -> None:
        """Let no new event in, and end the loop when it has taken all that had arrived.

        Unlike :meth:`close`, this also delivers what is still queued in dxlclient. If nothing comes from the
        broker for two seconds, it stops waiting for the broker's answer. It returns at once, and may be
        called from any thread and from a signal handler.
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

    def _check_not_opened(self) -> None:
        if self._is_opened:
            raise RuntimeError("a stream is opened once: ask the client for another one")

    def _check_opened(self) -> None:
        if not self._is_opened:
            raise RuntimeError("the stream is not open: use it in a with statement")

    def _new_buffer(self, size: int) -> Buffer:
        return Buffer(size, self._subscriptions.is_waiting_for_broker)

    def _take_now(self) -> Taken | None:
        """Return the next event that can be decoded, or None if none has arrived."""
        while hand := self._buffer.hand():
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
        return None

    def _report(self, registration: Registration, passed_over: int) -> int:
        """Log what was not handed over, and return how many events that were."""
        for _ in range(_MOST_LOOKS):
            if registration.finished == registration.received:
                break
            # A worker is just finding that the buffer is closed.
            time.sleep(_LOOK_EVERY)
        unread = len(self._buffer)
        passed_over += self._buffer.passed_over
        if unread or passed_over:
            logger.warning(
                "Stream on %s closed: %d events handed over, %d unread, %d passed over",
                registration.topic,
                max(0, registration.received - self._buffer.passed_over - unread),
                unread,
                passed_over,
            )
        return unread + passed_over


def seconds_of(timeout: float | None) -> float:
    """Return how many seconds a time-out lasts.

    :raise ValueError: if it is not a number (NaN)
    """
    if timeout is None:
        return math.inf
    if math.isnan(timeout):
        raise ValueError(f"timeout must be a number of seconds, or None, got {timeout!r}")
    return timeout
