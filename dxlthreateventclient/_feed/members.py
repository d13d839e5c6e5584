"""The part of a feed that belongs to one CommonThreatEventClient: its callbacks, counts and gaps."""

import threading
import time
from _thread import allocate_lock
from collections import Counter
from collections.abc import Callable
from typing import Any

from dxlclient.exceptions import WaitTimeoutException

from dxlthreateventclient._feed.dispatching import Dispatcher, Route
from dxlthreateventclient._feed.gaps import Listener, Reporter
from dxlthreateventclient._feed.mqtt import mqtt_client_of
from dxlthreateventclient._feed.subscriptions import Feed
from dxlthreateventclient.status import Gap

# All in seconds. Give up waiting for the acknowledgement of a new subscription after this long, as dxlclient
# does.
_LONGEST_WAIT = 120.0
# On Windows Ctrl-C does not interrupt a wait, so no wait is longer than this.
_LONGEST_STEP = 1.0
# How long the report of a gap's end is waited for when a client is left.
_LONGEST_REPORT = 1.0
# A broker whose answer takes longer than this may be kept from answering.
_PATIENCE = 0.1
# The attribute of an MQTT client that holds its feed. Every wrapper around a DxlClient shares it.
_FEED = "_dxlthreateventclient"
_making = threading.Lock()


class Wait:
    """Lets a thread wait until the subscription to a topic is settled.

    :param topic: the topic
    :param listener: the listener of the client that waits
    """

    def __init__(self, topic: str, listener: Listener) -> None:
        self.topic = topic
        self.listener = listener
        self.was_connected = False
        self.started_at = time.monotonic()
        self._error: BaseException | None = None
        # Not a Condition or an Event, which an exception from a signal handler can leave locked.
        self._done = allocate_lock()
        self._done.acquire()

    def is_too_long(self) -> bool:
        """Return whether the broker does not answer."""
        return time.monotonic() - self.started_at > _LONGEST_WAIT

    def end(self, error: BaseException | None = None) -> None:
        """Let the thread go on, or raise an error there."""
        self._error = error
        self._done.release()

    def until_settled(self) -> None:
        """Return when the topic is settled.

        :raise dxlclient.exceptions.WaitTimeoutException: if the broker does not answer within two minutes
        """
        while not self._done.acquire(timeout=_LONGEST_STEP):
            if self.is_too_long():
                raise WaitTimeoutException(f"the broker did not acknowledge the subscription to {self.topic}")
        if self._error is not None:
            raise self._error


class Double:
    """The feed of a double of a ``DxlClient``, such as a mock, which is given each route itself."""

    is_connected = why_dead = None
    acknowledged: frozenset[str] = frozenset()
    waits: tuple[Wait, ...] = ()

    def __init__(self, dxl_client: Any) -> None:
        self.dispatcher = Dispatcher()
        self.reporter = Reporter()
        self._dxl_client = dxl_client

    def add(self, route: Route, _: Wait) -> None:
        self._dxl_client.add_event_callback(route.topic, route)
        self.dispatcher.add(route)

    def remove(self, route: Route) -> bool:
        self._dxl_client.remove_event_callback(route.topic, route)
        return self.dispatcher.remove(route)

    def drain(self, _: list[Route], done: Callable[[], None]) -> None:
        done()

    def call_when_reported(self, call: Callable[[], None]) -> None:
        call()

    def join(self, _: "Member") -> None:
        pass


class Member:
    """What one CommonThreatEventClient has added, and what became of it.

    :param dxl_client: the DxlClient, or a double
    :param on_gap: called with each gap, when it begins and when it is over
    """

    def __init__(self, dxl_client: Any, on_gap: Callable[[Gap], object]) -> None:
        self.counts: Counter[str] = Counter()
        self.last_event_at: float | None = None
        self.is_closed = False
        self.feed = _feed_of(dxl_client)
        self.listener = Listener(on_gap, self.feed.reporter)
        self.feed.join(self)

    @property
    def routes(self) -> list[Route]:
        """The routes that were added here and not removed."""
        return [route for route in self.feed.dispatcher.routes if self in route.owners]

    def add(self, route: Route) -> None:
        """Add a route, unless its callback is on the topic already. If that fails, it is not added.

        :raise RuntimeError: if the client is closed, or its DxlClient can deliver nothing any more
        """
        self._check_open()
        for other in self._find(route.topic, route.callback):
            if self not in other.owners:
                other.owners.append(self)
            return
        route.owners.append(self)
        try:
            self.feed.add(route, Wait(route.topic, self.listener))
            # Another thread may have closed the client meanwhile.
            self._check_open()
        except BaseException:
            self._drop(route)
            raise

    def remove(self, topic: str, callback: Any) -> None:
        """Remove a callback, whichever client added it."""
        for route in self._find(topic, callback):
            self._drop(route)

    def drain(self, callback: Any, done: Callable[[], None]) -> None:
        """Let nothing new come to a callback, and make a call when it has got all that had arrived."""
        routes = [route for route in self.feed.dispatcher.routes if route.is_for(callback)]

        def finish() -> None:
            for route in routes:
                route.is_removed = route.is_drained = True
            done()

        if self.feed.why_dead:
            finish()
        else:
            self.feed.drain(routes, finish)

    def close(self) -> None:
        """Remove what was added here and through no other client. May be called again."""
        self.is_closed = True
        for route in self.routes:
            if len(route.owners) == 1:
                self._drop(route)
            else:
                route.owners.remove(self)
        # The end of a gap is still reported, as far as that does not take long.
        reported = allocate_lock()
        reported.acquire()
        self.feed.call_when_reported(reported.release)
        reported.acquire(timeout=_LONGEST_REPORT)

    def is_waiting_for_broker(self) -> bool:
        """Return whether the broker's answer is overdue. It may wait behind a worker that waits for room."""
        now = time.monotonic()
        return any(now - wait.started_at > _PATIENCE for wait in self.feed.waits)

    def _check_open(self) -> None:
        if reason := "the client is closed" if self.is_closed else self.feed.why_dead:
            raise RuntimeError(f"nothing can be received: {reason}")

    def _find(self, topic: str, callback: Any) -> list[Route]:
        return [
            route for route in self.feed.dispatcher.routes if route.topic == topic and route.is_for(callback)
        ]

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
