"""``with CommonThreatEventClient(dxl_client)``: what it takes back, and how soon it ends."""

import subprocess
import sys
import threading

import pytest
from conftest import Connect
from dxlclient.client import DxlClient
from helpers.receiving import OTHER_TOPIC, Receiver, publish_numbers, subscribed

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC as TOPIC
from dxlthreateventclient.testing import LocalFabric

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


def test_leaving_removes_what_was_added_through_it_and_leaves_the_dxl_client_to_its_owner(
    dxl_client: DxlClient,
) -> None:
    before, inside, straight = Receiver(), Receiver(), Receiver()
    other_client = CommonThreatEventClient(dxl_client)
    other_client.add_threat_event_callback(before)
    dxl_client.add_event_callback(TOPIC, straight)
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(inside)
        client.add_threat_event_callback(inside.on_threat_event, "/mcafee/event/#")
        client.add_threat_event_callback(Receiver, OTHER_TOPIC)
        client.add_threat_event_callback(straight)
    assert dxl_client.connected
    assert not {"/mcafee/event/#", OTHER_TOPIC} & set(dxl_client.subscriptions)
    publish_numbers(dxl_client, [1])
    before.until_received(1)
    straight.until_received(1)
    assert inside.numbers == []
    other_client.remove_threat_event_callback(before)
    other_client.remove_threat_event_callback(straight)


def test_leaving_keeps_a_callback_that_another_client_added_too(dxl_client: DxlClient) -> None:
    receiver = Receiver()
    with CommonThreatEventClient(dxl_client) as outer:
        with CommonThreatEventClient(dxl_client) as inner:
            inner.add_threat_event_callback(receiver)
            outer.add_threat_event_callback(receiver)
        publish_numbers(dxl_client, [1])
        receiver.until_received(1)
    assert not subscribed(dxl_client)


def test_an_exception_removes_the_callbacks_and_comes_out(dxl_client: DxlClient) -> None:
    def fail() -> None:
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(Receiver())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not subscribed(dxl_client)


def test_a_client_can_be_entered_again(dxl_client: DxlClient) -> None:
    client, receiver = CommonThreatEventClient(dxl_client), Receiver()
    for number in range(2):
        with client:
            client.add_threat_event_callback(receiver)
            publish_numbers(dxl_client, [number])
            receiver.until_received(number)
        assert not subscribed(dxl_client)


def test_left_under_a_slow_handler_while_events_keep_coming_the_program_ends_within_seconds(
    fabric: LocalFabric, connect: Connect
) -> None:
    program = """
import sys, time
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig
from dxlthreateventclient import CommonThreatEventClient

def handle(threat_event_dict, original_event):
    if dxl_client._thread_pool._tasks.full():
        print("full", flush=True)
    time.sleep(0.05)

config = DxlClientConfig.create_dxl_config_from_file(sys.argv[1])
with DxlClient(config) as dxl_client:
    dxl_client.connect()
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(handle)
        print("ready", flush=True)
        sys.stdin.readline()
        left = time.monotonic()
print("left in", time.monotonic() - left)
"""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, str(fabric.config_file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    sender, stop = connect(), threading.Event()

    def pour() -> None:
        while not stop.is_set():
            publish_numbers(sender, range(20))
            stop.wait(0.01)

    pouring = threading.Thread(target=pour)
    try:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        pouring.start()
        assert process.stdout.readline() == "full\n"
        output, errors = process.communicate("leave\n", timeout=15)
    finally:
        stop.set()
        process.kill()
        process.communicate()
    pouring.join()
    assert errors == ""
    assert process.returncode == 0
    assert float(output.split()[-1]) < 10
