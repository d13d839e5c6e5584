"""A burst that is far larger than what a stream may buffer, and a loop that starts late."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dxlclient.client import DxlClient
from helpers.mosquitto import Mosquitto
from helpers.numbered import Tap
from helpers.waiting import until

from dxlthreateventclient.testing import publish_threat_event, sample_threat_event

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

EVENTS = 20_000
EVENT_SIZE = 5_000  # bytes, at least
MAX_BUFFERED = 1_000
# dxlclient queues 1,000 messages before the stream, and Python's objects may double what the payloads take.
MEMORY_BOUND = 2 * (MAX_BUFFERED + 1_000) * EVENT_SIZE


@pytest.fixture
def mosquitto() -> Iterator[Mosquitto]:
    with Mosquitto() as broker:
        yield broker


def test_a_burst_arrives_complete_and_in_order_in_bounded_memory(
    mosquitto: Mosquitto, capsys: pytest.CaptureFixture[str]
) -> None:
    other_data = {f"sc_evtField{number}": f"{{sc_evtField{number}}}" for number in range(100)}
    receiver = subprocess.Popen(
        [
            sys.executable,
            Path(__file__).parents[1] / "helpers" / "late_receiver.py",
            mosquitto.config_file,
            str(MAX_BUFFERED),
            str(EVENTS),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with receiver, DxlClient(mosquitto.client_config()) as epo:
        assert receiver.stdin
        assert receiver.stdout
        epo.connect()
        witness = Tap(epo)
        assert receiver.stdout.readline() == "listening\n"
        for number in range(EVENTS):
            sent = publish_threat_event(epo, sample_threat_event(id=number, otherData=other_data))
            assert len(sent.payload) >= EVENT_SIZE
        assert receiver.stdout.readline().startswith(f"The stream's buffer is full: {MAX_BUFFERED} events")
        until(lambda: len(witness.numbers) == EVENTS, "the broker has all events", timeout=60)
        receiver.stdin.write("start the loop\n")
        receiver.stdin.flush()
        result = json.loads(receiver.stdout.readline())
    with capsys.disabled():
        print(f"\n{EVENTS} events of {len(sent.payload) / 1e3:.1f} KB through a stream that buffers", end=" ")
        print(f"{MAX_BUFFERED}: {result['memory'] / 1e6:.1f} MB of memory at the most")
    assert result["numbers"] == list(range(EVENTS))
    assert result["memory"] < MEMORY_BOUND
