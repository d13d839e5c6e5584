"""User code accepted by pyright and by mypy in strict mode."""

from typing import Any, cast

from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig
from dxlclient.message import Event

from dxlthreateventclient import CommonThreatEventCallback, CommonThreatEventClient, get_version
from dxlthreateventclient.constants import EventProps, ThreatEventProps
from dxlthreateventclient.formats import to_cef, to_ecs
from dxlthreateventclient.other_data import resolved_fields
from dxlthreateventclient.payload import ThreatEventDecodeError
from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event
from dxlthreateventclient.threat_event import ThreatEvent


class Plain(CommonThreatEventCallback):
    def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        print(threat_event_dict[ThreatEventProps.EVENT][EventProps.THREAT_NAME], original_event.message_id)

    def on_threat_event_error(self, error: BaseException, original_event: Event) -> None:
        if isinstance(error, ThreatEventDecodeError):
            print(error.reason, original_event.payload)


class Shaped(CommonThreatEventCallback):
    def on_threat_event(self, threat_event_dict: ThreatEvent, original_event: Event) -> None:
        host: str | None = threat_event_dict["event"]["target"]["hostName"]
        print(host, threat_event_dict["event"].get("_receivedUTC"))


def handle(threat_event_dict: dict[str, Any], original_event: Event) -> None:
    print(to_cef(threat_event_dict), to_ecs(threat_event_dict))


def handle_shaped(threat_event_dict: ThreatEvent, original_event: Event) -> None:
    print(threat_event_dict["event"]["threatName"], resolved_fields(threat_event_dict["event"]["otherData"]))


def main() -> str:
    with LocalFabric() as fabric:
        config: DxlClientConfig = fabric.client_config()
        with DxlClient(config) as dxl_client, CommonThreatEventClient(dxl_client) as client:
            dxl_client.connect()
            client.add_epo_threat_event_response_callback(Plain())
            client.add_threat_event_callback(Shaped, topic="/other")
            client.add_threat_event_callback(
                handle, on_error=lambda error, event: print(error, event.payload)
            )
            client.add_threat_event_callback(handle_shaped)
            publish_threat_event(dxl_client, sample_threat_event())
            with client.threat_events(max_buffered=10) as events:
                threat_event, original_event = events.get(timeout=1.0)
                print(threat_event["event"], original_event.destination_topic)
                for threat_event, _ in events:
                    typed = cast(ThreatEvent, threat_event)
                    print(typed["event"]["target"]["hostName"])
    return get_version()
