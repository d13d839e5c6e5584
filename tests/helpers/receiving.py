"""Helpers that publish and receive numbered events in tests."""

import json
import threading
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from dxlclient.client import DxlClient
from dxlclient.exceptions import DxlException
from dxlclient.message import Event
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventCallback, CommonThreatEventClient
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.testing import publish_threat_event, sample_threat_event


class Receiver(CommonThreatEventCallback):
    """Records the events that it receives and lets tests wait for them.

    :param to_raise: an exception to raise for each event
    """

    def __init__(self, to_raise: BaseException | None = None) -> None:
        # Like many users' subclasses, this class does not call super().__init__().
        self.handled: list[tuple[dict[str, Any], Event]] = []
        self.errors: list[tuple[BaseException, Event]] = []
        self.threads: set[threading.Thread] = set()
        self._to_raise = to_raise

    def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        self.threads.add(threading.current_thread())
        self.handled.append((threat_event_dict, original_event))
        if self._to_raise is not None:
            raise self._to_raise

    def on_threat_event_error(self, error: BaseException, original_event: Event) -> None:
        self.errors.append((error, original_event))

    @property
    def numbers(self) -> list[int]:
        return [number_of(threat_event) for threat_event, _ in self.handled]

    def until_received(self, number: int) -> None:
        """Wait until the event with this number, and thus every earlier event, has arrived.

        Fail only if no event arrives for 30 seconds, so that the test does not fail on a slow machine.
        """
        arrived: list[dict[str, Any]] = []
        count = 0
        while numbered(number) not in arrived:
            until(lambda: len(self.handled) > count, f"event {number} arrives")  # noqa: B023
            arrived = [threat_event for threat_event, _ in self.handled[count:]]
            count += len(arrived)


def numbered(number: int) -> dict[str, Any]:
    return {"event": {"id": number}}


def number_of(threat_event: dict[str, Any]) -> int:
    number: int = threat_event["event"]["id"]
    return number


def event(payload: Any, topic: str = EPO_THREAT_EVENT_RESPONSE_TOPIC) -> Event:
    """Return a DXL event with the given payload."""
    dxl_event = Event(topic)
    dxl_event.payload = payload
    return dxl_event


def publish_payload(
    dxl_client: DxlClient, payload: Any, topic: str = EPO_THREAT_EVENT_RESPONSE_TOPIC
) -> Event:
    """Publish a DXL event with the given payload, and return it."""
    published = event(payload, topic)
    dxl_client.send_event(published)
    return published


def publish_numbers(
    dxl_client: DxlClient, numbers: Iterable[int], topic: str = EPO_THREAT_EVENT_RESPONSE_TOPIC
) -> list[Event]:
    """Publish an event for each number and return the events."""
    return [publish_payload(dxl_client, json.dumps(numbered(number)).encode(), topic) for number in numbers]


def publish_until_all_have_them(dxl_client: DxlClient, topic: str, number: int) -> None:
    """Publish numbered events and wait until this client and, most likely, all others have received them."""
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(receiver := Receiver(), topic)
        for count in range(number):
            publish_threat_event(dxl_client, sample_threat_event(id=count), topic)
        until(lambda: len(receiver.handled) == number, "all are back")


class Epo:
    """Publishes events on a topic, as ePO does."""

    def __init__(self, dxl_client: DxlClient, topic: str) -> None:
        self.dxl_client, self.topic = dxl_client, topic

    def send(self, **changes: Any) -> Event:
        """Publish a sample event with some values changed."""
        return publish_threat_event(self.dxl_client, sample_threat_event(**changes), self.topic)

    def send_payload(self, payload: Any) -> Event:
        return publish_payload(self.dxl_client, payload, self.topic)

    def send_many(self, number: int) -> None:
        publish_until_all_have_them(self.dxl_client, self.topic, number)


class Publisher:
    """Publishes events numbered 1, 2, 3, ... on a separate thread while its client is connected.

    :param interval: the seconds between two events; can be changed at any time
    """

    def __init__(self, dxl_client: DxlClient, topic: str, interval: float = 0.001) -> None:
        self.interval = interval
        self.sent: list[datetime] = []
        """The time when each event was sent."""
        self._dxl_client = dxl_client
        self._topic = topic
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._publish)

    @property
    def count(self) -> int:
        return len(self.sent)

    def _publish(self) -> None:
        while not self._stopped.wait(self.interval):
            if self._dxl_client.connected:
                # Increase the count before sending, so that no event in transit has a higher number.
                self.sent.append(datetime.now(timezone.utc))
                with suppress(DxlException):  # the connection was just lost
                    publish_numbers(self._dxl_client, [self.count], self._topic)

    def stop(self) -> None:
        """Stop publishing. ``count`` still holds the last event's number."""
        self._stopped.set()
        self._thread.join()

    def __enter__(self) -> "Publisher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
