"""What the docs say of dxlclient and of DXL, and what this library does not change."""

import threading
from typing import Any

from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.exceptions import DxlException
from dxlclient.message import Event, Request
from helpers.receiving import Receiver, publish_numbers

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.testing import LocalFabric

SENTINEL = 99


class HandWritten(EventCallback):
    """A callback as people write it, which raises for the first event."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_event(self, event: Event) -> None:
        self.count += 1
        if self.count == 1:
            raise ValueError("a bug")


def test_a_hand_written_callback_that_raises_keeps_the_event_from_those_behind_it(
    dxl_client: DxlClient,
) -> None:
    foreign, ours = HandWritten(), Receiver()
    dxl_client.add_event_callback(EPO_THREAT_EVENT_RESPONSE_TOPIC, foreign)
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(ours)
        publish_numbers(dxl_client, [1, 2])
        ours.until_received(2)
    dxl_client.remove_event_callback(EPO_THREAT_EVENT_RESPONSE_TOPIC, foreign)
    assert foreign.count == 2
    assert ours.numbers == [2]


def test_removing_a_callback_straight_from_the_dxl_client_silences_all_others(dxl_client: DxlClient) -> None:
    foreign, ours, elsewhere = Receiver(), Receiver(), Receiver()
    dxl_client.add_event_callback(EPO_THREAT_EVENT_RESPONSE_TOPIC, foreign)
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(ours)
        client.add_threat_event_callback(elsewhere, topic="/elsewhere")
        publish_numbers(dxl_client, [1])
        ours.until_received(1)
        dxl_client.remove_event_callback(EPO_THREAT_EVENT_RESPONSE_TOPIC, foreign)
        publish_numbers(dxl_client, [2])
        publish_numbers(dxl_client, [SENTINEL], topic="/elsewhere")
        elsewhere.until_received(SENTINEL)
    assert ours.numbers == [1]


def test_what_is_published_while_nobody_is_subscribed_is_gone(dxl_client: DxlClient) -> None:
    receiver = Receiver()
    with CommonThreatEventClient(dxl_client) as client:
        publish_numbers(dxl_client, [1])
        client.add_threat_event_callback(receiver)
        publish_numbers(dxl_client, [SENTINEL])
        receiver.until_received(SENTINEL)
    assert receiver.numbers == [SENTINEL]


def test_each_subscription_that_matches_delivers_a_copy_with_the_same_message_id(
    dxl_client: DxlClient,
) -> None:
    receiver = Receiver()
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(receiver)
        client.add_threat_event_callback(receiver, topic="/mcafee/event/#")
        [event, _] = publish_numbers(dxl_client, [1, SENTINEL])
        receiver.until_received(SENTINEL)
    copies = [original_event for _, original_event in receiver.handled[: receiver.numbers.count(1)]]
    assert len(copies) > 1
    assert {copy.message_id for copy in copies} == {event.message_id}


def test_with_two_workers_events_overtake_each_other_and_a_callback_runs_twice_at_once(
    fabric: LocalFabric,
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
        client.add_threat_event_callback(handle)
        publish_numbers(dxl_client, [1, 2])
        assert finished.wait(timeout=30)
    assert done == [2, 1]


def test_a_request_in_a_callback_raises(dxl_client: DxlClient) -> None:
    receiver = Receiver()
    errors: list[BaseException] = []

    def ask(threat_event: dict[str, Any], original_event: Event) -> None:
        dxl_client.sync_request(Request("/service"), timeout=1)

    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(ask, on_error=lambda error, _: errors.append(error))
        client.add_threat_event_callback(receiver)
        publish_numbers(dxl_client, [1])
        receiver.until_received(1)
    assert [type(error) for error in errors] == [DxlException]


def test_a_source_id_is_what_the_sender_wrote_unless_a_broker_fills_it_in(dxl_client: DxlClient) -> None:
    receiver = Receiver()
    forged = Event(EPO_THREAT_EVENT_RESPONSE_TOPIC)
    forged.payload = b'{"event": {"id": 1}}'
    vars(forged)["_source_client_id"] = "{somebody-else}"
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(receiver)
        dxl_client.send_event(forged)
        receiver.until_received(1)
    [(_, original_event)] = receiver.handled
    assert original_event.source_client_id == "{somebody-else}"
