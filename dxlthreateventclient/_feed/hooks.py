"""All hooks into dxlclient and its MQTT client, with the reason for each.

dxlclient has no public API for detecting a lost connection or an acknowledged subscription. The hooks use
private names of dxlclient 5.7.0.1, the version pinned in ``pyproject.toml``.
"""

import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from dxlclient.client import DxlClient
from dxlclient.message import Message
from pahoproxy.client import MQTT_ERR_NO_CONN, MQTT_ERR_SUCCESS, Client

if TYPE_CHECKING:
    from dxlthreateventclient._feed.subscriptions import Feed

# The private names used in this module, with the purpose of each.
_PARTS = {
    "_client": "sees connections, acknowledgements and messages",
    "_thread_pool": "delivers the events",
    "_thread_pool._threads": "shows whether anything can be delivered at all",
    "_subscriptions": "holds the topics that dxlclient itself needs: they are not unsubscribed",
    "_connected": "shows whether dxlclient believes in a connection",
    "_on_packet_ack": "ends a wait of up to two minutes for an answer that cannot come any more",
    "_client._in_packet": "shows whether half a packet was read",
    "_client._ping_t": "is reset by messages: else a slow consumer loses its connection",
}

# The second byte of a serialized DXL message indicates the message type.
_EVENT = bytes([Message.MESSAGE_TYPE_EVENT])
# The broker's return code for a refused subscription.
_REFUSED = 128
# The maximum time between iterations of the MQTT client's loop, in seconds.
_LOOP_SECONDS = 1.0
# The interval, in seconds, between checks for unread data. If no packet arrives for more than _PAUSE
# seconds, check for unread data after each packet during the next interval.
_LOOK_EVERY = 0.1
_PAUSE = 0.01
# After a silence of more than _SILENCE seconds, the broker may send a backlog in several parts. An empty
# socket does not prove that the whole backlog has been read, so wait _BACKLOG seconds before checking for
# unread data.
_SILENCE = 1.0
_BACKLOG = 0.5


_Hook: TypeAlias = Callable[..., object]
# The MQTT client's return code and the request's packet ID.
_Sent: TypeAlias = tuple[int, int | None]


class _Request(NamedTuple):
    """A SUBSCRIBE or UNSUBSCRIBE request that the broker has not yet acknowledged."""

    topic: str
    is_subscribe: bool
    is_ours: bool
    connection: int
    sent_at: float


def mqtt_client_of(dxl_client: Any) -> Client | None:
    """Return the MQTT client of a ``DxlClient``, or ``None`` for a test double without one.

    :raise RuntimeError: if the ``DxlClient`` was destroyed, or a private attribute is missing
    """
    mqtt = getattr(dxl_client, "_client", ...)
    # A MagicMock(spec=DxlClient) passes isinstance().
    if not isinstance(mqtt, Client) and not issubclass(type(dxl_client), DxlClient):
        return None
    if mqtt is None:
        raise RuntimeError("nothing can be received: the DxlClient was destroyed")
    for name, purpose in _PARTS.items():
        part = dxl_client
        for attribute in name.split("."):
            part = getattr(part, attribute, ...)
        if part is ...:
            from importlib import metadata  # noqa: PLC0415 - it would take a third of the time of our import

            raise RuntimeError(
                f"DxlClient.{name}, which {purpose}, is missing in dxlclient {metadata.version('dxlclient')}:"
                " install dxlclient 5.7.0.1"
            )
    return mqtt


def why_dead(dxl_client: Any) -> str | None:
    """Return the reason why a ``DxlClient`` cannot deliver events, or ``None`` if it can."""
    # Do not use Thread.is_alive(). In Python 3.12 and earlier, an exception in a signal handler can make
    # is_alive() return False for a running thread.
    if not set(dxl_client._thread_pool._threads).isdisjoint(threading.enumerate()):
        return None
    if dxl_client._client is None:
        return "the DxlClient was destroyed"
    return "the threads of the DxlClient have ended: was it destroyed, or did one of its own callbacks exit?"


