"""The same events in a for loop, on the caller's own thread."""

import math
import time
from types import TracebackType
from typing import Any

from dxlclient.message import Event

from dxlthreateventclient._buffer import LOOK_EVERY
from dxlthreateventclient._stream import BufferedStream, Taken, seconds_of


class ThreatEventStream(BufferedStream):
    """Threat events in a ``for`` loop. Made by ``CommonThreatEventClient.threat_events()``.

    It takes each event off dxlclient's worker at once and decodes it when the loop takes it, so a slow loop
    does not keep dxlclient from reconnecting. Several threads may take from one stream: each event goes to
    one of them.

    An exception that a signal handler raises loses no event: it stays in the stream. Python 3.10 differs:
    there an interrupted call can lose its event.
    """

    def __enter__(self) -> "ThreatEventStream":
        self._check_not_opened()
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
        # First, to release a worker that waits for room: the broker's answer is queued behind it.
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
        taken = self._take(seconds_of(timeout))
        if taken is None:
            raise EOFError("the stream is closed, and all its events have been taken")
        return taken

    def _take(self, seconds: float) -> Taken | None:
        """Return the next event that can be decoded, or None if there is none left in a closed stream."""
        self._check_opened()
        # By a clock, since payloads that cannot be decoded also end a wait; and by the waits, since a test
        # may have stopped the clock.
        started, waited = time.monotonic(), 0.0
        while True:
            # Asked first: what came before the stream was closed is still taken.
            is_closed = self._buffer.is_closed
            taken = self._take_now()
            if taken is not None:
                return taken
            if is_closed:
                return None
            left = seconds - max(time.monotonic() - started, waited)
            if left <= 0:
                raise TimeoutError("no threat event arrived in time")
            if not self._buffer.wait(min(left, LOOK_EVERY)):
                waited += LOOK_EVERY
