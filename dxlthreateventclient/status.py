"""A threat event feed's status and gaps."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Gap:
    """A period in which events may have been missed. DXL does not store events for disconnected clients.

    A gap starts one second before the time up to which all events are known to have arrived. It ends when the
    broker has acknowledged all subscriptions again. An event published outside the gaps has arrived, unless
    the broker dropped it.
    """

    start: datetime
    """The start of the gap, in UTC."""

    end: datetime | None
    """The end of the gap, in UTC, or ``None`` if the gap is still open."""

    topics: tuple[str, ...]
    """The topics on which events may be missing."""

    reason: str
    """The cause of the gap."""

    def __str__(self) -> str:
        topics = ", ".join(self.topics)
        if self.end is None or self.duration is None:
            return f"Events on {topics} may be missing since {_shown(self.start)}: {self.reason}"
        start, end, seconds = _shown(self.start), _shown(self.end), self.duration.total_seconds()
        return f"Events on {topics} may be missing from {start} to {end} ({seconds:.1f} s)"

    @property
    def duration(self) -> timedelta | None:
        """The length of the gap, or ``None`` if it is still open."""
        return None if self.end is None else self.end - self.start


@dataclass(frozen=True)
class FeedStatus:
    """The state of a :class:`~dxlthreateventclient.client.CommonThreatEventClient` at a given moment.

    All counts start when the client is created. A mock ``DxlClient`` counts as not connected.
    """

    connected: bool | None
    """True if a broker is connected and dxlclient has a thread that delivers events."""

    subscribed: tuple[str, ...]
    """The topics of this client whose subscriptions the broker has acknowledged on the current connection."""

    open_gap: Gap | None
    """The current gap, or ``None``."""

    gaps: int
    """The number of gaps, including the current one."""

    gap_seconds: float
    """The total length of all gaps in seconds, including the current one."""

    delivered: int
    """The number of events for callbacks and streams, including rejected ones. Two callbacks count twice."""

    failed: int
    """The number of events for callbacks that could not be decoded, or whose callback raised an exception."""

    filtered: int
    """The number of delivered events that ``where`` rejected."""

    dropped: int
    """The number of events that arrived but whose callback or stream was removed before delivery."""

    buffered: int
    """The number of events waiting in the streams of this client."""

    buffered_max: int
    """The highest number of events that have waited in one open stream."""

    last_event_at: datetime | None
    """The time when the last event was handled, in UTC, or ``None``."""


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03} UTC"
