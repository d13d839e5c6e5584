"""The state of a feed: its connection, its acknowledged subscriptions, and the gaps in between.

After a reconnect a subscription is asked for until the broker acknowledges it.

The hooks run on dxlclient's network thread, which must not wait. They hold the lock of the feed for moments
only, and so does everyone else.
"""

import _thread
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from weakref import WeakSet

from dxlclient.exceptions import WaitTimeoutException

from dxlthreateventclient._dxlclient import Parts
from dxlthreateventclient._mqtt import Hooks
from dxlthreateventclient.status import Gap

logger = logging.getLogger(__name__)

# All in seconds. Ask the broker again if it has not acknowledged a subscription for this long.
_ASK_AGAIN = 2.0
# Give up waiting for the acknowledgement of a new subscription after this long, as dxlclient does.
_LONGEST_WAIT = 120.0
# How often a thread that waits looks around.
_LOOK_EVERY = 0.1
# Wait this long before a topic that somebody unsubscribed is subscribed to again: dxlclient itself
# unsubscribes just before it disconnects.
_UNSUBSCRIBED_AT_MOST = 5.0
# A gap starts this long before the last packet, or before somebody unsubscribed: what was on its way then may
# be lost, too.
_MARGIN = 1.0

_LOST = "the connection to the broker was lost"
_UNSUBSCRIBED = "the DxlClient was unsubscribed from the topic"


def start_thread(name: str, target: Callable[[], object]) -> threading.Thread:
    """Start and return a daemon thread in such a way that an exception from a signal handler does no harm.

    ``Thread.start()`` waits for the new thread: if a handler raises meanwhile, that thread may never run. So
    it is called on another new thread, on which no handler runs.
    """
    thread = threading.Thread(target=target, name=name, daemon=True)
    _thread.start_new_thread(thread.start, ())
    return thread


def log_gap(gap: Gap) -> None:
    """Log a gap as a warning."""
    logger.warning("%s", gap)


class Listener:
    """The part of a feed that belongs to one CommonThreatEventClient: its topics and its gaps.

    :param lock: the lock of the feed: it guards the attributes, and is held when a method is called
    """

    def __init__(self, lock: threading.Lock, on_gap: Callable[[Gap], object] | None) -> None:
        self.topics: set[str] = set()
        # The topics whose subscription was acknowledged at least once: before that, nothing can be missing.
        self.heard: set[str] = set()
        self.gap: Gap | None = None
        self.gaps = 0
        self.gap_seconds = 0.0
        # The thread that calls on_gap.
        self.reporter: threading.Thread | None = None
        self._last_end = datetime.min.replace(tzinfo=timezone.utc)
        self._lock = lock
        self._on_gap = log_gap if on_gap is None else on_gap
        self._reports: deque[Gap] = deque()

    def begin_gap(self, start: datetime, reason: str) -> None:
        """Begin a gap, unless one lasts already or nothing can be missing."""
        if self.gap is None and self.heard:
            self.gaps += 1
            # What is before the end of the last gap has been reported with that.
            self.gap = Gap(max(start, self._last_end), None, tuple(sorted(self.heard)), reason)
            self._report(self.gap)

    def end_gap(self) -> None:
        """End the gap, if there is one."""
        if self.gap is not None:
            gap, self.gap = self.gap, None
            end = max(gap.start, datetime.now(timezone.utc))
            self._last_end = end
            self.gap_seconds += (end - gap.start).total_seconds()
            self._report(Gap(gap.start, end, gap.topics, gap.reason))

    def _report(self, gap: Gap) -> None:
        self._reports.append(gap)
        if self.reporter is None:
            # A thread of its own: on_gap may take its time, and call the client.
            self.reporter = start_thread("DxlThreatEventGaps", self._call_on_gap)

    def _call_on_gap(self) -> None:
        while True:
            with self._lock:
                if not self._reports:
                    self.reporter = None
                    return
                gap = self._reports.popleft()
            try:
                self._on_gap(gap)
            except BaseException:
                logger.exception("on_gap raised for %s", gap)


