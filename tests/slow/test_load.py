"""A stream receives every event in a burst far larger than its buffer."""

import json

import pytest
from dxlclient.client import DxlClient
from helpers.mosquitto import Mosquitto
from helpers.program import running, until_printed
from helpers.restarting import Tap
from helpers.waiting import until

from dxlthreateventclient.testing import publish_threat_event, sample_threat_event

pytestmark = pytest.mark.slow

TOPIC = "/test/load"
EVENTS = 20_000
EVENT_SIZE = 5_000  # minimum, in bytes
MAX_BUFFERED = 1_000
# A limit in bytes. dxlclient's queue holds 1,000 messages, and decoding may double a payload's size in
# memory.
MEMORY_BOUND = 2 * (MAX_BUFFERED + 1_000) * EVENT_SIZE

LATE_LOOP = """
import json, logging, re, sys
from pathlib import Path
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig
from dxlthreateventclient import CommonThreatEventClient

def memory(kind):
    [kilobytes] = re.findall(rf"{kind}:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) * 1024

config_file, topic, max_buffered, count = sys.argv[1:]
logging.basicConfig(stream=sys.stdout, format="%(message)s")
with DxlClient(DxlClientConfig.create_dxl_config_from_file(config_file)) as dxl_client:
    dxl_client.connect()
    client = CommonThreatEventClient(dxl_client)
    with client.threat_events(topic, max_buffered=int(max_buffered)) as events:
        before = memory("VmRSS")  # now
        print("listening", flush=True)
        sys.stdin.readline()
        numbers = [events.get(timeout=30)[0]["event"]["id"] for _ in range(int(count))]
        print(json.dumps({"numbers": numbers, "memory": memory("VmHWM") - before}))  # at the most
"""


def test_a_burst_arrives_in_order_in_bounded_memory(capsys: pytest.CaptureFixture[str]) -> None:
    other_data = {f"sc_evtField{number}": f"{{sc_evtField{number}}}" for number in range(100)}
    with (
        Mosquitto() as mosquitto,
        running(LATE_LOOP, mosquitto.config_file, TOPIC, MAX_BUFFERED, EVENTS) as receiver,
        DxlClient(mosquitto.client_config()) as epo,
    ):
        assert receiver.stdout
        epo.connect()
        witness = Tap(epo, TOPIC)
        until_printed(receiver, "listening")
        for number in range(EVENTS):
            sent = publish_threat_event(epo, sample_threat_event(id=number, otherData=other_data), TOPIC)
            assert len(sent.payload) >= EVENT_SIZE
        assert f"buffer is full: {MAX_BUFFERED} events" in receiver.stdout.readline()
        until(lambda: len(witness.numbers) == EVENTS, "the broker has all events", timeout=60)
        output, _ = receiver.communicate("start the loop\n", timeout=60)
        result = json.loads(output.splitlines()[-1])
    with capsys.disabled():
        print(f"\n{EVENTS} events of {len(sent.payload) / 1e3:.1f} KB through a stream that buffers", end=" ")
        print(f"{MAX_BUFFERED}: {result['memory'] / 1e6:.1f} MB of memory at the most")
    assert result["numbers"] == list(range(EVENTS))
    assert result["memory"] < MEMORY_BOUND
