"""Runs tests with mosquitto instead of LocalFabric, because the OpenDXL broker is based on mosquitto."""

import pytest
from dxlclient.client import DxlClient
from helpers.mosquitto import Mosquitto
from helpers.receiving import Receiver, numbered, publish_numbers

from dxlthreateventclient import CommonThreatEventClient


@pytest.mark.servers
def test_a_callback_and_a_stream_receive_all_in_order(topic: str) -> None:
    with Mosquitto() as mosquitto, DxlClient(mosquitto.client_config()) as dxl_client:
        dxl_client.connect()
        with CommonThreatEventClient(dxl_client) as client, client.threat_events(topic) as events:
            client.add_threat_event_callback(receiver := Receiver(), topic)
            publish_numbers(dxl_client, range(100), topic)
            assert [events.get(timeout=30)[0] for _ in range(100)] == [numbered(one) for one in range(100)]
            receiver.until_received(99)
    assert receiver.numbers == list(range(100))
