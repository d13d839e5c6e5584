"""What is left after close, by count: threads, file descriptors and sockets of the whole process."""

import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from dxlclient.client import DxlClient
from helpers.numbered import number_of
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event

CYCLES = 200


def held() -> dict[str, int]:
    """Count what this process holds."""
    # dxlclient leaves the sockets of lost connections to the garbage collector.
    gc.collect()
    process = psutil.Process()
    return {
        "threads": process.num_threads(),
        "file descriptors": process.num_fds(),
        "sockets": len(process.net_connections(kind="all")),
    }


def receive_one(receiver: DxlClient, sender: DxlClient, number: int) -> None:
    """Receive an event with a stream and with a callback, and close both."""
    called: list[int] = []
    with CommonThreatEventClient(receiver) as client, client.threat_events() as events:
        client.add_epo_threat_event_response_callback(
            lambda threat_event, _: called.append(number_of(threat_event))
        )
        publish_threat_event(sender, sample_threat_event(id=number))
        assert number_of(events.get(timeout=20)[0]) == number
        until(lambda: called == [number], "the callback was called")


def test_a_client_and_a_stream_that_are_closed_leave_nothing_on_a_connected_dxl_client(
    connect: Callable[[], DxlClient],
) -> None:
    receiver, sender = connect(), connect()
    subscriptions = set(receiver.subscriptions)
    receive_one(receiver, sender, 0)
    before = held()
    for number in range(1, CYCLES + 1):
        receive_one(receiver, sender, number)
    until(lambda: held() == before, f"{before} again")
    assert set(receiver.subscriptions) == subscriptions


def cycle(fabric: LocalFabric, number: int) -> None:
    """Start a fabric, receive an event with a client of its own, and stop everything."""
    with fabric, DxlClient(fabric.client_config()) as dxl_client:
        dxl_client.connect()
        receive_one(dxl_client, dxl_client, number)


def test_a_fabric_and_a_dxl_client_that_are_closed_leave_nothing() -> None:
    cycle(LocalFabric(), 0)
    before = held()
    for number in range(1, 4):
        cycle(LocalFabric(), number)
    until(lambda: held() == before, f"{before} again")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_hundred_restarts_of_fabrics_and_dxl_clients_leave_nothing() -> None:
    at_once = 8
    fabrics = [LocalFabric() for _ in range(at_once)]

    def cycles(fabric: LocalFabric, count: int) -> None:
        for number in range(count):
            cycle(fabric, number)

    def run(count: int) -> None:
        with ThreadPoolExecutor(at_once) as executor:
            list(executor.map(cycles, fabrics, [count] * at_once))

    run(1)
    before = held()
    run(CYCLES // at_once)
    until(lambda: held() == before, f"{before} again")
