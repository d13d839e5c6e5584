"""A DxlClient that is not connected, not yet or no longer, and a broker that does not answer."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from dxlclient.client import DxlClient
from dxlclient.exceptions import WaitTimeoutException
from dxlclient.message import Event
from helpers.receiving import OTHER_TOPIC, Receiver, publish_numbers, subscribed
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC as TOPIC
from dxlthreateventclient.testing import LocalFabric

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


class TestWithoutAConnection:
    def test_callbacks_added_before_connecting_receive_once_it_connects(self, fabric: LocalFabric) -> None:
        receiver, removed = Receiver(), Receiver()
        with DxlClient(fabric.client_config()) as dxl_client:
            client = CommonThreatEventClient(dxl_client)
            client.add_threat_event_callback(receiver)
            client.add_threat_event_callback(removed)
            client.remove_threat_event_callback(removed)
            dxl_client.connect()
            publish_numbers(dxl_client, [1])
            receiver.until_received(1)
        assert removed.numbers == []

    def test_every_method_works_before_connecting_after_disconnecting_and_after_destroying(
        self, fabric: LocalFabric
    ) -> None:
        def use() -> None:
            with CommonThreatEventClient(dxl_client) as client:
                client.add_epo_threat_event_response_callback(Receiver())
                client.add_threat_event_callback(kept := Receiver(), OTHER_TOPIC)
                client.remove_threat_event_callback(kept, OTHER_TOPIC)
                with client.threat_events() as events:
                    with pytest.raises(TimeoutError):
                        events.get(timeout=0)
                    events.close()
                    assert list(events) == []
            assert not {TOPIC, OTHER_TOPIC} & set(dxl_client.subscriptions)

        dxl_client = DxlClient(fabric.client_config())
        use()
        dxl_client.connect()
        use()
        dxl_client.disconnect()
        use()
        dxl_client.destroy()
        use()

    def test_the_with_block_can_be_left_after_the_dxl_client_was_destroyed(self, fabric: LocalFabric) -> None:
        with (
            CommonThreatEventClient(dxl_client := DxlClient(fabric.client_config())) as client,
            client.threat_events(),
        ):
            client.add_threat_event_callback(Receiver())
            dxl_client.connect()
            dxl_client.destroy()
        assert not subscribed(dxl_client)

    def test_a_destroyed_dxl_client_is_freed_though_its_callback_knows_it(self, fabric: LocalFabric) -> None:
        class Knowing(Receiver):
            def __init__(self, dxl_client: DxlClient) -> None:
                super().__init__()
                self.dxl_client = dxl_client

        def use() -> "weakref.ref[DxlClient]":
            dxl_client = DxlClient(fabric.client_config())
            CommonThreatEventClient(dxl_client).add_threat_event_callback(Knowing(dxl_client))
            dxl_client.destroy()
            return weakref.ref(dxl_client)

        freed = use()
        gc.collect()
        assert freed() is None


def keep_answers_back(dxl_client: DxlClient, patches: pytest.MonkeyPatch) -> None:
    patches.setattr(DxlClient, "_MAX_PACKET_ACK_WAIT", 0.05)
    patches.setattr(dxl_client, "_on_packet_ack", lambda _: None)


class TestABrokerThatNeverAnswers:
    """The real broker always answers, so here its answers are kept back."""

    @pytest.fixture
    def silence(self, dxl_client: DxlClient, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        """Undoes the silence."""
        keep_answers_back(dxl_client, monkeypatch)
        return monkeypatch.undo

    def test_a_callback_is_not_added_then_and_can_be_added_again(
        self, dxl_client: DxlClient, silence: Callable[[], None]
    ) -> None:
        receiver = Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            with pytest.raises(WaitTimeoutException):
                client.add_threat_event_callback(receiver)
            silence()
            until(lambda: not subscribed(dxl_client), "the subscription is taken back")
            publish_numbers(dxl_client, [1])
            client.add_threat_event_callback(receiver)
            publish_numbers(dxl_client, [2])
            receiver.until_received(2)
        assert receiver.numbers == [2]

    def test_a_callback_that_was_there_before_stays(
        self, dxl_client: DxlClient, silence: Callable[[], None]
    ) -> None:
        receiver = Receiver()
        dxl_client.add_event_callback(TOPIC, receiver, subscribe_to_topic=False)
        with pytest.raises(WaitTimeoutException):
            CommonThreatEventClient(dxl_client).add_threat_event_callback(receiver)
        silence()
        publish_numbers(dxl_client, [1])
        receiver.until_received(1)
        CommonThreatEventClient(dxl_client).remove_threat_event_callback(receiver)

    def test_a_stream_that_could_not_be_opened_is_closed_and_gone(
        self, dxl_client: DxlClient, silence: Callable[[], None]
    ) -> None:
        events = CommonThreatEventClient(dxl_client).threat_events()
        with pytest.raises(WaitTimeoutException):
            events.__enter__()
        silence()
        assert dxl_client._event_callbacks.callbacks_by_channel == {}  # type: ignore[attr-defined]
        events.on_event(Event(TOPIC))
        assert events._events.qsize() == 1, "only the end"

    def test_a_callback_is_removed_all_the_same(
        self, dxl_client: DxlClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        receiver, other = Receiver(), Receiver()
        client = CommonThreatEventClient(dxl_client)
        client.add_threat_event_callback(receiver)
        with monkeypatch.context() as patches:
            keep_answers_back(dxl_client, patches)
            with pytest.raises(WaitTimeoutException):
                client.remove_threat_event_callback(receiver)
        with client:
            client.add_threat_event_callback(other)
            publish_numbers(dxl_client, [1])
            other.until_received(1)
        assert receiver.numbers == []

    def test_the_other_topics_are_unsubscribed_all_the_same(
        self, dxl_client: DxlClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        topics = {f"{OTHER_TOPIC}/{number}" for number in range(5)}
        client = CommonThreatEventClient(dxl_client)
        for topic in topics:
            client.add_threat_event_callback(Receiver(), topic)
        with monkeypatch.context() as patches:
            keep_answers_back(dxl_client, patches)
            with pytest.raises(WaitTimeoutException):
                client.__exit__(None, None, None)
        until(lambda: not topics & set(dxl_client.subscriptions), "all topics are unsubscribed")

    def test_an_error_while_settling_for_a_callback_is_logged(
        self, dxl_client: DxlClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def one_shot(threat_event_dict: dict[str, Any], original_event: Event) -> None:
            keep_answers_back(dxl_client, patches)
            client.remove_threat_event_callback(one_shot)

        client = CommonThreatEventClient(dxl_client)
        client.add_threat_event_callback(one_shot)
        with monkeypatch.context() as patches:
            publish_numbers(dxl_client, [1])
            until(lambda: f"Cannot bring the subscription to {TOPIC}" in caplog.text, "the error is logged")
        assert "WaitTimeoutException" in caplog.text
