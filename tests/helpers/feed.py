"""A client for tests that publish and receive events on a topic."""

from collections.abc import Iterable
from typing import Any

from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.receiving import publish_numbers

from dxlthreateventclient import CommonThreatEventClient


class Feed:
    """A client and a DxlClient that publishes events to it.

    :param topic: the topic on which the methods add, remove and publish. Their ``below`` continues the topic.
    """

    def __init__(self, client: CommonThreatEventClient, dxl_client: DxlClient, topic: str) -> None:
        self.client, self.dxl_client, self.topic = client, dxl_client, topic

    def add(self, callback: Any, below: str = "", **options: Any) -> None:
        self.client.add_threat_event_callback(callback, self.topic + below, **options)

    def remove(self, callback: Any, below: str = "") -> None:
        self.client.remove_threat_event_callback(callback, self.topic + below)

    def publish(self, numbers: Iterable[int], below: str = "") -> list[Event]:
        return publish_numbers(self.dxl_client, numbers, self.topic + below)
