"""The policy: which callbacks are on which topics, and so which topics a DxlClient is subscribed to.

All calls that take a lock of dxlclient's run on one helper thread for each DxlClient, in their order. On the
main thread a signal handler may raise at any moment, and dxlclient would then keep its lock for good.
"""

import _thread
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from queue import SimpleQueue
from types import BuiltinMethodType, MethodType
from typing import Any, Literal, TypeAlias
from weakref import finalize

from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.message import Event

from dxlthreateventclient._dxlclient import Parts, copy_event, is_worker
from dxlthreateventclient._feed import Feed, start_thread
from dxlthreateventclient.status import Gap

logger = logging.getLogger(__name__)

Outcome: TypeAlias = Literal["handled", "failed", "filtered"]
Deliver: TypeAlias = Callable[[Event], Outcome]

# The attribute under which what the clients of one DxlClient share is kept with it.
_SHARED = "_dxlthreateventclient"
_HELPER = "DxlThreatEventSubscriptions"

# On Windows Ctrl-C does not interrupt a wait, so no wait is longer than this many seconds.
_LONGEST_WAIT = 1.0

# How often something that happens soon is looked for, in seconds.
_SOON = 0.01

# A broker whose answer takes longer than this many seconds may be kept from answering.
_PATIENCE = 0.1


def check_topic(topic: str) -> None:
    """Check that dxlclient can receive on a topic.

    :raise TypeError: if it is not a string
    :raise ValueError: if no event could arrive under it
    """
    if not isinstance(topic, str):
        raise TypeError(f"topic must be a string, got {topic!r}")
    levels = topic.split("/")
    if (
        not topic
        or "+" in topic
        or "\0" in topic
        or "#" in topic.removesuffix("#")
        or (topic[-1] == "#" and levels[-1] != "#")
    ):
        raise ValueError(f"topic must be an exact topic, or a filter that ends in '/#', got {topic!r}")


class Registration(EventCallback):
    """What dxlclient is given for a callback. It is equal to it, and keeps it from disturbing others.

    :param topic: the topic or filter
    :param callback: the caller's own object
    :param deliver: hands an event to the callback, and never raises
    :param report: called when it has been removed, with how many events had arrived and were passed over;
        logs that, and returns how many events were dropped in all
    """

    def __init__(
        self, topic: str, callback: Any, deliver: Deliver, report: Callable[["Registration", int], int]
    ) -> None:
        super().__init__()
        self.topic = topic
        self.callback = callback
        self.number = next(_numbers)
        # Set at once when the callback is removed; dxlclient hears of it later.
        self.is_removed = False
        self.owners: tuple[Subscriptions, ...] = ()
        self.received = 0
        self.arrived_before = 0
        self.parent: _Parent | None = None
        self._deliver = deliver
        self._report = report

    def on_event(self, event: Event) -> None:
        """Hand a copy of the event to the callback. Called by dxlclient."""
        if self.is_removed:
            return
        # What one callback does to its event reaches no other.
        outcome = self._deliver(copy_event(event))
        now = time.time()
        with _counting:
            self.received += 1
            for owner in self.owners:
                owner.counts[outcome] += 1
                owner.last_event_at = now

    def report_passed_over(self, arrived: int) -> None:
        """Report that this has been removed.

        :param arrived: how many events have arrived on the topic
        """
        passed_over = max(0, arrived - self.arrived_before - self.received)
        dropped = passed_over
        with suppress(Exception):  # what a logging handler raises
            dropped = self._report(self, passed_over)
        for owner in self.owners:
            owner.counts["dropped"] += dropped

    def is_for(self, callback: Any) -> bool:
        """Return whether this is the registration of a callback: of that very object, whatever equals it."""
        own = self.callback
        # Python makes a new object each time a method is named: the same function of the same object is
        # meant.
        is_method = type(own) is type(callback) and isinstance(own, (MethodType, BuiltinMethodType))
        return own is callback or (is_method and bool(own == callback))

    def __eq__(self, other: object) -> bool:
        return self.is_for(other.callback if isinstance(other, Registration) else other)

    def __hash__(self) -> int:
        return id(self)


