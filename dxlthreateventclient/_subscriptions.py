"""The policy: which callbacks are on which topics, and so which topics a DxlClient is subscribed to.

What becomes of a subscription, its acknowledgement and its loss with the connection, is in ``_feed.py``.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from dxlclient.client import DxlClient

from dxlthreateventclient._dxlclient import Parts, is_worker
from dxlthreateventclient._feed import Feed
from dxlthreateventclient._helper import Helper
from dxlthreateventclient._registration import Owner, Parent, Registration, is_in, numbers
from dxlthreateventclient.status import Gap

# The attribute under which what the clients of one DxlClient share is kept with it.
_SHARED = "_dxlthreateventclient"
_making = threading.Lock()

# How long the report of a gap's end is waited for when a client is left, in seconds.
_LONGEST_WAIT = 1.0

# How often something that happens soon is looked for, in seconds.
_SOON = 0.01

# A broker that sends nothing for so many seconds is not waited for when a stream is drained.
_SILENCE = 2.0

# A broker whose answer takes longer than this many seconds may be kept from answering.
_PATIENCE = 0.1


class _Shared:
    """What all clients of one DxlClient share: the registrations, the feed, and the helper thread."""

    def __init__(self, dxl_client: DxlClient, parts: Parts) -> None:
        self.parts = parts
        self.feed = Feed(parts)
        # Since when the broker's answer is waited for, as time.monotonic().
        self.waiting_since: float | None = None
        # Replaced and never changed, so it can be read without the lock, which the main thread never takes.
        self.registrations: tuple[Registration, ...] = ()
        self._lock = threading.RLock()
        self.helper = Helper(parts)
        self._dxl_client = dxl_client

    def find(self, topic: str, callback: Any) -> list[Registration]:
        """Return the registrations of a callback on a topic."""
        return [registration for registration in self._added(callback) if registration.topic == topic]

    def _added(self, callback: Any) -> list[Registration]:
        return [added for added in self.registrations if added.is_for(callback) and not added.is_removed]

    def remove(self, topic: str, callback: Any) -> None:
        """Remove a callback from a topic: for the next event at once, from dxlclient by the helper thread."""
        until = next(numbers)
        for registration in self.find(topic, callback):
            registration.is_removed = True
        if not self._forget_if_dead(lambda registration: registration.is_removed):
            self.helper.do(topic, lambda: self._remove(topic, callback, until))

    def leave(self, owner: "Subscriptions") -> None:
        """Remove what was added through one client, and through no other."""
        for registration in self.registrations:
            if registration.owners == (owner,):
                registration.is_removed = True
        if not self._forget_if_dead(lambda registration: registration.owners == (owner,)):
            self.helper.do(", ".join(sorted(owner.listener.topics)), lambda: self._leave(owner))

    def _forget_if_dead(self, is_forgotten: Callable[[Registration], bool]) -> bool:
        # Without the lock, which a thread that this process does not have may hold if it was forked.
        if not self.parts.why_dead():
            return False
        forgotten = [registration for registration in self.registrations if is_forgotten(registration)]
        self.registrations = tuple(kept for kept in self.registrations if not is_in(kept, forgotten))
        for registration in forgotten:
            registration.report_passed_over(self.feed.arrived(registration.topic))
        return True

    # What follows runs on the helper thread, and register() on workers, too.

    def add(self, owner: "Subscriptions", registration: Registration) -> None:
        """Register a callback and subscribe to its topic."""
        if self.parts.is_mock:
            with self._waiting_for_broker():
                self.register(owner, registration)
        else:
            self.register(owner, registration, subscribe_to_topic=False)
            self.subscribe(owner, registration.topic)

    def register(self, owner: "Subscriptions", registration: Registration, **options: bool) -> None:
        """Give a registration to dxlclient, unless its callback is on the topic already."""
        topic = registration.topic
        with self._lock:
            owner.check_open()
            self.feed.listen(owner.listener, topic)
            if existing := self.find(topic, registration.callback):
                for other in existing:
                    other.owners = tuple({*other.owners, owner})
                return
            if self.parts.registry is not None:
                # One that was removed a moment ago may still be there, and equal to this one.
                self.parts.remove_callbacks(topic, lambda other: getattr(other, "is_removed", False))
            registration.owners = (owner,)
            registration.arrived_before = self.feed.arrived(topic)
            self.registrations += (registration,)
            if topic.endswith("/#") and topic != "/#":
                registration.parent = Parent(registration, self.find)
                self._dxl_client.add_event_callback(
                    registration.parent.topic, registration.parent, subscribe_to_topic=False
                )
        self._dxl_client.add_event_callback(topic, registration, **options)
        if self.parts.registry is not None and not is_in(registration, self.parts.callbacks(topic)):
            # Its callback was registered with the DxlClient itself, and is not ours to remove.
            with self._lock:
                self.registrations = tuple(other for other in self.registrations if other is not registration)

    def subscribe(self, owner: "Subscriptions", topic: str) -> None:
        """Subscribe to a topic, and return when the broker has acknowledged that."""
        with self._waiting_for_broker():
            self._subscribe(topic)
            self.feed.wait_for_acknowledgement(owner.listener, topic)

    def drop(self, dropped: Sequence[Registration]) -> None:
        """Take registrations from dxlclient, and unsubscribe from topics that have no callback left.

        All are taken before the broker is waited for: what is queued for them is then passed over quickly,
        and the broker's answer comes through.
        """
        with self._lock:
            dropped = [registration for registration in self.registrations if is_in(registration, dropped)]
            self.registrations = tuple(kept for kept in self.registrations if not is_in(kept, dropped))
        for registration in dropped:
            registration.is_removed = True
            self._take_from_dxlclient(registration)
            if registration.parent:
                self._take_from_dxlclient(registration.parent)
            for owner in registration.owners:
                self._leave_topic(owner, registration.topic)
        topics = {registration.topic for registration in dropped}
        errors = []
        for topic in topics:
            try:
                self._settle(topic)
            except Exception as error:  # noqa: BLE001 - raised when the other topics are settled
                errors.append(error)
        for registration in dropped:
            registration.report_passed_over(self.feed.arrived(registration.topic))
        for topic in topics:
            if not any(kept.topic == topic for kept in self.registrations):
                self.feed.forget(topic)
        if errors:
            raise errors[0]

    def drain(self, callback: Any, done: Callable[[], None]) -> None:
        """Let nothing new come to a callback, and call a function when it has got all that had arrived."""
        drained = self._added(callback)
        topics = {added.topic for added in drained if not self._is_used(added.topic, besides=drained)}
        for topic in topics:
            for owner in {owner for added in drained for owner in added.owners if added.topic == topic}:
                self.feed.ignore(owner.listener, topic)

        def finish() -> None:
            for registration in drained:
                registration.is_removed = registration.is_drained = True
            done()

        with self._waiting_for_broker():
            self._unsubscribe_in_time(topics)
            self.parts.call_behind_queue(finish)
        for topic in topics:
            if self._is_used(topic, besides=drained):
                self._subscribe(topic)

    def _unsubscribe_in_time(self, topics: Iterable[str]) -> None:
        """Unsubscribe from topics, and return when that is done, or when nothing more comes."""

        def unsubscribe() -> None:
            for topic in topics:
                # Removing the callback tries it again, and raises what it raises.
                with suppress(Exception), self.feed.unsubscribing(topic):
                    self._unsubscribe(topic)

        # The broker's answer comes behind all that it has sent before.
        thread = threading.Thread(target=unsubscribe, name="DxlThreatEventDrain", daemon=True)
        thread.start()
        arrived, since = -1, 0.0
        while thread.is_alive():
            before, arrived = arrived, sum(map(self.feed.arrived, topics))
            if arrived != before or self.parts.queue_is_full():
                since = time.monotonic()
            elif time.monotonic() - since > _SILENCE:
                self.feed.release_unsubscribing()
            thread.join(_SOON)

    def _remove(self, topic: str, callback: Any, until: int) -> None:
        """Drop what was added until a remove was asked for: a callback may have been added again since."""
        found = [
            registration
            for registration in self.registrations
            if registration.topic == topic and registration.is_for(callback) and registration.number < until
        ]
        if found:
            self.drop(found)
        elif self.parts.is_mock:
            self._dxl_client.remove_event_callback(topic, callback)
        elif any(other is callback for other in self.parts.callbacks(topic)):
            self.parts.remove_callbacks(topic, lambda other: other is callback)
            self._settle(topic)

    def _leave(self, owner: "Subscriptions") -> None:
        with self._lock:
            added = [registration for registration in self.registrations if owner in registration.owners]
            shared = [registration for registration in added if registration.owners != (owner,)]
            for registration in shared:
                registration.owners = tuple(other for other in registration.owners if other is not owner)
        try:
            self.drop([registration for registration in added if not is_in(registration, shared)])
        finally:
            for topic in list(owner.listener.topics):
                self.feed.ignore(owner.listener, topic)

    def _leave_topic(self, owner: Owner, topic: str) -> None:
        if not any(kept.topic == topic and owner in kept.owners for kept in self.registrations):
            self.feed.ignore(owner.listener, topic)

    def _take_from_dxlclient(self, given: Registration | Parent) -> None:
        if self.parts.registry is not None:
            # Not remove_event_callback(): while it runs, dxlclient passes over the callbacks of all filters.
            self.parts.remove_callbacks(given.topic, lambda other: other is given)
        else:
            options = {} if self.parts.is_mock else {"unsubscribe_from_topic": False}
            self._dxl_client.remove_event_callback(given.topic, given, **options)

    def _settle(self, topic: str) -> None:
        """Unsubscribe from a topic if it has no callback. Waits for the broker."""
        if self.parts.is_mock:
            return
        with self._waiting_for_broker():
            if not self._is_used(topic):
                with self.feed.unsubscribing(topic):
                    self._unsubscribe(topic)
            # A worker, or someone with the DxlClient, may have added one meanwhile.
            if self._is_used(topic):
                self._subscribe(topic)

    def _subscribe(self, topic: str) -> None:
        self.parts.let_subscriptions_change()
        self._dxl_client.subscribe(topic)

    def _unsubscribe(self, topic: str) -> None:
        self.parts.let_subscriptions_change()
        self._dxl_client.unsubscribe(topic)

    def _is_used(self, topic: str, besides: Sequence[Registration] = ()) -> bool:
        ours = [registration for registration in self.registrations if registration.topic == topic]
        present = [*self.parts.callbacks(topic), *ours]
        is_used = any(not isinstance(other, Parent) and not is_in(other, besides) for other in present)
        # Under "" are the callbacks for all topics, whose subscriptions somebody made by hand.
        return is_used or bool(self.parts.callbacks(""))

    @contextmanager
    def _waiting_for_broker(self) -> Iterator[None]:
        self.waiting_since = time.monotonic()
        try:
            yield
        finally:
            self.waiting_since = None


class Subscriptions:
    """The callbacks that one CommonThreatEventClient adds to a DxlClient.

    :param dxl_client: the DXL client
    :param on_gap: called with each gap, when it begins and when it is over; the default logs a warning
    """

    def __init__(self, dxl_client: DxlClient, on_gap: Callable[[Gap], object] | None) -> None:
        self.counts: Counter[str] = Counter()
        self.last_event_at: float | None = None
        self.is_closed = False
        parts = Parts(dxl_client)
        # Kept with dxlclient's own registry, which every wrapper around a DxlClient shares with it.
        keeper = dxl_client if parts.registry is None else parts.registry
        with _making:
            self.shared: _Shared = getattr(keeper, _SHARED, None)  # type: ignore[assignment]
            if not isinstance(self.shared, _Shared):
                self.shared = _Shared(dxl_client, parts)
                with suppress(Exception):  # a double may refuse attributes: then its clients share nothing
                    setattr(keeper, _SHARED, self.shared)
        self.listener = self.shared.feed.listener(on_gap)

    def check_open(self) -> None:
        """Check that something can be added.

        :raise RuntimeError: if the client is closed, or its DxlClient can deliver nothing any more
        """
        if reason := "the client is closed" if self.is_closed else self.shared.parts.why_dead():
            raise RuntimeError(f"nothing can be received: {reason}")

    def add(self, registration: Registration) -> None:
        """Add a callback. If that fails, it is not added."""
        self.check_open()
        if is_worker():
            self.shared.register(self, registration, subscribe_to_topic=False)
            self.shared.helper.do(registration.topic, lambda: self.shared.subscribe(self, registration.topic))
        else:
            self.shared.helper.do(
                registration.topic,
                lambda: self.shared.add(self, registration),
                undo=lambda: self.shared.drop([registration]),
            )

    def remove(self, topic: str, callback: Any) -> None:
        """Remove a callback, whichever client added it."""
        self.shared.remove(topic, callback)

    def drain(self, topic: str, callback: Any, done: Callable[[], None]) -> None:
        """Begin to let nothing new come to a callback, and call a function when it has got the rest."""
        if self.shared.parts.is_mock or self.shared.parts.why_dead():
            done()
        else:
            self.shared.helper.begin(topic, lambda: self.shared.drain(callback, done))

    def close(self) -> None:
        """Remove what was added here and through no other client. May be called again."""
        self.is_closed = True
        self.shared.leave(self)
        # The end of a gap is still reported, as far as that does not take long.
        deadline = time.monotonic() + _LONGEST_WAIT
        while (reporter := self.listener.reporter) and reporter is not threading.current_thread():
            if time.monotonic() > deadline:
                break
            time.sleep(_SOON)

    def registrations(self) -> list[Registration]:
        """Return what was added here and is not removed."""
        return [registration for registration in self.shared.registrations if self in registration.owners]

    def is_waiting_for_broker(self) -> bool:
        """Return whether the broker's answer is overdue. It may wait behind a worker that waits for room."""
        since = self.shared.waiting_since
        return since is not None and time.monotonic() - since > _PATIENCE
