"""Code in which type checkers reject exactly the lines that end in ``# wrong``."""

from typing import Any, cast

from dxlclient.client import DxlClient
from dxlclient.message import Event

from dxlthreateventclient import CommonThreatEventCallback, CommonThreatEventClient
from dxlthreateventclient.threat_event import ThreatEvent


class WrongSignature(CommonThreatEventCallback):
    def on_threat_event(self, threat_event_dict: dict[str, Any]) -> None:  # wrong
        print(threat_event_dict)


class Misspelt(CommonThreatEventCallback):
    def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        print(cast(ThreatEvent, threat_event_dict)["event"]["threatname"])  # wrong


class Asynchronous(CommonThreatEventCallback):
    async def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> int:  # wrong
        return 1


def one_argument(threat_event_dict: dict[str, Any]) -> None:
    print(threat_event_dict)


def add(dxl_client: DxlClient) -> None:
    client = CommonThreatEventClient(dxl_client)
    client.add_threat_event_callback(one_argument)  # wrong
    client.add_threat_event_callback("callback")  # wrong
    client.threat_events(max_buffered="10")  # wrong
