"""Sends the subscription requests on each connection until the broker acknowledges them.

Each ``DxlClient`` has one feed thread, which manages the subscriptions and sends the feed's requests.
Other threads change the routes and add calls to the feed thread's inbox. After each call, the feed
thread updates the subscriptions to match the routes' topics.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum, auto
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, finalize, ref

from dxlthreateventclient._feed.gaps import Reporter, start_thread
from dxlthreateventclient._feed.hooks import Hooks
from dxlthreateventclient._feed.routing import Dispatcher, Route

if TYPE_CHECKING:
    from dxlthreateventclient._feed.clients import Member, Wait

logger = logging.getLogger(__name__)

# All times are in seconds. Repeat an unacknowledged SUBSCRIBE request after _ASK_AGAIN seconds.
_ASK_AGAIN = 2.0
# The feed thread's polling interval while any operation is pending.
_LOOK_EVERY = 0.1
# End a drain if no event arrives for its routes within _SILENCE seconds.
_SILENCE = 2.0
# Start each gap _MARGIN seconds before heard_until(), because events in transit at that time may be missed.
_MARGIN = 1.0

_LOST = "the connection to the broker was lost"


class _State(Enum):
    """The state of a subscription on the current connection."""

    NEW = auto()
    ASKED = auto()
    ACKNOWLEDGED = auto()
    REFUSED = auto()
    LEAVING = auto()
    """UNSUBSCRIBE has no answer yet. A new SUBSCRIBE waits, because some brokers reorder the two."""


@dataclass
class _Subscription:
    state: _State = _State.NEW
    changed_at: float = 0.0
    error: Exception | None = None

    def change(self, state: _State) -> None:
        self.state, self.changed_at = state, time.monotonic()

    def is_overdue(self) -> bool:
        return time.monotonic() - self.changed_at > _ASK_AGAIN


@dataclass
class _Drain:
    """Routes that still receive earlier events but request no new ones."""

    routes: list[Route]
    done: Callable[[], None]
    arrived: int = -1
    heard_at: float = 0.0


class Feed:
    """Manages the subscriptions of one ``DxlClient`` for all its ``CommonThreatEventClient`` objects.

    :param dxl_client: the DxlClient
    :param mqtt: the MQTT client of the DxlClient
    """

    def __init__(self, dxl_client: Any, mqtt: Any) -> None:
        self.dispatcher = Dispatcher()
        self._reporter = Reporter()
        self.hooks = Hooks(dxl_client, mqtt, self)
        self._members: WeakSet[Member] = WeakSet()
        # Any thread can read self.acknowledged and self.waits, because they are replaced but never modified.
        self.acknowledged: frozenset[str] = frozenset()
        self.waits: tuple[Wait, ...] = ()
        self._is_connected = False
        self._subscriptions: dict[str, _Subscription] = {}
        self._drains: list[_Drain] = []
        self._dxl_client = dxl_client
        self._inbox: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._inbox.put(self._install)
        # Do not stop the feed thread at exit, because an atexit handler may still drain a stream.
        finalize(self, self._inbox.put, None).atexit = False
        start_thread("DxlThreatEventFeed", partial(_serve, self._inbox, ref(self)))

    # Called by other threads.

    @property
    def is_connected(self) -> bool:
        """True if the client is connected to a broker and a thread can deliver events."""
        return self.hooks.is_connected and not self.hooks.why_dead()

    @property
    def why_dead(self) -> str | None:
        """The reason why events can no longer be delivered, or ``None`` if delivery still works."""
        return self.hooks.why_dead()

    def join(self, member: "Member") -> None:
        """Start reporting gaps to a client."""
        self.settle(partial(self._members.add, member))

    def settle(self, call: Callable[[], object] = lambda: None) -> None:
        """Schedule a call on the feed thread, which then updates the subscriptions."""
        self._inbox.put(call)

    def add(self, route: Route, wait: "Wait") -> None:
        """Add a route and wait for its subscription, except on threads that must not wait."""
        self.dispatcher.add(route)
        if self.hooks.is_worker():
            self.settle()
            return
        self.settle(partial(self._begin_wait, wait))
        wait.until_settled()

    def remove(self, route: Route) -> bool:
        """Remove a route immediately. Return True if the route was present."""
        was_there = self.dispatcher.remove(route)
        self.settle()
        return was_there

    def drain(self, routes: list[Route], done: Callable[[], None]) -> None:
        """Stop requesting events for the given routes.

        :param done: called after these routes have received all earlier events
        """
        for route in routes:
            route.is_draining = True
        self.settle(partial(self._drains.append, _Drain(routes, done)))

    def call_when_settled(self, call: Callable[[], object]) -> None:
        """Call a function after all pending calls, or immediately on threads that must not wait."""
        if self.why_dead or self.hooks.is_worker():
            call()
        else:
            self.settle()
            self.settle(call)

    def on_connect(self, then: Callable[[], object]) -> None:
        self.settle(self._connect)
        self.settle(then)

    def on_disconnect(self, is_wanted: bool, heard_until: float) -> None:
        start = datetime.fromtimestamp(heard_until - _MARGIN, timezone.utc)
        self.settle(partial(self._lose, None if is_wanted else start))

    def on_answer(self, topic: str, is_subscribe: bool, is_refused: bool) -> None:
        self.settle(partial(self._note_answer, topic, is_subscribe, is_refused))

    def on_event(self, topic: str) -> None:
        """Count an incoming event."""
        for route in self.dispatcher.routes_of(topic):
            route.arrived += 1

    def report(self, message: str, error: BaseException | None = None, level: int = logging.ERROR) -> None:
        """Log a message on the reporting thread, because other threads must not wait for a log."""
        self._reporter.report(partial(logger.log, level, message, exc_info=error))

    # Called by the feed thread.

    def handle(self, call: Callable[[], object]) -> float | None:
        """Call a function and update all subscriptions.

        :return: the number of seconds until the next check, if any
        """
        try:
            call()
            self._bring_in_step()
        except BaseException as error:
            # Raise the error in all waiting threads.
            self.report("The feed of threat events has failed", error)
            for wait in self.waits:
                self._end_wait(wait, error)
            return _LOOK_EVERY
        is_open = (
            self.waits
            or self._drains
            or self._has_gap()
            or any(state.state in (_State.ASKED, _State.LEAVING) for state in self._subscriptions.values())
            or self.hooks.unanswered()
        )
        return _LOOK_EVERY if is_open else None

    def _install(self) -> None:
        self._dxl_client.add_event_callback(None, self.dispatcher, subscribe_to_topic=False)
        self.hooks.install()
        self._is_connected = self.hooks.is_connected

    def _connect(self) -> None:
        if self._is_connected:
            # The MQTT client has not reported the loss of the previous connection.
            self._lose(datetime.fromtimestamp(self.hooks.heard_until() - _MARGIN, timezone.utc))
        self._is_connected = True

    def _lose(self, start: datetime | None) -> None:
        self._is_connected = False
        self.hooks.forget_lost_requests()
        self._subscriptions.clear()
        for member in self._members:
            if start is None:
                member.listener.forget()
            else:
                member.listener.begin_gap(start, _LOST)

    def _has_gap(self) -> bool:
        return any(member.listener.state[0] for member in self._members)

    def _note_answer(self, topic: str, is_subscribe: bool, is_refused: bool) -> None:
        subscription = self._subscriptions.get(topic)
        if subscription is None:
            return
        if not is_subscribe:
            if subscription.state is _State.LEAVING:
                del self._subscriptions[topic]
        elif subscription.state is _State.ASKED:
            subscription.change(_State.REFUSED if is_refused else _State.ACKNOWLEDGED)
            if is_refused:
                self.report(f"The broker refused the subscription to {topic}: no events can arrive")

    def _bring_in_step(self) -> None:
        if self._has_gap() and self.hooks.why_dead():
            # If the client is not connected, destroy() does not call any hooks.
            self._lose(None)
        routes = [route for route in self.dispatcher.routes if not route.is_draining]
        wanted = frozenset(route.topic for route in routes)
        self.hooks.needed = wanted
        if self._is_connected:
            for topic in wanted | self._subscriptions.keys():
                self._subscribe_or_unsubscribe(topic, topic in wanted)
            self._ask_again_for_dxlclient()
        self.acknowledged = frozenset(topic for topic in wanted if self._state(topic) is _State.ACKNOWLEDGED)
        for member in self._members:
            topics = {route.topic for route in routes if member in route.owners}
            member.listener.update(topics, self.acknowledged)
        for wait in self.waits:
            self._look_at_wait(wait, wanted)
        for drain in list(self._drains):
            self._look_at_drain(drain, wanted)

    def _state(self, topic: str) -> _State | None:
        subscription = self._subscriptions.get(topic)
        return None if subscription is None else subscription.state

    def _subscribe_or_unsubscribe(self, topic: str, is_wanted: bool) -> None:
        subscription = self._subscriptions.setdefault(topic, _Subscription())
        state = subscription.state
        if is_wanted:
            # The network thread cannot read responses while it waits for room in dxlclient's queue.
            is_overdue = subscription.is_overdue() and not self.hooks.is_blocked
            if state is _State.ASKED and is_overdue:
                self._warn_of_silence(topic)
            if state is _State.NEW or (state in (_State.ASKED, _State.LEAVING) and is_overdue):
                self._subscribe(topic, subscription)
        elif state in (_State.ASKED, _State.ACKNOWLEDGED) and self.hooks.unsubscribe(topic):
            subscription.change(_State.LEAVING)
        elif state is not _State.LEAVING:
            del self._subscriptions[topic]

    def _subscribe(self, topic: str, subscription: _Subscription) -> None:
        subscription.change(_State.ASKED)
        try:
            self.hooks.subscribe(topic)
        except Exception as error:
            subscription.change(_State.REFUSED)
            subscription.error = error
            self.report(f"Cannot subscribe to {topic}", error)

    def _ask_again_for_dxlclient(self) -> None:
        # While waiting for a response, dxlclient holds locks that destroy() needs.
        for topic, asked_at in self.hooks.unanswered().items():
            if time.monotonic() - asked_at > _ASK_AGAIN and not self.hooks.is_blocked:
                self._warn_of_silence(topic)
                self.hooks.subscribe(topic)

    def _warn_of_silence(self, topic: str) -> None:
        message = f"The broker has not acknowledged the subscription to {topic}. Asking it again."
        self.report(message, level=logging.WARNING)

    def _begin_wait(self, wait: "Wait") -> None:
        wait.was_connected = self._is_connected
        self.waits = (*self.waits, wait)

    def _look_at_wait(self, wait: "Wait", wanted: frozenset[str]) -> None:
        if not self._is_connected:
            if wait.was_connected:
                # Begin a gap, because add() returns as if the broker had acknowledged the subscription.
                wait.listener.begin_gap(datetime.now(timezone.utc), _LOST, frozenset({wait.topic}))
            self._end_wait(wait)
        elif wait.topic not in wanted:
            self._end_wait(wait)
        elif self._state(wait.topic) in (_State.ACKNOWLEDGED, _State.REFUSED):
            self._end_wait(wait, self._subscriptions[wait.topic].error)
        elif wait.is_too_long():
            self.waits = tuple(other for other in self.waits if other is not wait)

    def _end_wait(self, wait: "Wait", error: BaseException | None = None) -> None:
        self.waits = tuple(other for other in self.waits if other is not wait)
        wait.end(error)

    def _look_at_drain(self, drain: _Drain, wanted: frozenset[str]) -> None:
        now, arrived = time.monotonic(), sum(route.arrived for route in drain.routes)
        if arrived != drain.arrived or self.hooks.is_blocked:
            drain.arrived, drain.heard_at = arrived, now
        # The broker answers an UNSUBSCRIBE request only after sending all earlier events.
        topics = {route.topic for route in drain.routes}
        is_waiting = self._is_connected and topics & self._subscriptions.keys() - wanted
        if not is_waiting or now - drain.heard_at > _SILENCE:
            self._drains.remove(drain)
            # Use a separate thread, because call_behind_queue() waits for room in dxlclient's queue.
            start_thread("DxlThreatEventDrain", partial(self.hooks.call_behind_queue, drain.done))


def _serve(inbox: "SimpleQueue[Callable[[], object] | None]", reference: "ref[Feed]") -> None:
    # Use a weak reference so that the feed thread does not keep the feed and its DxlClient alive.
    seconds: float | None = None
    while True:
        call: Callable[[], object] | None = _look
        with suppress(Empty):
            call = inbox.get(timeout=seconds)
        feed = reference()
        if feed is None or call is None:
            return
        seconds = feed.handle(call)
        del feed, call


def _look() -> None:
    """Do nothing. ``Feed.handle()`` then updates the subscriptions."""
