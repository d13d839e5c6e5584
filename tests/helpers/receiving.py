"""What tests receive events with, and how they publish them."""

import json
import threading
from collections.abc import Iterable
from typing import Any

from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventCallback
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC

OTHER_TOPIC = "/mcafee/event/other"


class Receiver(CommonThreatEventCallback):
    """Notes what it is handed, and can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.handled: list[tuple[dict[str, Any], Event]] = []
        self.errors: list[tuple[BaseException, Event]] = []
        self.threads: set[threading.Thread] = set()

    def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        self.threads.add(threading.current_thread())
        self.handled.append((threat_event_dict, original_event))

    def on_threat_event_error(self, error: BaseException, original_event: Event) -> None:
        self.errors.append((error, original_event))

    @property
    def numbers(self) -> list[int]:
        return [threat_event["event"]["id"] for threat_event, _ in self.handled]

    def until_received(self, number: int) -> None:
        """Return when the event with this number has arrived, and so all that were published before it."""
        expected = [numbered(number)]
        until(lambda: [handled[0] for handled in self.handled[-1:]] == expected, f"event {number} arrives")


class Raiser(Receiver):
    """Raises the given error for each event."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        raise self._error


def subscribed(dxl_client: DxlClient, topic: str = EPO_THREAT_EVENT_RESPONSE_TOPIC) -> bool:
    return topic in dxl_client.subscriptions


def numbered(number: int) -> dict[str, Any]:
    return {"event": {"id": number}}


def publish_payload(
    dxl_client: DxlClient, payload: Any, topic: str = EPO_THREAT_EVENT_RESPONSE_TOPIC
) -> Event:
    """Publish a DXL event with any payload, and return it."""
    event = Event(topic)
    event.payload = payload
    dxl_client.send_event(event)
    return event


def publish_numbers(
    dxl_client: DxlClient, numbers: Iterable[int], topic: str = EPO_THREAT_EVENT_RESPONSE_TOPIC
) -> list[Event]:
    """Publish an event for each number, and return them."""
    return [publish_payload(dxl_client, json.dumps(numbered(number)).encode(), topic) for number in numbers]
