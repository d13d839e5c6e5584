"""What the MQTT client in a ``DxlClient`` sees: connections, acknowledgements, messages.

The hooks use its private parts, which ``_dxlclient.py`` checks. Each of them says why it is needed.
"""

import logging
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

from dxlthreateventclient._dxlclient import Parts
from dxlthreateventclient._reconnecting import Reconnecting

logger = logging.getLogger(__name__)

# How often it is looked whether the network thread has read all that has arrived, in seconds.
_LOOK_EVERY = 0.1
# The code with which a broker refuses a subscription.
_REFUSED = 128


class _Request(NamedTuple):
    """A SUBSCRIBE or UNSUBSCRIBE that the broker has not acknowledged yet."""

    topic: str | None
    """The topic of a SUBSCRIBE that no UNSUBSCRIBE has followed."""

    is_ours: bool
    sent_at: float


class Hooks:
    """Sees what the MQTT client in a ``DxlClient`` sees: connections, acknowledgements and messages.

    The first three functions are called on the network thread, which must not wait.

    :param parts: the parts of the DxlClient
    :param on_connect: called when a broker has accepted a connection
    :param on_disconnect: called when a connection has ended, with whether the user wanted that
    :param on_acknowledgement: called with a topic, and with whether the broker refused the subscription
    :param on_unsubscribe: called with a topic before somebody unsubscribes from it, on any thread
    """

    def __init__(
        self,
        parts: Parts,
        on_connect: Callable[[], object],
        on_disconnect: Callable[[bool], object],
        on_acknowledgement: Callable[[str, bool], object],
        on_unsubscribe: Callable[[str], object],
    ) -> None:
        self._parts = parts
        self._tell_connected = on_connect
        self._tell_disconnected = on_disconnect
        self._tell_acknowledged = on_acknowledgement
        self._tell_unsubscribing = on_unsubscribe
        self._lock = threading.Lock()
        # What was sent last has to be noted last.
        self._sending_lock = threading.RLock()
        self._requests: dict[int, _Request] = {}
        # Acknowledgements that came before the numbers of their requests were known here, whether one is
        # being sent, and how many connections have ended; and requests of dxlclient's for which it does not
        # wait any more.
        self._early: dict[int, Callable[[], object]] = {}
        self._sending = False
        self._losses = 0
        self._released: set[int] = set()
        # Topics that are being unsubscribed from.
        self._unwanted: set[str] = set()
        # How many messages arrived, for each topic and filter that is watched.
        self._arrived: dict[str, int] = {}
        self._filters: tuple[str, ...] = ()
        # When the first packet was read since nothing was left to read, and the same for the last time at
        # which nothing was left. Each as time.monotonic() and time.time(): the former stands still while the
        # machine sleeps.
        self._connection: Any = None
        self._empty_at = 0.0
        self._first: tuple[float, float] | None = None
        self._caught_up = (time.monotonic(), time.time())
        self._looked = 0.0
        if parts.mqtt is not None:
            self._set(parts.mqtt)

    def _set(self, mqtt: Any) -> None:
        # Not through the setters, which wait while a callback of the MQTT client runs.
        mqtt._on_connect = partial(self._on_connect, mqtt._on_connect)
        mqtt._on_disconnect = partial(self._on_disconnect, mqtt._on_disconnect)
        mqtt._on_message = partial(self._on_message, mqtt._on_message)
        mqtt._on_subscribe = partial(self._on_acknowledgement, mqtt._on_subscribe)
        mqtt._on_unsubscribe = partial(self._on_acknowledgement, mqtt._on_unsubscribe)
        mqtt.loop_misc = partial(self._on_loop, mqtt.loop_misc)
        mqtt.loop_read = partial(self._on_read, mqtt.loop_read)
        self._mqtt_subscribe = mqtt.subscribe
        mqtt_unsubscribe = mqtt.unsubscribe
        mqtt.subscribe = lambda topic, qos=0: self._send(
            lambda: self._mqtt_subscribe(topic, qos), topic if isinstance(topic, str) else None
        )
        mqtt.unsubscribe = lambda topic: self._unsubscribe(lambda: mqtt_unsubscribe(topic), topic)
        # It would call a hook that dxlclient does not use, under a lock that the network thread holds while
        # it waits for room in dxlclient's queue: a callback that sends something then would hang for good.
        mqtt._call_socket_register_write = lambda: None
        self._reconnecting = Reconnecting(mqtt, self._lose, is_connected=self._parts.was_connected)

    def subscribe(self, topic: str) -> None:
        """Send a SUBSCRIBE of our own: dxlclient sends none for a topic that it knows."""
        if self._parts.mqtt is not None:
            self._send(lambda: self._mqtt_subscribe(topic), topic, is_ours=True)

    def last_sent(self, topic: str) -> float | None:
        """Return when the last SUBSCRIBE was sent, of those that wait for their acknowledgement."""
        with self._lock:
            return max(
                (sent.sent_at for sent in self._requests.values() if sent.topic == topic), default=None
            )

    def unanswered(self) -> set[str]:
        """Return the topics whose subscription waits for its acknowledgement, those of others included."""
        with self._lock:
            return {request.topic for request in self._requests.values() if request.topic is not None}

    def watch(self, topic: str) -> None:
        """Begin to count what arrives on a topic, or under a filter."""
        with self._lock:
            self._arrived.setdefault(topic, 0)
            self._filters = tuple(watched for watched in self._arrived if watched.endswith("#"))

    def forget(self, topic: str) -> None:
        """Count no more."""
        with self._lock:
            self._arrived.pop(topic, None)
            self._filters = tuple(watched for watched in self._arrived if watched.endswith("#"))

    def arrived(self, topic: str) -> int:
        """Return how many messages arrived on a topic, or under a filter, since it is watched."""
        return self._arrived.get(topic, 0)

    def last_heard(self) -> float:
        """Return the last moment up to which all is known to have arrived, as ``time.time()``."""
        monotonic, wall = self._caught_up
        return min(wall, time.time() - (time.monotonic() - monotonic))

    def _send(
        self, send: Callable[[], tuple[int, int | None]], topic: str | None, *, is_ours: bool = False
    ) -> tuple[int, int | None]:
        number: int | None = None
        is_unwanted = is_lost = False
        with self._sending_lock:
            with self._lock:
                self._sending = True
                losses = self._losses
            try:
                result, number = send()
            finally:
                with self._lock:
                    self._sending = False
                    is_lost = losses != self._losses
                    if number is not None and result == 0 and not is_lost:
                        self._requests[number] = _Request(topic, is_ours, time.monotonic())
                        is_unwanted = topic in self._unwanted and not is_ours
                    # Nobody else will ask for the others, which were sent before the hooks were set.
                    acknowledgements = list(self._early.values())
                    self._early.clear()
        for acknowledge in acknowledgements:
            acknowledge()
        if number is not None and result == 0 and is_lost and not is_ours:
            # The connection has ended before the number was known here, so no answer can come.
            self._parts.acknowledge(number)
        if is_unwanted and topic is not None:
            self._release(topic)
        return result, number

    def _unsubscribe(self, send: Callable[[], tuple[int, int | None]], topic: Any) -> tuple[int, int | None]:
        with self._sending_lock:
            if isinstance(topic, str):
                with self._lock:
                    # The acknowledgement of an earlier SUBSCRIBE shows nothing any more.
                    for number, request in self._requests.items():
                        if request.topic == topic:
                            self._requests[number] = request._replace(topic=None)
                self._tell_unsubscribing(topic)
            return self._send(send, None)

    def _on_connect(
        self, dxlclients: Callable[..., object], mqtt: Any, user_data: Any, flags: Any, code: int
    ) -> None:
        try:
            self._end_requests()
            # A broker that refuses answers, too, and dxlclient takes that for a connection.
            if code == 0:
                self._reconnecting.is_connected = True
                self._tell_connected()
        finally:
            dxlclients(mqtt, user_data, flags, code)

    def _on_disconnect(self, dxlclients: Callable[..., object], mqtt: Any, user_data: Any, code: int) -> None:
        # Else the MQTT client reports a broker that is silent twice, and dxlclient connects twice at once: a
        # broker that replaces the first connection may take its subscriptions for those of the second.
        mqtt._ping_t = 0
        try:
            self._lose(is_wanted=code == 0 and self._reconnecting.is_end_wanted)
        finally:
            dxlclients(mqtt, user_data, code)

    def _lose(self, *, is_wanted: bool) -> None:
        self._reconnecting.is_connected = False
        self._end_requests()
        self._tell_disconnected(is_wanted)

    def _end_requests(self) -> None:
        """Forget what was sent on a connection that has ended."""
        with self._lock:
            self._losses += 1
            unanswered = [number for number, request in self._requests.items() if not request.is_ours]
            self._requests.clear()
            self._early.clear()
            self._released.clear()
        # dxlclient would hold its lock of the subscriptions for two minutes, in which it subscribes to
        # nothing.
        for number in unanswered:
            self._parts.acknowledge(number)

    def _on_message(self, dxlclients: Callable[..., object], mqtt: Any, user_data: Any, message: Any) -> None:
        try:
            self._note_message(mqtt, message.topic)
        finally:
            dxlclients(mqtt, user_data, message)

    def _note_message(self, mqtt: Any, topic: str) -> None:
        arrived = self._arrived.get(topic)
        if arrived is not None:
            self._arrived[topic] = arrived + 1
        for watched in self._filters:
            if topic.startswith(watched[:-1]) or topic == watched[:-2]:
                with suppress(KeyError):
                    self._arrived[watched] += 1
        # A message shows as well as the answer to a ping that the broker is there, and that answer may be
        # behind thousands of messages: a slow consumer would lose its connection.
        mqtt._ping_t = 0

    def _on_read(self, loop_read: Callable[[int], int], max_packets: int = 1) -> int:
        try:
            return loop_read(max_packets)
        except Exception:
            # It would end the network thread, and nothing would read from the connection any more.
            with suppress(Exception):  # what a logging handler raises
                logger.exception("The broker sent a malformed packet. Connecting again.")
            lost: int = self._parts.mqtt._loop_rc_handle(1)
            return lost

    def _on_loop(self, loop_misc: Callable[[], int]) -> int:
        # Runs after each packet, and once a second.
        now = time.monotonic()
        if now - self._looked > _LOOK_EVERY:
            self._looked = now
            with suppress(Exception):  # the socket was closed meanwhile
                self._look(self._parts.mqtt, now)
        return loop_misc()

    def _look(self, mqtt: Any, now: float) -> None:
        connection, packet_at = mqtt.socket(), mqtt._last_msg_in
        if connection is not self._connection:
            self._connection, self._empty_at, self._first = connection, now, None
        # Sending a ping sets _last_msg_in, too.
        if self._first is None and mqtt._ping_t == 0 and packet_at > self._empty_at:
            self._first = packet_at, time.time() - (now - packet_at)
        if not connection.pending() and not select.select([connection], [], [], 0)[0]:
            # Of several packets the later ones may have come long before they were read: the network thread
            # is late if dxlclient's queue was full, or the process was stopped.
            self._caught_up = self._first or self._caught_up
            self._empty_at, self._first = now, None

    def _on_acknowledgement(
        self,
        dxlclients: Callable[..., object],
        mqtt: Any,
        user_data: Any,
        number: int,
        granted: tuple[int, ...] = (),
    ) -> None:
        arguments = (mqtt, user_data, number, granted) if granted else (mqtt, user_data, number)
        with self._lock:
            request = self._requests.pop(number, None)
            if request is None and self._sending:
                self._early[number] = partial(self._on_acknowledgement, dxlclients, *arguments)
                return
            if number in self._released:
                self._released.discard(number)
                return
        if request is not None and request.topic is not None:
            is_refused = _REFUSED in granted
            self._tell_acknowledged(request.topic, is_refused)
            if request.is_ours and not is_refused:
                self._release(request.topic)
        if request is None or not request.is_ours:
            # Ours never go to dxlclient: it would take the number for that of a later request of its own.
            dxlclients(*arguments)

    @contextmanager
    def unsubscribing(self, topic: str) -> Iterator[None]:
        """Let dxlclient not wait for acknowledgements of a topic: its lock is needed to unsubscribe."""
        with self._lock:
            self._unwanted.add(topic)
        self._release(topic)
        try:
            yield
        finally:
            with self._lock:
                self._unwanted.discard(topic)

    def release_unsubscribing(self) -> None:
        """End dxlclient's wait for the acknowledgement of an UNSUBSCRIBE."""
        self._release(None)

    def _release(self, topic: str | None) -> None:
        """End dxlclient's wait for the acknowledgement of a topic."""
        with self._lock:
            numbers = [number for number, request in self._requests.items() if request.topic == topic]
            for number in numbers:
                if not self._requests.pop(number).is_ours:
                    self._released.add(number)
            waited_for = [number for number in numbers if number in self._released]
        for number in waited_for:
            self._parts.acknowledge(number)
