"""What the docs say about dxlclient and DXL, and this library does not change."""

import threading
from typing import Any

from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.exceptions import DxlException
from dxlclient.message import Event, Request
from helpers.receiving import Receiver, publish_numbers

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.testing import LocalFabric

SENTINEL = 99


class RaisesOnce(EventCallback):
    """A hand-written callback that raises for the first event."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_event(self, event: Event) -> None:
        self.count += 1
        if self.count == 1:
            raise ValueError("a bug")


class TestDxlclient:
    def test_a_callback_that_raises_starves_later_ones(self, dxl_client: DxlClient, topic: str) -> None:
        foreign, ours = RaisesOnce(), Receiver()
        dxl_client.add_event_callback(topic, foreign)
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(ours, topic)
            publish_numbers(dxl_client, [1, 2], topic)
            ours.until_received(2)
        dxl_client.remove_event_callback(topic, foreign)
        assert foreign.count == 2
        assert ours.numbers == [2]

    def test_removing_a_callback_directly_silences_all_others(
        self, dxl_client: DxlClient, topic: str
    ) -> None:
        foreign, ours, elsewhere = Receiver(), Receiver(), Receiver()
        dxl_client.add_event_callback(topic, foreign)
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(ours, topic)
            client.add_threat_event_callback(elsewhere, f"{topic}/elsewhere")
            publish_numbers(dxl_client, [1], topic)
            ours.until_received(1)
            dxl_client.remove_event_callback(topic, foreign)
            publish_numbers(dxl_client, [2], topic)
            publish_numbers(dxl_client, [SENTINEL], f"{topic}/elsewhere")
            elsewhere.until_received(SENTINEL)
        assert ours.numbers == [1]

    def test_events_published_before_a_subscription_are_lost(self, dxl_client: DxlClient, topic: str) -> None:
        receiver = Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            publish_numbers(dxl_client, [1], topic)
            client.add_threat_event_callback(receiver, topic)
            publish_numbers(dxl_client, [SENTINEL], topic)
            receiver.until_received(SENTINEL)
        assert receiver.numbers == [SENTINEL]

    def test_overlapping_subscriptions_deliver_copies(self, dxl_client: DxlClient, topic: str) -> None:
        receiver = Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(receiver, topic)
            client.add_threat_event_callback(receiver, f"{topic}/#")
            [event, _] = publish_numbers(dxl_client, [1, SENTINEL], topic)
            receiver.until_received(SENTINEL)
        copies = [original_event for _, original_event in receiver.handled[: receiver.numbers.count(1)]]
        assert len(copies) > 1
        assert {copy.message_id for copy in copies} == {event.message_id}

    def test_two_workers_handle_events_at_once_and_out_of_order(
        self, fabric: LocalFabric, topic: str
    ) -> None:
        second_is_done, finished = threading.Event(), threading.Event()
        done = []

        def handle(threat_event: dict[str, Any], original_event: Event) -> None:
            number = threat_event["event"]["id"]
            if number == 1:
                assert second_is_done.wait(timeout=30)
            done.append(number)
            (finished if number == 1 else second_is_done).set()

        config = fabric.client_config()
        config.incoming_message_thread_pool_size = 2
        with DxlClient(config) as dxl_client, CommonThreatEventClient(dxl_client) as client:
            dxl_client.connect()
            client.add_threat_event_callback(handle, topic)
            publish_numbers(dxl_client, [1, 2], topic)
            assert finished.wait(timeout=30)
        assert done == [2, 1]

    def test_a_request_in_a_callback_raises(self, dxl_client: DxlClient, topic: str) -> None:
        receiver = Receiver()
        errors: list[BaseException] = []

        def ask(threat_event: dict[str, Any], original_event: Event) -> None:
            dxl_client.sync_request(Request("/service"), timeout=1)

        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(ask, topic, on_error=lambda error, _: errors.append(error))
            client.add_threat_event_callback(receiver, topic)
            publish_numbers(dxl_client, [1], topic)
            receiver.until_received(1)
        assert [type(error) for error in errors] == [DxlException]

    def test_a_source_id_can_be_what_the_sender_wrote(self, dxl_client: DxlClient, topic: str) -> None:
        """As LocalFabric does, an OpenDXL broker passes on source ids of messages that it cannot parse."""
        receiver = Receiver()
        forged = Event(topic)
        forged.payload = b'{"event": {"id": 1}}'
        vars(forged)["_source_client_id"] = "{somebody-else}"
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(receiver, topic)
            dxl_client.send_event(forged)
            receiver.until_received(1)
        [(_, original_event)] = receiver.handled
        assert original_event.source_client_id == "{somebody-else}"