class _Parent(EventCallback):
    """Hands over what a filter receives on the topic above it, where dxlclient looks for no filter."""

    def __init__(self, shared: "_Shared", registration: Registration) -> None:
        super().__init__()
        self.topic = registration.topic.removesuffix("/#")
        self._shared = shared
        self._registration = registration

    def on_event(self, event: Event) -> None:
        """Hand the event over. Called by dxlclient."""
        # A callback that is on the topic itself, too, has got the event there.
        if not self._shared.find(self.topic, self._registration.callback):
            self._registration.on_event(event)


class _Job:
    """A call that the helper thread makes for another thread."""

    def __init__(
        self, call: Callable[[], object], topic: str, hold_disconnect_back: Callable[[], Callable[[], object]]
    ) -> None:
        self.is_waited_for = False
        self.is_cancelled = False
        self._topic = topic
        self._call = call
        self._hold = hold_disconnect_back
        self._release: Callable[[], object] | None = None
        self._error: BaseException | None = None
        self._done = _thread.allocate_lock()
        self._done.acquire()

    def hold_disconnect_back(self) -> None:
        """Keep ``DxlClient.disconnect()`` waiting until the job is done."""
        self._release = self._release or self._hold()

    def __call__(self) -> None:
        """Make the call, and keep or log what it raises."""
        self.hold_disconnect_back()
        try:
            if not self.is_cancelled:
                self._call()
        except BaseException as error:
            self._error = error
            if not self.is_waited_for:
                logger.exception(
                    "Cannot bring the subscription to %s in step with its callbacks", self._topic
                )
        finally:
            if self._release:
                self._release()
            self._done.release()

    def wait(self) -> None:
        """Return when the call has been made, or raise what it raised."""
        while not self._done.acquire(timeout=_LONGEST_WAIT):
            pass
        if self._error is not None:
            raise self._error


def _help(jobs: "SimpleQueue[_Job | None]", claim: threading.Lock) -> None:
    # It knows nothing but its jobs, so that it keeps no DxlClient alive. One thread at a time does them.
    if claim.acquire(blocking=False):
        while (job := jobs.get()) is not None:
            with suppress(Exception):  # what a logging handler raises
                job()
            del job