class Feed:
    """The connection of one DxlClient and its subscriptions."""

    def __init__(self, parts: Parts) -> None:
        self.lock = threading.Lock()
        self.is_connected = parts.was_connected
        # Replaced and never changed, so it can be read without the lock.
        self.acknowledged: frozenset[str] = frozenset()
        self._refused: set[str] = set()
        self._changed = threading.Condition(self.lock)
        self._listeners: WeakSet[Listener] = WeakSet()
        self._connected_at = time.monotonic()
        self._wanted_since: dict[str, float] = {}
        # From when on events are missing because somebody unsubscribed from topics that were acknowledged.
        self._unsubscribed: dict[str, datetime] = {}
        self._is_keeping = False
        self._parts = parts
        self._hooks = Hooks(
            parts, self._on_connect, self._on_disconnect, self._on_acknowledgement, self._on_unsubscribe
        )
        self.arrived = self._hooks.arrived
        self.unsubscribing = self._hooks.unsubscribing
        self.release_unsubscribing = self._hooks.release_unsubscribing

    def listener(self, on_gap: Callable[[Gap], object] | None) -> Listener:
        """Return a new listener."""
        listener = Listener(self.lock, on_gap)
        # In a forked process the lock may be held forever, by a thread that is not there.
        if not self._parts.why_dead():
            with self.lock:
                self._listeners.add(listener)
        return listener

    def listen(self, listener: Listener, topic: str) -> None:
        """Note that a listener has a topic."""
        self._hooks.watch(topic)
        with self.lock:
            listener.topics.add(topic)
            self._wanted_since.setdefault(topic, time.monotonic())
            if topic in self.acknowledged:
                listener.heard.add(topic)
            elif self.is_connected:
                self._keep()

    def ignore(self, listener: Listener, topic: str) -> None:
        """Note that a listener no longer has a topic. With its last one its gap ends."""
        with self.lock:
            listener.topics.discard(topic)
            listener.heard.discard(topic)
            self._end_gap_if_over(listener)

    def forget(self, topic: str) -> None:
        """Note that nothing is subscribed to a topic any more."""
        self._hooks.forget(topic)
        with self.lock:
            self.acknowledged -= {topic}
            self._refused.discard(topic)
            self._wanted_since.pop(topic, None)
            self._unsubscribed.pop(topic, None)

    def wait_for_acknowledgement(self, listener: Listener, topic: str) -> None:
        """Return when the broker has acknowledged or refused a subscription, or is not connected.

        :raise dxlclient.exceptions.WaitTimeoutException: if the broker does neither within two minutes
        """
        with self.lock:
            if not self.is_connected or self._parts.mqtt is None:
                return
        deadline = time.monotonic() + _LONGEST_WAIT
        while True:
            with self.lock:
                if topic in self.acknowledged or topic in self._refused:
                    return
                if not self.is_connected:
                    # Whoever added the callback takes it for subscribed, so from now on events may be
                    # missing.
                    listener.heard.add(topic)
                    listener.begin_gap(datetime.now(timezone.utc), _LOST)
                    self._keep()
                    return
            if time.monotonic() > deadline:
                raise WaitTimeoutException(f"the broker did not acknowledge the subscription to {topic}")
            if self._hooks.last_sent(topic) is None:
                # dxlclient was subscribed to it already, and so has sent nothing.
                self._hooks.subscribe(topic)
            with self.lock:
                if topic not in self.acknowledged:
                    self._changed.wait(_LOOK_EVERY)

    def _is_overdue(self, topic: str) -> bool:
        asked = self._hooks.last_sent(topic) or self._wanted_since.get(topic, 0.0)
        return time.monotonic() - max(asked, self._connected_at) > _ASK_AGAIN

    def _on_connect(self) -> None:
        with self.lock:
            if self.acknowledged or self._unsubscribed:
                self._lose(_LOST)
            self.is_connected = True
            self._connected_at = time.monotonic()
            self._keep()

    def _on_disconnect(self, is_wanted: bool) -> None:
        with self.lock:
            self.is_connected = False
            if is_wanted:
                self.acknowledged = frozenset()
                self._forget_gaps()
            else:
                self._lose(_LOST)
            self._changed.notify_all()

    def _lose(self, reason: str) -> None:
        self.acknowledged = frozenset()
        self._refused.clear()
        start = datetime.fromtimestamp(self._hooks.last_heard() - _MARGIN, timezone.utc)
        for listener in self._listeners:
            since = (self._unsubscribed[topic] for topic in listener.heard & self._unsubscribed.keys())
            listener.begin_gap(min([start, *since]), reason)
        self._unsubscribed.clear()
        self._keep()

    def _forget_gaps(self) -> None:
        """End all gaps: the user has ended the connection, and with the next one begins anew."""
        self._unsubscribed.clear()
        for listener in self._listeners:
            listener.heard.clear()
            listener.end_gap()

    def _on_acknowledgement(self, topic: str, is_refused: bool) -> None:
        with self.lock:
            if is_refused:
                self._refused.add(topic)
                with suppress(Exception):  # what a handler raises must not end the network thread
                    logger.error("The broker refuses the subscription to %s: no events arrive on it", topic)
            else:
                self._miss_what_was_unsubscribed(topic)
                self.acknowledged |= {topic}
                for listener in self._listeners:
                    if topic in listener.topics:
                        listener.heard.add(topic)
                        self._end_gap_if_over(listener)
            self._changed.notify_all()

    def _on_unsubscribe(self, topic: str) -> None:
        with self.lock:
            was_acknowledged = topic in self.acknowledged
            self.acknowledged -= {topic}
            if was_acknowledged and any(topic in listener.topics for listener in self._listeners):
                self._unsubscribed[topic] = datetime.now(timezone.utc) - timedelta(seconds=_MARGIN)
                self._wanted_since[topic] = time.monotonic() + _UNSUBSCRIBED_AT_MOST - _ASK_AGAIN
                self._keep()

    def _miss_what_was_unsubscribed(self, topic: str) -> None:
        if since := self._unsubscribed.pop(topic, None):
            for listener in self._listeners:
                if topic in listener.heard:
                    listener.begin_gap(since, _UNSUBSCRIBED)

    def _end_gap_if_over(self, listener: Listener) -> None:
        if not listener.heard - self.acknowledged:
            listener.end_gap()

    def _keep(self) -> None:
        """See to it that a thread keeps asking for what is not acknowledged, while there is anything."""
        if not self._is_keeping and self._parts.mqtt is not None:
            self._is_keeping = True
            start_thread("DxlThreatEventFeed", self._keep_asking)

    def _keep_asking(self) -> None:
        while True:
            is_dead = self._parts.why_dead() is not None
            # dxlclient holds its locks while it waits for the acknowledgement of a topic of its own, too.
            unanswered = self._hooks.unanswered()
            with self.lock:
                if is_dead:
                    # destroy() without a connection calls no hook.
                    self._forget_gaps()
                waiting = unanswered | self._unacknowledged() if self.is_connected and not is_dead else set()
                if not waiting and not any(listener.gap for listener in self._listeners):
                    self._is_keeping = False
                    return
            for topic in filter(self._is_overdue, waiting):
                logger.warning(
                    "The broker has not acknowledged the subscription to %s. Asking it again.", topic
                )
                with self.lock:
                    self._miss_what_was_unsubscribed(topic)
                self._hooks.subscribe(topic)
            with self.lock:
                self._changed.wait(_LOOK_EVERY)

    def _unacknowledged(self) -> set[str]:
        topics = {topic for listener in self._listeners for topic in listener.topics}
        return topics - self.acknowledged - self._refused
