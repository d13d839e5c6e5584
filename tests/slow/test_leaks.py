"""Counts the threads, file descriptors and sockets that remain after clients and streams are closed."""

import gc
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from dxlclient.client import DxlClient
from helpers.clients import Connect
from helpers.receiving import Receiver, numbered, publish_numbers
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.testing import LocalFabric

pytestmark = pytest.mark.slow

CYCLES = 200


def held() -> dict[str, int]:
    """Count this process's resources."""
    # dxlclient leaves the sockets of lost connections to the garbage collector.
    gc.collect()
    process = psutil.Process()
    return {
        "threads": process.num_threads(),
        "file descriptors": process.num_fds(),
        "sockets": len(process.net_connections(kind="all")),
    }


def until_no_more_is_held(than: dict[str, int]) -> None:
    # An earlier test may release its resources late, so lower counts are fine.
    until(lambda: all(count <= than[what] for what, count in held().items()), f"at most {than}")


def receive_one(receiver: DxlClient, sender: DxlClient, topic: str, number: int) -> None:
    """Receive an event with a stream and a callback, then close both."""
    callback = Receiver()
    with CommonThreatEventClient(receiver) as client, client.threat_events(topic) as events:
        client.add_threat_event_callback(callback, topic)
        publish_numbers(sender, [number], topic)
        assert events.get(timeout=30)[0] == numbered(number)
        callback.until_received(number)


def test_closed_clients_and_streams_leave_nothing(connect: Connect, topic: str) -> None:
    receiver, sender = connect(), connect()
    subscriptions = set(receiver.subscriptions)
    receive_one(receiver, sender, topic, 0)
    before = held()
    for number in range(1, CYCLES + 1):
        receive_one(receiver, sender, topic, number)
    until_no_more_is_held(before)
    assert set(receiver.subscriptions) == subscriptions


def test_stopped_fabrics_and_dxl_clients_leave_nothing(topic: str) -> None:
    at_once = 8
    fabrics = [LocalFabric() for _ in range(at_once)]

    def cycles(fabric: LocalFabric, count: int) -> None:
        for number in range(count):
            with fabric, DxlClient(fabric.client_config()) as dxl_client:
                dxl_client.connect()
                receive_one(dxl_client, dxl_client, topic, number)

    def run(count: int) -> None:
        with ThreadPoolExecutor(at_once) as executor:
            list(executor.map(cycles, fabrics, [count] * at_once))

    run(1)
    before = held()
    run(CYCLES // at_once)
    until_no_more_is_held(before)
