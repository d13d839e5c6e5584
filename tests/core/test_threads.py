"""Threads that add and remove callbacks while events flow."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from dxlclient.client import DxlClient
from helpers.clients import is_subscribed
from helpers.receiving import Receiver, publish_numbers
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient

pytestmark = pytest.mark.usefixtures("restless")


class TestEightThreadsThatAddAndRemove:
    @pytest.mark.parametrize("rounds", [10, pytest.param(300, marks=pytest.mark.slow)])
    @pytest.mark.parametrize("on_a_filter", [False, True])
    def test_their_own_cost_the_one_that_stays_no_event(
        self, dxl_client: DxlClient, topic: str, rounds: int, on_a_filter: bool
    ) -> None:
        def add_and_remove() -> None:
            own = Receiver()
            while not stop.is_set():
                client.add_threat_event_callback(own, others_on)
                client.remove_threat_event_callback(own, others_on)

        stop, stays = threading.Event(), Receiver()
        stays_on, others_on = (f"{topic}/#", f"{topic}/other") if on_a_filter else (topic, topic)
        threads = [threading.Thread(target=add_and_remove) for _ in range(8)]
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(stays, stays_on)
            for thread in threads:
                thread.start()
            try:
                for number in range(0, rounds * 10, 10):
                    publish_numbers(dxl_client, range(number, number + 10), stays_on.replace("#", "events"))
                    stays.until_received(number + 9)
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
        assert stays.numbers == list(range(rounds * 10))

    def test_the_same_one_leave_it_removed_when_the_client_closes(
        self, dxl_client: DxlClient, topic: str
    ) -> None:
        """The callback stays removed, no matter how calls to add, remove and close overlap."""

        def add_and_remove(client: CommonThreatEventClient) -> None:
            with suppress(RuntimeError):  # the client is closed
                while True:
                    client.add_threat_event_callback(receiver, topic)
                    client.remove_threat_event_callback(receiver, topic)

        receiver = Receiver()
        for _ in range(20):
            with ThreadPoolExecutor(8) as pool, CommonThreatEventClient(dxl_client) as client:
                for _ in range(8):
                    pool.submit(add_and_remove, client)
            until(lambda: not is_subscribed(topic), "it is unsubscribed")
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(receiver, topic)
            publish_numbers(dxl_client, [1], topic)
            receiver.until_received(1)
