"""A DxlClient without a broker, for tests that need only its worker thread."""

import json
import threading
from typing import Any
from unittest.mock import Mock

from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.receiving import event, numbered

from dxlthreateventclient import AsyncThreatEventStream, CommonThreatEventClient, ThreatEventStream


class Worker:
    """A mocked DxlClient whose worker thread hands events to the added callbacks."""

    def __init__(self) -> None:
        self.dxl_client = Mock(spec=DxlClient)
        self.client = CommonThreatEventClient(self.dxl_client)
        self.delivered: list[Event] = []

    def stream(self, **options: Any) -> ThreatEventStream:
        return self.client.threat_events("/topic", **options)

    def async_stream(self, **options: Any) -> AsyncThreatEventStream:
        return self.client.async_threat_events("/topic", **options)

    def deliver(self, *payloads: Any) -> list[Event]:
        """Deliver events and return them. Like dxlclient's worker, wait while the stream has no room."""
        for payload in payloads:
            [callback] = {call.args[1] for call in self.dxl_client.add_event_callback.call_args_list}
            callback.on_event(delivered := event(payload, "/topic"))
            self.delivered.append(delivered)
        return self.delivered[len(self.delivered) - len(payloads) :]

    def number(self, *numbers: int) -> list[Event]:
        return self.deliver(*(json.dumps(numbered(number)).encode() for number in numbers))

    def start(self, *numbers: int) -> threading.Thread:
        """Deliver events on another thread, which waits while the stream has no room."""
        thread = threading.Thread(target=self.number, args=numbers)
        thread.start()
        return thread
