"""No matter when a signal handler raises an exception, no call hangs and no callback stays registered."""

import json
import random
import signal
import time
from contextlib import ExitStack

import pytest
from dxlclient.client import DxlClient
from helpers.program import running, until_printed
from helpers.receiving import Publisher

from dxlthreateventclient.testing import LocalFabric

# A signal handler must not interrupt coverage.py with an exception.
pytestmark = pytest.mark.usefixtures("without_coverage")

PROGRAM = """
import faulthandler, json, random, signal, sys
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig
from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.testing import publish_threat_event, sample_threat_event

class Alarm(Exception):
    pass

def interrupt(*_):
    global armed, interrupts
    if armed:
        armed = False
        interrupts += 1
        raise Alarm

def note(threat_event, _):
    left.append(threat_event["event"]["id"])

def enter_and_leave():
    global armed
    for number in range(rounds):
        client = CommonThreatEventClient(dxl_client)
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, random.random() * 0.008 + 1e-5)
            with client:
                client.add_threat_event_callback(note, f"{topic}/{number}")
                with client.threat_events(f"{topic}/{number}/stream"):
                    pass
            armed = False
        except Alarm:
            pass
        signal.setitimer(signal.ITIMER_REAL, 0)
        client.close()

rounds = 100
config, topic = sys.argv[1:]
faulthandler.dump_traceback_later(45, exit=True)
sys.setswitchinterval(1e-4)
armed, interrupts, left = False, 0, []
signal.signal(signal.SIGALRM, interrupt)
with DxlClient(DxlClientConfig.create_dxl_config_from_file(config)) as dxl_client:
    dxl_client.connect()
    enter_and_leave()
    # If a callback stayed, it gets one of these.
    with CommonThreatEventClient(dxl_client) as client, client.threat_events(topic + "/#") as events:
        for number in range(rounds):
            publish_threat_event(dxl_client, sample_threat_event(id=number), f"{topic}/{number}")
        for _ in range(rounds):
            events.get(timeout=30)
print(json.dumps({"interrupts": interrupts, "left": left}), flush=True)
"""

# A loop over a stream. The small buffer keeps filling up and emptying, so the stream logs many messages.
LOOP = """
import faulthandler, sys
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig
from dxlthreateventclient import CommonThreatEventClient

faulthandler.dump_traceback_later(45, exit=True)
config, topic = sys.argv[1:]
try:
    with DxlClient(DxlClientConfig.create_dxl_config_from_file(config)) as dxl_client:
        dxl_client.connect()
        client = CommonThreatEventClient(dxl_client)
        with client, client.threat_events(topic, max_buffered=2) as events:
            print("ready", flush=True)
            for _ in events:
                sum(range(20_000))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_a_handler_that_raises_at_a_with_leaves_nothing_behind(fabric: LocalFabric, topic: str) -> None:
    with running(PROGRAM, fabric.config_file, topic) as process:
        output, errors = process.communicate(timeout=50)
    assert process.returncode == 0, errors
    result = json.loads(output.splitlines()[-1])
    assert result["interrupts"] > 5
    assert result["left"] == []


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_ctrl_c_ends_a_program_at_any_moment(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str, rounds: int
) -> None:
    """Before Python 3.13, a signal can leave a logging handler locked, so never wait for its lock."""
    chance = random.Random(rounds)
    with Publisher(dxl_client, topic):
        for _ in range(rounds):
            with ExitStack() as stack:
                programs = [stack.enter_context(running(LOOP, fabric.config_file, topic)) for _ in range(4)]
                for process in programs:
                    until_printed(process, "ready")
                for process in programs:
                    time.sleep(chance.uniform(0, 0.1))  # at a random moment
                    process.send_signal(signal.SIGINT)
                for process in programs:
                    output, errors = process.communicate(timeout=50)
                    assert (process.returncode, "interrupted" in output) == (0, True), errors
