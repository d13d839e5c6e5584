"""What is known of a feed of threat events: its gaps and its state."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Gap:
    """A time in which events may have been missed. DXL keeps no events for a client that is away.

    It starts when the connection is last known to have worked, which is before the loss was noticed, and ends
    when the broker has acknowledged all subscriptions again. So every event that was published outside of the
    gaps has arrived.
    """

    start: datetime
    """From when events may be missing, in UTC."""

    end: datetime | None
    """Until when, in UTC; ``None`` while the gap lasts."""

    topics: tuple[str, ...]
    """The topics on which events may be missing."""

    reason: str
    """What happened."""

    def __str__(self) -> str:
        topics = ", ".join(self.topics)
        if self.end is None or self.duration is None:
            return f"Events on {topics} may be missing since {_shown(self.start)}: {self.reason}"
        start, end, seconds = _shown(self.start), _shown(self.end), self.duration.total_seconds()
        return f"Events on {topics} may be missing from {start} to {end} ({seconds:.1f} s)"

    @property
    def duration(self) -> timedelta | None:
        """How long the gap was; ``None`` while it lasts."""
        return None if self.end is None else self.end - self.start


@dataclass(frozen=True)
class FeedStatus:
    """The state of a :class:`~dxlthreateventclient.client.CommonThreatEventClient` at one moment.

    All counts begin with the client. Of a ``DxlClient`` that is a mock nothing is known: it counts as not
    connected.
    """

    connected: bool | None
    """Whether there is a connection to a broker, and dxlclient has a thread that delivers events."""

    subscribed: tuple[str, ...]
    """The topics of this client whose subscription the broker has acknowledged on the present connection."""

    open_gap: Gap | None
    """The present gap."""

    gaps: int
    """How many gaps there have been, the present one included."""

    gap_seconds: float
    """How long they were in all, in seconds, the present one included."""

    delivered: int
    """How many events were handed to callbacks and streams. One event for two callbacks counts twice."""

    failed: int
    """How many of these could not be decoded, or made a callback raise."""

    filtered: int
    """How many of these were passed over because ``where`` did not want them."""

    dropped: int
    """How many events had arrived when their callback or stream was removed, and were not handed over."""

    buffered: int
    """How many events wait in the streams of this client."""

    buffered_max: int
    """The most that have waited in one stream."""

    last_event_at: datetime | None
    """When the last event arrived, in UTC."""


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03} UTC"
