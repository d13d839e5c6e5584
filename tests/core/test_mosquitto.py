"""Debian's mosquitto, on which the OpenDXL broker is based, instead of LocalFabric."""

import signal
from collections.abc import Iterator

import pytest
from dxlclient.client import DxlClient
from helpers.mosquitto import Mosquitto
from helpers.receiving import Receiver, numbered, publish_numbers
from helpers.samples import printed_threat_event, running_sample

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.testing import publish_threat_event, sample_threat_event

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def mosquitto() -> Iterator[Mosquitto]:
    with Mosquitto() as broker:
        yield broker


@pytest.fixture
def epo(mosquitto: Mosquitto) -> Iterator[DxlClient]:
    with DxlClient(mosquitto.client_config()) as dxl_client:
        dxl_client.connect()
        yield dxl_client


def test_the_basic_sample_prints_what_arrives(mosquitto: Mosquitto, epo: DxlClient) -> None:
    with running_sample(mosquitto.config_file) as process:
        assert process.stdout
        assert process.stdout.readline() == "Waiting for threat events...\n"
        for threat_name in ("ExP:Heap", "Ünïcode"):
            threat_event = sample_threat_event(threatName=threat_name)
            publish_threat_event(epo, threat_event)
            assert printed_threat_event(process) == threat_event
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_a_callback_and_a_stream_receive_all_in_order(
    mosquitto: Mosquitto, epo: DxlClient, topic: str
) -> None:
    receiver = Receiver()
    with CommonThreatEventClient(epo) as client, client.threat_events(topic) as events:
        client.add_threat_event_callback(receiver, topic)
        publish_numbers(epo, range(100), topic)
        assert [events.get(timeout=30)[0] for _ in range(100)] == [numbered(number) for number in range(100)]
        receiver.until_received(99)
    assert receiver.numbers == list(range(100))