class Hooks:
    """Observes the MQTT client of a ``DxlClient`` and uses it to send requests.

    :param dxl_client: the DxlClient
    :param mqtt: the MQTT client of the DxlClient
    :param feed: notified of each change by the network thread, which the feed must not block
    """

    def __init__(self, dxl_client: Any, mqtt: Client, feed: "Feed") -> None:
        self.is_connected = False
        # True while the network thread waits for room in dxlclient's queue, so it cannot read responses.
        self.is_blocked = False
        # The topics from which dxlclient must not unsubscribe.
        self.needed: frozenset[str] = frozenset()
        self._dxl_client: Any = dxl_client
        self._mqtt: Any = mqtt
        self._feed = feed
        self._pool = dxl_client._thread_pool
        self._pid = os.getpid()
        # dxlclient's own handlers expect the DxlClient itself, not a wrapper around it.
        self._user_data = dxl_client
        # Guards the requests. Hold _sending while sending a request, so that the request is stored before
        # its response is processed. The MQTT client acquires its own lock to send a request. To avoid a
        # deadlock, never acquire _sending while holding the MQTT client's lock.
        self._sending = threading.RLock()
        self._requests: dict[int, _Request] = {}
        self._connection = 0
        # The number of dxlclient threads that have yet to call disconnect() after a connection loss.
        self._teardowns = 0
        # True if the user made the most recent call to disconnect().
        self._is_end_wanted = True
        self._stashed: list[Callable[[], None]] = []
        # Use time.time(), because time.monotonic() may stop while the machine sleeps.
        self._alive = self._heard_until = time.time()
        self._first: float | None = None
        self._looked = self._look_until = self._look_from = self._read_at = 0.0
        self._meeting = threading.Lock()

    def install(self) -> None:
        """Install the hooks.

        ``install()`` acquires a lock that the network thread may hold while waiting for room in dxlclient's
        queue.
        """
        mqtt = self._mqtt
        mqtt.on_connect = partial(self._on_connect, mqtt.on_connect)
        mqtt.on_disconnect = partial(self._on_disconnect, mqtt.on_disconnect)
        mqtt.on_message = partial(self._stash, partial(self._on_message, mqtt.on_message))
        mqtt.on_subscribe = partial(self._stash, partial(self._on_answer, mqtt.on_subscribe))
        mqtt.on_unsubscribe = partial(self._stash, partial(self._on_answer, mqtt.on_unsubscribe))
        self._subscribe, self._unsubscribe = mqtt.subscribe, mqtt.unsubscribe
        mqtt.subscribe = self._subscribe_for_dxlclient
        mqtt.unsubscribe = self._unsubscribe_for_dxlclient
        mqtt.disconnect = partial(self._disconnect, mqtt.disconnect)
        mqtt.loop_read = partial(self._read, mqtt.loop_read)
        mqtt.loop_misc = partial(self._look, mqtt.loop_misc)
        # An MQTT client can send packets before the broker answers CONNECT.
        self.is_connected = mqtt.socket() is not None

    def heard_until(self) -> float:
        """Return the time, in seconds since the epoch, up to which all events are known to have arrived."""
        return min(self._heard_until, time.time())

    def why_dead(self) -> str | None:
        """Return the reason why events can no longer be delivered, or ``None`` if they still can."""
        reason = why_dead(self._dxl_client)
        if reason and os.getpid() != self._pid:
            return "this process was forked: make and connect the DxlClient in the process that uses it"
        return reason

    def is_worker(self) -> bool:
        """Return True if the current thread delivers events and therefore must not wait for the broker.

        The network thread, which reads the broker's response, may be waiting for a worker thread to make room
        in dxlclient's queue.
        """
        return threading.current_thread() in self._pool._threads

    # Requests

    def subscribe(self, topic: str) -> None:
        """Send a SUBSCRIBE request."""
        self._send(partial(self._subscribe, topic), topic, is_ours=True)

    def unsubscribe(self, topic: str) -> bool:
        """Send UNSUBSCRIBE unless dxlclient needs the topic. Return True if the request was sent."""
        with self._sending:
            if topic in self._dxl_client._subscriptions:
                return False
            self._send(partial(self._unsubscribe, topic), topic, is_subscribe=False, is_ours=True)
            return True

    def unanswered(self) -> dict[str, float]:
        """Return the topics to which dxlclient is subscribing, with the time of each topic's last request."""
        with self._sending:
            subscribing = [request for request in self._requests.values() if request.is_subscribe]
        topics = {request.topic for request in subscribing if not request.is_ours}
        # For each topic, the last request overwrites any earlier ones.
        return {request.topic: request.sent_at for request in subscribing if request.topic in topics}

    def _subscribe_for_dxlclient(self, topic: Any, qos: int = 0) -> _Sent:
        return self._send(partial(self._subscribe, topic, qos), topic)

    def _unsubscribe_for_dxlclient(self, topic: Any) -> _Sent:
        with self._sending:
            if isinstance(topic, str) and topic in self.needed:
                # Send SUBSCRIBE instead of UNSUBSCRIBE, so that dxlclient receives a response and no event is
                # missed.
                return self._send(partial(self._subscribe, topic), topic)
            return self._send(partial(self._unsubscribe, topic), topic, is_subscribe=False)

    def _send(
        self, send: Callable[[], _Sent], topic: str, *, is_subscribe: bool = True, is_ours: bool = False
    ) -> _Sent:
        with self._sending:
            connection = self._connection
            result, number = send()
            is_lost = connection != self._connection
            if number is not None and result == MQTT_ERR_SUCCESS and not is_lost:
                self._requests[number] = _Request(topic, is_subscribe, is_ours, connection, time.monotonic())
        if not is_ours:
            if is_lost and number is not None:
                self._dxl_client._on_packet_ack(number)
            self._feed.settle()
        return result, number

    def _on_answer(
        self, dxlclients: _Hook, mqtt: Any, user_data: Any, number: int, *granted: tuple[int, ...]
    ) -> None:
        with self._sending:
            request = self._requests.pop(number, None)
        if request is None or not request.is_ours:
            # dxlclient must not see the responses to the feed's requests, because it might mistake them for
            # responses to its own.
            dxlclients(mqtt, user_data, number, *granted)
            return
        self._feed.on_answer(request.topic, request.is_subscribe, _REFUSED in sum(granted, ()))
        if request.is_subscribe:
            self._end_waits(lambda other: other.is_subscribe and other.topic == request.topic)

    def _end_waits(self, is_over: Callable[[_Request], bool]) -> None:
        """Discard the selected requests, and stop dxlclient from waiting for their responses.

        dxlclient may wait up to two minutes for a response while holding locks that ``destroy()`` needs.
        """
        with self._sending:
            over = {number: request for number, request in self._requests.items() if is_over(request)}
            for number in over:
                del self._requests[number]
        for number, request in over.items():
            if not request.is_ours:
                self._dxl_client._on_packet_ack(number)

    def forget_lost_requests(self) -> None:
        """Discard the records of all requests sent on earlier connections."""
        self._end_waits(lambda request: request.connection != self._connection)

    # The connection

    def _on_connect(self, dxlclients: _Hook, mqtt: Any, user_data: Any, flags: Any, code: int) -> None:
        self._user_data = user_data
        tell_dxlclient = partial(dxlclients, mqtt, user_data, flags, code)
        # dxlclient mistakes a refusal by the broker for a successful connection. Pass the refusal on
        # unchanged.
        if code != 0:
            tell_dxlclient()
            return
        self.is_connected = True
        self._connection += 1
        # Subscribe before dxlclient does, so that the broker acknowledges the feed's subscriptions before
        # DxlClient.connect() returns.
        self._feed.on_connect(tell_dxlclient)

    def _on_disconnect(self, dxlclients: _Hook, mqtt: Any, user_data: Any, code: int) -> None:
        try:
            # Unless _ping_t is reset, the MQTT client reports a silent broker twice, and dxlclient connects
            # twice.
            mqtt._ping_t = 0
            self.is_connected = False
            if code != 0:
                self._teardowns += 1
            self._connection += 1
            self._feed.on_disconnect(code == 0 and self._is_end_wanted, self.heard_until())
        finally:
            dxlclients(mqtt, user_data, code)

    def _disconnect(self, disconnect: Callable[[], int]) -> int:
        # After a connection loss, a dxlclient thread calls disconnect(), even if the MQTT client has already
        # reconnected.
        self._is_end_wanted = self._teardowns == 0
        self._teardowns = max(0, self._teardowns - 1)
        result = disconnect()
        if result == MQTT_ERR_NO_CONN and self._user_data._connected:
            # Without this call, dxlclient waits ten seconds for on_disconnect() and then does not reconnect.
            self._mqtt.on_disconnect(self._mqtt, self._user_data, 0)
        return result

    # Messages

    def _read(self, loop_read: Callable[..., int], *arguments: int) -> int:
        now = time.time()
        if self._first is None:
            # The packet may have arrived while the network thread was suspended or waiting for room in
            # dxlclient's queue.
            self._first = min(now, self._alive + _LOOP_SECONDS)
        if now - self._alive > _PAUSE:
            self._look_until = now + _LOOK_EVERY
        if now - self._read_at > _SILENCE:
            self._look_from = now + _BACKLOG
        self._read_at = now
        try:
            result = loop_read(*arguments)
        except Exception as error:  # noqa: BLE001 - it would end the network thread
            self._feed.report("The broker sent a malformed packet. Reconnecting.", error)
            self._mqtt.on_disconnect(self._mqtt, self._user_data, 1)
            result = 1
        if self._stashed:
            self._hand_over_stashed()
        return result

    def _stash(self, call: Callable[..., None], *arguments: Any) -> None:
        # The MQTT client holds a lock while calling hooks, and callbacks need that lock to send messages. To
        # avoid a deadlock, the network thread must not hold the MQTT client's lock while waiting for room in
        # dxlclient's queue.
        self._stashed.append(partial(call, *arguments))

    def _hand_over_stashed(self) -> None:
        stashed, self._stashed = self._stashed, []
        for call in stashed:
            try:
                call()
            except Exception as error:  # noqa: BLE001 - it would end the network thread
                self._feed.report("dxlclient cannot take what the broker sent", error)

    def _on_message(self, dxlclients: _Hook, mqtt: Any, user_data: Any, message: Any) -> None:
        if user_data is None:  # the DxlClient was destroyed
            return
        if message.payload[1:2] == _EVENT:
            with suppress(UnicodeDecodeError):
                self._feed.on_event(message.topic)
        self.is_blocked = True
        try:
            dxlclients(mqtt, user_data, message)
        finally:
            self.is_blocked = False
        # Any message proves that the broker is alive. The broker's ping response may be queued behind
        # thousands of messages.
        mqtt._ping_t = 0

    def _look(self, loop_misc: Callable[[], int]) -> int:
        # The MQTT client calls loop_misc() after each packet and once per second.
        now = time.time()
        is_due = now < self._look_until or not 0 <= now - self._looked < _LOOK_EVERY
        if self._first is not None and is_due and not now < self._look_from <= now + _BACKLOG:
            self._looked = now
            with suppress(Exception):  # the socket may already be closed
                if self._is_all_read():
                    # Use the time of the first packet, because later packets may have been read long after
                    # they arrived.
                    self._heard_until, self._first = self._first, None
        self._alive = now
        return loop_misc()

    def _is_all_read(self) -> bool:
        connection = self._mqtt.socket()
        is_empty = not connection.pending() and not select.select([connection], [], [], 0)[0]
        return is_empty and not self._mqtt._in_packet["command"]

    # dxlclient's queue

    def call_behind_queue(self, call: Callable[[], None]) -> None:
        """Call a function after all events in dxlclient's queue have been delivered."""
        workers = [thread for thread in self._pool._threads if thread.is_alive()]
        # Make all workers meet at a barrier, because any of them may still be handling an earlier event.
        met = threading.Event()
        meeting = threading.Barrier(max(1, len(workers)), action=met.set)
        with self._meeting:  # interleaving the tasks of two barriers would deadlock the workers
            for _ in workers:
                self._pool.add_task(meeting.wait)
        # destroy() may stop the workers before they reach the barrier.
        while not met.wait(_LOOK_EVERY) and any(thread.is_alive() for thread in workers):
            pass
        call()
