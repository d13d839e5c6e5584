"""Threads that add and remove callbacks, over a fabric, while events flow."""

import threading

import pytest
from dxlclient.client import DxlClient
from helpers.receiving import OTHER_TOPIC, Receiver, publish_numbers, subscribed

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC as TOPIC

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


@pytest.mark.parametrize("seconds", [1, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("topic", "others_topic"), [(TOPIC, TOPIC), ("/mcafee/#", OTHER_TOPIC)])
def test_the_one_that_stays_misses_nothing_while_8_threads_add_and_remove_their_own(
    dxl_client: DxlClient, seconds: int, topic: str, others_topic: str
) -> None:
    def add_and_remove() -> None:
        own, times = Receiver(), 0
        while not stop.is_set():
            client.add_threat_event_callback(own, others_topic)
            client.remove_threat_event_callback(own, others_topic)
            times += 1
        counts.append(times)

    stop = threading.Event()
    counts: list[int] = []
    stays, number = Receiver(), 0
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(stays, topic)
        threads = [threading.Thread(target=add_and_remove) for _ in range(8)]
        timer = threading.Timer(seconds, stop.set)
        for thread in (*threads, timer):
            thread.start()
        while not stop.is_set():
            publish_numbers(dxl_client, range(number, number + 10))
            number += 10
            stays.until_received(number - 1)
        for thread in threads:
            thread.join()
    assert stays.numbers == list(range(number))
    assert number >= 10 * seconds
    assert len(counts) == 8
    assert min(counts) > 0


def test_8_threads_that_add_and_remove_the_same_callback_leave_it_removed_and_ready_to_be_added_again(
    dxl_client: DxlClient,
) -> None:
    def add_and_remove() -> None:
        client = CommonThreatEventClient(dxl_client)
        for _ in range(50):
            client.add_threat_event_callback(receiver)
            client.remove_threat_event_callback(receiver)

    receiver = Receiver()
    threads = [threading.Thread(target=add_and_remove) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not subscribed(dxl_client)
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(receiver)
        publish_numbers(dxl_client, [1])
        receiver.until_received(1)