class _Shared:
    """What all clients of one DxlClient share: the registrations, the feed, and the helper thread."""

    def __init__(self, dxl_client: DxlClient, parts: Parts) -> None:
        self.parts = parts
        self.feed = Feed(parts)
        # It has no locks, and is called as a test expects it.
        self._is_mock = parts.registry is None and not parts.is_real
        # Since when the broker's answer is waited for, as time.monotonic().
        self.waiting_since: float | None = None
        # Replaced and never changed, so it can be read without the lock, which the main thread never takes.
        self.registrations: tuple[Registration, ...] = ()
        self._lock = threading.RLock()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._claim = threading.Lock()
        self._is_helped = False
        self._dxl_client = dxl_client
        finalize(self, self._jobs.put, None)

    def find(self, topic: str, callback: Any) -> list[Registration]:
        """Return the registrations of a callback on a topic."""
        return [
            registration
            for registration in self.registrations
            if registration.topic == topic and registration.is_for(callback) and not registration.is_removed
        ]

    def do(self, topic: str, call: Callable[[], object], undo: Callable[[], object] | None = None) -> None:
        """Let the helper thread make a call, and wait for it, except on threads that must not wait.

        :param topic: what the call is about, for the log
        :param call: the call
        :param undo: what is called if the call or the wait for it fails
        """
        if self._is_mock:
            try:
                call()
            except BaseException:
                if undo:
                    undo()
                raise
            return
        job = _Job(call, topic, self.parts.hold_disconnect_back)
        if is_worker() or threading.current_thread().name == _HELPER:
            job.hold_disconnect_back()
            self._put(job)
            return
        try:
            job.is_waited_for = True
            self._put(job)
            job.wait()
        except BaseException:
            job.is_waited_for = False
            if undo:
                job.is_cancelled = True
                self._put(_Job(undo, topic, self.parts.hold_disconnect_back))
            raise

    def _put(self, job: _Job) -> None:
        self._jobs.put(job)
        if not self._is_helped:
            start_thread(_HELPER, partial(_help, self._jobs, self._claim))
            self._is_helped = True

    def remove(self, topic: str, callback: Any) -> None:
        """Remove a callback from a topic: for the next event at once, from dxlclient by the helper thread."""
        until = next(_numbers)
        for registration in self.find(topic, callback):
            registration.is_removed = True
        if not self._forget_if_dead(lambda registration: registration.is_removed):
            self.do(topic, lambda: self._remove(topic, callback, until))

    def leave(self, owner: "Subscriptions") -> None:
        """Remove what was added through one client, and through no other."""
        for registration in self.registrations:
            if registration.owners == (owner,):
                registration.is_removed = True
        if not self._forget_if_dead(lambda registration: registration.owners == (owner,)):
            self.do(", ".join(sorted(owner.listener.topics)), lambda: self._leave(owner))

    def _forget_if_dead(self, is_forgotten: Callable[[Registration], bool]) -> bool:
        # Without the lock, which a thread that this process does not have may hold if it was forked.
        if not self.parts.why_dead():
            return False
        forgotten = [registration for registration in self.registrations if is_forgotten(registration)]
        self.registrations = tuple(kept for kept in self.registrations if not _is_in(kept, forgotten))
        for registration in forgotten:
            registration.report_passed_over(self.feed.arrived(registration.topic))
        return True

    # What follows runs on the helper thread, and register() on workers, too.

    def add(self, owner: "Subscriptions", registration: Registration) -> None:
        """Register a callback and subscribe to its topic."""
        with self._waiting_for_broker():
            self.register(owner, registration)
        if not self._is_mock:
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
                registration.parent = _Parent(self, registration)
                self._dxl_client.add_event_callback(
                    registration.parent.topic, registration.parent, subscribe_to_topic=False
                )
        self._dxl_client.add_event_callback(topic, registration, **options)
        if self.parts.registry is not None and not self._is_registered(registration):
            # Its callback was registered with the DxlClient itself, and is not ours to remove.
            with self._lock:
                self.registrations = tuple(other for other in self.registrations if other is not registration)

    def subscribe(self, owner: "Subscriptions", topic: str) -> None:
        """Subscribe to a topic, and return when the broker has acknowledged that."""
        with self._waiting_for_broker():
            self._dxl_client.subscribe(topic)
            self.feed.wait_for_acknowledgement(owner.listener, topic)

    def drop(self, dropped: Sequence[Registration]) -> None:
        """Take registrations from dxlclient, and unsubscribe from topics that have no callback left.

        All are taken before the broker is waited for: what is queued for them is then passed over quickly,
        and the broker's answer comes through.
        """
        with self._lock:
            dropped = [registration for registration in self.registrations if _is_in(registration, dropped)]
            self.registrations = tuple(kept for kept in self.registrations if not _is_in(kept, dropped))
        for registration in dropped:
            registration.is_removed = True
            self._take_from_dxlclient(registration)
        errors = []
        for topic in {registration.topic for registration in dropped}:
            try:
                self._settle(topic)
            except Exception as error:  # noqa: BLE001 - raised when the other topics are settled
                errors.append(error)
        for registration in dropped:
            for owner in registration.owners:
                self._leave_topic(owner, registration.topic)
            registration.report_passed_over(self.feed.arrived(registration.topic))
        for topic in {registration.topic for registration in dropped}:
            if not any(kept.topic == topic for kept in self.registrations):
                self.feed.forget(topic)
        if errors:
            raise errors[0]

    def _remove(self, topic: str, callback: Any, until: int) -> None:
        """Drop what was added until a remove was asked for: a callback may have been added again since."""
        found = [
            registration
            for registration in self.registrations
            if registration.topic == topic and registration.is_for(callback) and registration.number < until
        ]
        if found:
            self.drop(found)
        elif self._is_mock:
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
        for registration in shared:
            self._leave_topic(owner, registration.topic)
        self.drop([registration for registration in added if not _is_in(registration, shared)])

    def _leave_topic(self, owner: "Subscriptions", topic: str) -> None:
        if not any(kept.topic == topic and owner in kept.owners for kept in self.registrations):
            self.feed.ignore(owner.listener, topic)

    def _take_from_dxlclient(self, registration: Registration) -> None:
        if self.parts.registry is not None:
            # Not remove_event_callback(): while it runs, dxlclient passes over the callbacks of all filters.
            self.parts.remove_callbacks(registration.topic, lambda other: other is registration)
            if parent := registration.parent:
                self.parts.remove_callbacks(parent.topic, lambda other: other is parent)
        elif self._is_mock:
            self._dxl_client.remove_event_callback(registration.topic, registration)
        else:
            self._dxl_client.remove_event_callback(
                registration.topic, registration, unsubscribe_from_topic=False
            )
            if parent := registration.parent:
                self._dxl_client.remove_event_callback(parent.topic, parent, unsubscribe_from_topic=False)

    def _settle(self, topic: str) -> None:
        """Unsubscribe from a topic if it has no callback. Waits for the broker."""
        if self._is_mock:
            return
        with self._waiting_for_broker():
            if not self._is_used(topic):
                # While dxlclient waits for the acknowledgement, nothing can be unsubscribed.
                self.feed.release(topic)
                self._dxl_client.unsubscribe(topic)
            # A worker, or someone with the DxlClient, may have added one meanwhile.
            if self._is_used(topic):
                self._dxl_client.subscribe(topic)

    def _is_used(self, topic: str) -> bool:
        callbacks: list[Any] = [*self.parts.callbacks(topic), *self.registrations]
        ours = (other.topic == topic for other in callbacks if isinstance(other, Registration))
        foreign = (not isinstance(other, (Registration, _Parent)) for other in callbacks)
        # Under "" are the callbacks for all topics, whose subscriptions somebody made by hand.
        return any(ours) or any(foreign) or bool(self.parts.callbacks(""))

    def _is_registered(self, registration: Registration) -> bool:
        return _is_in(registration, self.parts.callbacks(registration.topic))

    @contextmanager
    def _waiting_for_broker(self) -> Iterator[None]:
        self.waiting_since = time.monotonic()
        try:
            yield
        finally:
            self.waiting_since = None


def _is_in(one: object, several: Iterable[object]) -> bool:
    """Return whether an object itself is among others: registrations are equal to more than themselves."""
    return any(one is other for other in several)


# Guards the counts, which several workers may change; and tells what was added before a callback was removed.
_counting = threading.Lock()
_numbers = count()


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
        self.shared: _Shared = getattr(keeper, _SHARED, None)  # type: ignore[assignment]
        if not isinstance(self.shared, _Shared):
            self.shared = _Shared(dxl_client, parts)
            with suppress(Exception):  # a double may refuse attributes: then it shares nothing
                self.shared = vars(keeper).setdefault(_SHARED, self.shared)
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
            self.shared.do(registration.topic, lambda: self.shared.subscribe(self, registration.topic))
        else:
            self.shared.do(
                registration.topic,
                lambda: self.shared.add(self, registration),
                undo=lambda: self.shared.drop([registration]),
            )

    def remove(self, topic: str, callback: Any) -> None:
        """Remove a callback, whichever client added it."""
        self.shared.remove(topic, callback)

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
