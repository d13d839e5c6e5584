"""One stream of events from several brokers, without duplicates."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from functools import partial

from dxlclient.client import DxlClient
from dxlclient.message import Event

from dxlthreateventclient._feed.gaps import log_gap
from dxlthreateventclient._feed.routing import Outcome, Route, log_passed_over
from dxlthreateventclient.callbacks import Predicate
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC, CommonThreatEventClient
from dxlthreateventclient.exceptions import ThreatEventDecodeError
from dxlthreateventclient.status import Gap
from dxlthreateventclient.streams import ThreatEventStream

logger = logging.getLogger(__name__)

# The maximum number of message IDs to remember until all clients have delivered them.
_MOST_IDS = 100_000
# The maximum time to remember a message ID, in seconds.
_LONGEST = 600.0
# Remember at most this many gaps per client, and as many reported gaps.
_MOST_GAPS = 1000

_LASTING = datetime.max.replace(tzinfo=timezone.utc)


def redundant_threat_events(  # noqa: PLR0913
    dxl_clients: Sequence[DxlClient],
    topic: str = EPO_THREAT_EVENT_RESPONSE_TOPIC,
    *,
    max_buffered: int = 10_000,
    on_error: Callable[[ThreatEventDecodeError, Event], object] | None = None,
    on_gap: Callable[[Gap], object] | None = None,
    where: Predicate | None = None,
) -> ThreatEventStream:
    """Return the threat events from several connections as one stream without duplicates.

    .. code-block:: python

        with DxlClient(config) as second_client:
            second_client.connect()
            with redundant_threat_events([dxl_client, second_client]) as events:
                for threat_event, original_event in events:
                    print(threat_event["event"]["threatName"])
                    break

    Connect each ``DxlClient`` to a different broker of the same fabric. An event from one client is skipped
    only if another client has already delivered more events with the same message ID. The stream remembers at
    most 100,000 message IDs. Each message ID is forgotten when all clients have delivered it, or after ten
    minutes. If a copy of an event arrives after its ID has been forgotten, the stream delivers the event
    again.

    :param dxl_clients: the DXL clients that receive the events. The caller connects and destroys them.
    :param topic: the topic, or a filter that ends in ``/#``
    :param max_buffered: see :meth:`~dxlthreateventclient.client.CommonThreatEventClient.threat_events`
    :param on_error: see :meth:`~dxlthreateventclient.client.CommonThreatEventClient.threat_events`
    :param on_gap: called with each :class:`~dxlthreateventclient.status.Gap` in which no client was
        subscribed, when the gap is noticed and again when it ends; the default logs a warning each time
    :param where: see :meth:`~dxlthreateventclient.client.CommonThreatEventClient.threat_events`
    :raise TypeError: if an argument has the wrong type
    :raise ValueError: if there is no DXL client, a DXL client occurs twice, or no event could match this
        topic
    """
    if not dxl_clients or len({id(dxl_client) for dxl_client in dxl_clients}) < len(dxl_clients):
        raise ValueError(f"dxl_clients must be at least one DxlClient, each once, got {dxl_clients!r}")
    # This checks the other arguments.
    CommonThreatEventClient(dxl_clients[0], on_gap).threat_events(
        topic, max_buffered=max_buffered, on_error=on_error, where=where
    )
    return ThreatEventStream(
        _Connections(dxl_clients, topic, log_gap if on_gap is None else on_gap),
        topic,
        max_buffered=max_buffered,
        on_error=on_error,
        where=where,
    )


class _Connections:
    """Subscribes on all connections and passes one copy of each event to the stream."""

    def __init__(self, dxl_clients: Sequence[DxlClient], topic: str, on_gap: Callable[[Gap], object]) -> None:
        self._topic = topic
        self._clients = [
            CommonThreatEventClient(dxl_client, partial(self._note_gap, number))
            for number, dxl_client in enumerate(dxl_clients)
        ]
        self._on_gap = on_gap
        self._gaps: list[OrderedDict[datetime, datetime]] = [OrderedDict() for _ in dxl_clients]
        """For each client, the start and end of each gap."""
        self._reported: OrderedDict[datetime, datetime] = OrderedDict()
        self._reporting = threading.Lock()
        # For each message ID, the time of its first delivery and each client's delivery count.
        self._counts: OrderedDict[str, tuple[float, list[int]]] = OrderedDict()
        self._counting = threading.Lock()
        self._route: Route | None = None
        self._members = [client._member for client in self._clients]  # noqa: SLF001 - only streams need it

    def add(self, route: Route) -> None:
        """Subscribe on all connections."""
        self._route = route
        try:
            for number, member in enumerate(self._members):
                deliver = partial(self._deliver, number)
                member.add(Route(route.topic, route.callback, deliver, log_passed_over))
        except BaseException:
            self._close()
            raise

    def remove_everywhere(self, _callback: object) -> None:
        """Unsubscribe on all connections."""
        try:
            self._close()
        finally:
            if self._route is not None:
                self._route.report()

    def drain(self, callback: object, done: Callable[[], None]) -> None:
        """Unsubscribe on all connections and, once all earlier events have been delivered, call ``done``."""
        others = iter(self._members[1:])

        def finish() -> None:
            if next(others, None) is None:
                done()

        for member in self._members:
            member.drain(callback, finish)

    def is_answer_overdue(self) -> bool:
        """Return True if at least one broker's response is overdue."""
        return any(member.is_answer_overdue() for member in self._members)

    def _close(self) -> None:
        with ExitStack() as stack:
            for client in self._clients:
                stack.callback(client.close)

    def _deliver(self, number: int, event: Event) -> Outcome:
        if self._route is not None and self._is_new(number, event.message_id):
            self._route.on_event(event)
        return "handled"

    def _is_new(self, number: int, message_id: str) -> bool:
        now = time.monotonic()
        with self._counting:
            _, counts = self._counts.setdefault(message_id, (now, [0] * len(self._clients)))
            delivered = max(counts)
            counts[number] += 1
            if min(counts) == max(counts):
                # Forget a message ID once all clients have delivered it the same number of times.
                del self._counts[message_id]
            while self._counts:
                oldest = next(iter(self._counts))
                if len(self._counts) <= _MOST_IDS and now - self._counts[oldest][0] <= _LONGEST:
                    break
                del self._counts[oldest]
            return counts[number] > delivered

    def _note_gap(self, number: int, gap: Gap) -> None:
        """Report the part of a gap in which no other client was subscribed."""
        with self._reporting:
            self._gaps[number][gap.start] = gap.end or _LASTING
            common = [(gap.start, gap.end or _LASTING)]
            for client, gaps in zip(self._clients, self._gaps, strict=True):
                status = client.status()
                if gap.start in gaps or not (status.open_gap or self._topic in status.subscribed):
                    # A client records no gap if it never connected or if the user disconnected it.
                    gaps[gap.start] = gap.end or _LASTING
                common = [
                    (max(start, other), min(end, other_end))
                    for start, end in common
                    for other, other_end in gaps.items()
                    if max(start, other) < min(end, other_end)
                ]
            for start, end in common:
                self._report(start, end, gap.reason)
            for remembered in (*self._gaps, self._reported):
                while len(remembered) > _MOST_GAPS:
                    remembered.popitem(last=False)

    def _report(self, start: datetime, end: datetime, reason: str) -> None:
        before = self._reported.get(start)
        self._reported[start] = end
        gap = Gap(start, None, (self._topic,), f"no client is subscribed; of one, {reason}")
        try:
            if before is None:
                self._on_gap(gap)
            if end != _LASTING and before in (None, _LASTING):
                self._on_gap(Gap(start, end, gap.topics, gap.reason))
        except BaseException:
            logger.exception("on_gap raised for %s", gap)
