"""Numbered threat events: who publishes them, and what shows which of them arrived."""

import json
import threading
from contextlib import suppress
from typing import Any

from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.exceptions import DxlException
from dxlclient.message import Event
from helpers.waiting import until

from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.testing import publish_threat_event


def number_of(threat_event: dict[str, Any]) -> int:
    number: int = threat_event["event"]["id"]
    return number


class Publisher:
    """Publishes events numbered 1, 2, 3, ... on a thread of its own, whenever its client is connected.

    :param interval: seconds between two events; may be changed at any time
    """

    def __init__(self, dxl_client: DxlClient, interval: float) -> None:
        self.interval = interval
        self.count = 0
        self._dxl_client = dxl_client
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._publish, name="publisher")

    def _publish(self) -> None:
        while not self._stopped.wait(self.interval):
            if self._dxl_client.connected:
                # Counted first: no event that is on its way has a number above the count.
                self.count += 1
                with suppress(DxlException):  # the connection was lost this very moment
                    publish_threat_event(self._dxl_client, {"event": {"id": self.count}})

    def stop(self) -> None:
        """Publish no more. The last event has the number ``count``."""
        self._stopped.set()
        self._thread.join()

    def __enter__(self) -> "Publisher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Tap(EventCallback):
    """Notes, on dxlclient's worker and at once, which events reached a DxlClient."""

    def __init__(self, dxl_client: DxlClient) -> None:
        super().__init__()
        self.numbers: list[int] = []
        dxl_client.add_event_callback(EPO_THREAT_EVENT_RESPONSE_TOPIC, self)

    def on_event(self, event: Event) -> None:
        self.numbers.append(number_of(json.loads(event.payload)))

    @property
    def last(self) -> int:
        return self.numbers[-1] if self.numbers else 0


def until_settled(publisher: Publisher, taps: list[Tap], timeout: float = 30.0) -> None:
    """Return when no client is reconnecting any more and events reach each tap."""
    settled = False
    while not settled:
        until(lambda: not _reconnecting(), "all clients are connected", timeout)
        _until_arrival(publisher, taps, timeout)
        # A client that tore down its connection meanwhile has to be waited for again.
        settled = not _reconnecting()


def _until_arrival(publisher: Publisher, taps: list[Tap], timeout: float) -> None:
    number = publisher.count + 1
    until(lambda: all(tap.last >= number for tap in taps), f"event {number} or later has arrived", timeout)


def _reconnecting() -> bool:
    """Return whether a thread of dxlclient is at work on a connection: Python names each by its function."""
    functions = ("(_on_disconnect_run)", "(_connect_thread_main)", "(_on_connect_run)")
    return any(thread.name.endswith(functions) for thread in threading.enumerate())
