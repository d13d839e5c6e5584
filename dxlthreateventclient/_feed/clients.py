"""Manages each client's callbacks, event counts and gaps."""

import threading
import time
from _thread import allocate_lock
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from dxlclient.exceptions import WaitTimeoutException

from dxlthreateventclient._feed.gaps import Listener, Reporter, wait_for
from dxlthreateventclient._feed.hooks import mqtt_client_of
from dxlthreateventclient._feed.routing import Dispatcher, Route
from dxlthreateventclient._feed.subscriptions import Feed
from dxlthreateventclient.status import Gap

# All times are in seconds. Wait up to _LONGEST_WAIT seconds for the broker to acknowledge a subscription, as
# dxlclient does.
_LONGEST_WAIT = 120.0
# The maximum duration of a single wait. Long waits are split into shorter ones because, on Windows, Ctrl-C
# does not interrupt a wait.
_LONGEST_STEP = 1.0
# close() waits up to _LONGEST_REPORT seconds for the final gap reports.
_LONGEST_REPORT = 1.0
# If the broker does not respond within _PATIENCE seconds, a stream's full buffer may be blocking the
# response.
_PATIENCE = 0.1
# Store the feed in an attribute of the MQTT client, so that all wrappers of a DxlClient share it.
_FEED = "_dxlthreateventclient"
_making = threading.Lock()


class Wait:
    """Blocks a thread until the outcome of a subscription is known.

    :param topic: the topic
    :param listener: the listener of the waiting client
    """

    def __init__(self, topic: str, listener: Listener) -> None:
        self.topic = topic
        self.listener = listener
        self.was_connected = False
        self.started_at = time.monotonic()
        self._error: BaseException | None = None
        # Do not use a threading.Event, because an exception in a signal handler can leave the Event's
        # lock held.
        self._done = allocate_lock()
        self._done.acquire()

    def is_too_long(self) -> bool:
        """Return True if the broker has not responded in time."""
        return time.monotonic() - self.started_at > _LONGEST_WAIT

    def end(self, error: BaseException | None = None) -> None:
        """End the wait, and raise the error, if any, in the waiting thread."""
        self._error = error
        self._done.release()

    def until_settled(self) -> None:
        """Wait until the outcome of the subscription is known.

        :raise dxlclient.exceptions.WaitTimeoutException: if the broker does not answer within two minutes
        """
        while not self._done.acquire(timeout=_LONGEST_STEP):
            if self.is_too_long():
                raise WaitTimeoutException(f"the broker did not acknowledge the subscription to {self.topic}")
        if self._error is not None:
            raise self._error


class Double:
    """Acts as the feed for a test double, such as a mock. Adds each route directly to the test double."""

    is_connected = why_dead = None
    acknowledged: frozenset[str] = frozenset()
    waits: tuple[Wait, ...] = ()

    def __init__(self, dxl_client: Any) -> None:
        self.dispatcher = Dispatcher()
        self._dxl_client = dxl_client

    def add(self, route: Route, _: Wait) -> None:
        if not any(route is other for other in self.dispatcher.routes):
            self._dxl_client.add_event_callback(route.topic, route)
            self.dispatcher.add(route)

    def remove(self, route: Route) -> bool:
        self._dxl_client.remove_event_callback(route.topic, route)
        return self.dispatcher.remove(route)

    def drain(self, _: list[Route], done: Callable[[], None]) -> None:
        done()

    def call_when_settled(self, call: Callable[[], None]) -> None:
        call()

    def join(self, _: "Member") -> None:
        pass


class Member:
    """The routes, event counts and gaps of one CommonThreatEventClient.

    :param dxl_client: the DxlClient, or a double
    :param on_gap: called with each gap when it begins and when it ends
    """

    def __init__(self, dxl_client: Any, on_gap: Callable[[Gap], object]) -> None:
        self.counts: Counter[str] = Counter()
        self.counting = threading.Lock()
        self.last_event_at: float | None = None
        self.is_closed = False
        self.feed = _feed_of(dxl_client)
        # Each client has its own reporter, so that a slow on_gap does not delay other clients.
        self._reporter = Reporter()
        self.listener = Listener(on_gap, self._reporter)
        self.feed.join(self)

    @property
    def routes(self) -> list[Route]:
        """The routes that this client has added but not removed."""
        return [route for route in self.feed.dispatcher.routes if self in route.owners]

    def add(self, route: Route) -> None:
        """Add a route, unless its callback is already registered for the topic.

        If an error occurs, the route is not added, but a route that existed remains.

        :raise RuntimeError: if the client is closed, or its DxlClient can no longer deliver events
        """
        self._check_open()
        route = next(iter(self._find(route.topic, route.callback)), route)
        is_new = self not in route.owners
        if is_new:
            route.owners.append(self)
        try:
            self.feed.add(route, Wait(route.topic, self.listener))
            # Another thread may have closed the client during feed.add().
            self._check_open()
        except BaseException:
            if is_new or self.is_closed:
                self._disown(route)
            raise

    def remove(self, topic: str, callback: Any) -> None:
        """Remove a callback from a topic, regardless of which client added it."""
        for route in self._find(topic, callback):
            self._drop(route)

    def remove_everywhere(self, callback: Any) -> None:
        """Remove a callback from all topics."""
        for route in self._find_everywhere(callback):
            self._drop(route)

    def drain(self, callback: Any, done: Callable[[], None]) -> None:
        """Stop requesting events for a callback.

        :param done: called after the callback has received all earlier events
        """
        routes = self._find_everywhere(callback)

        def finish() -> None:
            for route in routes:
                route.is_removed = route.is_drained = True
            done()

        if self.feed.why_dead:
            finish()
        else:
            self.feed.drain(routes, finish)

    def close(self) -> None:
        """Remove this client's routes, except those that another client has also added.

        ``close()`` can be called more than once.
        """
        self.is_closed = True
        for route in self.routes:
            self._disown(route)
        if self._reporter.is_current():
            return
        # Wait briefly for the final gap reports.
        wait_for(
            lambda done: self.feed.call_when_settled(partial(self._reporter.after_all, done)), _LONGEST_REPORT
        )

    def is_answer_overdue(self) -> bool:
        """Return True if the broker's response is overdue, possibly because a stream's buffer is full."""
        now = time.monotonic()
        return any(now - wait.started_at > _PATIENCE for wait in self.feed.waits)

    def _check_open(self) -> None:
        if reason := "the client is closed" if self.is_closed else self.feed.why_dead:
            raise RuntimeError(f"nothing can be received: {reason}")

    def _find(self, topic: str, callback: Any) -> list[Route]:
        return [route for route in self._find_everywhere(callback) if route.topic == topic]

    def _find_everywhere(self, callback: Any) -> list[Route]:
        return [route for route in self.feed.dispatcher.routes if route.is_for(callback)]

    def _disown(self, route: Route) -> None:
        if route.owners == [self]:
            self._drop(route)
        elif self in route.owners:
            route.owners.remove(self)

    def _drop(self, route: Route) -> None:
        if self.feed.remove(route):
            route.report()


def _feed_of(dxl_client: Any) -> Feed | Double:
    mqtt = mqtt_client_of(dxl_client)
    if mqtt is None:
        return Double(dxl_client)
    with _making:
        feed = getattr(mqtt, _FEED, None)
        if not isinstance(feed, Feed):
            feed = Feed(dxl_client, mqtt)
            setattr(mqtt, _FEED, feed)
        return feed
