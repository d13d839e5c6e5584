"""Adding and removing callbacks, over a fabric: who leaves does not take the events from who stays."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Connect
from dxlclient import _callback_manager
from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.receiving import OTHER_TOPIC, Receiver, publish_numbers, subscribed
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC as TOPIC
from dxlthreateventclient.testing import LocalFabric

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


@pytest.fixture
def client(dxl_client: DxlClient) -> CommonThreatEventClient:
    return CommonThreatEventClient(dxl_client)


class Plain(EventCallback):
    """A callback that knows nothing of threat events."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_event(self, event: Event) -> None:
        self.count += 1


class TestRemoving:
    def test_one_callback_leaves_the_others_listening(self, dxl_client: DxlClient) -> None:
        first, second = Receiver(), Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            client.add_epo_threat_event_response_callback(first)
            client.add_epo_threat_event_response_callback(second)
            publish_numbers(dxl_client, [1])
            second.until_received(1)
            client.remove_epo_threat_event_response_callback(first)
            publish_numbers(dxl_client, [2])
            second.until_received(2)
        assert (first.numbers, second.numbers) == ([1], [1, 2])

    def test_the_last_callback_unsubscribes(
        self, dxl_client: DxlClient, client: CommonThreatEventClient
    ) -> None:
        first, second = Receiver(), Receiver()
        client.add_threat_event_callback(first)
        client.add_threat_event_callback(second)
        client.remove_threat_event_callback(first)
        assert subscribed(dxl_client)
        client.remove_threat_event_callback(second)
        assert not subscribed(dxl_client)

    def test_a_callback_of_another_client_of_the_same_dxl_client_stays(self, dxl_client: DxlClient) -> None:
        first, second = Receiver(), Receiver()
        with CommonThreatEventClient(dxl_client) as other_client:
            other_client.add_threat_event_callback(second)
            with CommonThreatEventClient(dxl_client) as client:
                client.add_threat_event_callback(first)
            publish_numbers(dxl_client, [1])
            second.until_received(1)
        assert first.numbers == []
        assert not subscribed(dxl_client)

    def test_a_callback_registered_straight_with_the_dxl_client_stays(
        self, dxl_client: DxlClient, client: CommonThreatEventClient
    ) -> None:
        first, second = Receiver(), Receiver()
        client.add_threat_event_callback(first)
        dxl_client.add_event_callback(TOPIC, second)
        client.remove_threat_event_callback(first)
        publish_numbers(dxl_client, [1])
        second.until_received(1)
        dxl_client.remove_event_callback(TOPIC, second)

    def test_a_callback_for_all_topics_keeps_the_subscription_made_by_hand(
        self, dxl_client: DxlClient, client: CommonThreatEventClient
    ) -> None:
        first, second = Receiver(), Receiver()
        dxl_client.add_event_callback(None, second)
        dxl_client.subscribe(TOPIC)
        client.add_threat_event_callback(first)
        client.remove_threat_event_callback(first)
        publish_numbers(dxl_client, [1])
        second.until_received(1)
        dxl_client.remove_event_callback(None, second)
        dxl_client.unsubscribe(TOPIC)

    def test_it_leaves_other_topics_and_other_callbacks_of_dxlclient_alone(
        self, dxl_client: DxlClient
    ) -> None:
        first, second = Receiver(), Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(first)
            client.add_threat_event_callback(first, OTHER_TOPIC)
            client.add_threat_event_callback(second, OTHER_TOPIC)
            client.remove_threat_event_callback(first)
            publish_numbers(dxl_client, [1])
            publish_numbers(dxl_client, [2], OTHER_TOPIC)
            second.until_received(2)
            assert first.numbers == second.numbers == [2]

    def test_what_is_not_there_does_nothing(
        self, dxl_client: DxlClient, client: CommonThreatEventClient
    ) -> None:
        stays, never_added = Receiver(), Receiver()
        client.remove_threat_event_callback(never_added)
        client.add_threat_event_callback(stays)
        client.remove_threat_event_callback(never_added)
        client.remove_threat_event_callback(stays, OTHER_TOPIC)
        client.remove_threat_event_callback(stays, "no topic at all/+")
        publish_numbers(dxl_client, [1])
        stays.until_received(1)
        client.remove_threat_event_callback(stays)
        client.remove_threat_event_callback(stays)

    def test_any_client_of_the_dxl_client_can_remove_what_another_added(
        self, dxl_client: DxlClient, client: CommonThreatEventClient
    ) -> None:
        receiver = Receiver()
        CommonThreatEventClient(dxl_client).add_threat_event_callback(receiver)
        client.remove_threat_event_callback(receiver)
        assert not subscribed(dxl_client)

    def test_a_callback_on_a_filter_misses_nothing_while_another_is_removed(
        self, dxl_client: DxlClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # dxlclient, while it removes a callback, looks for filters with this function. An event that is
        # dispatched at that very moment has to arrive nevertheless.
        def has_wildcard(topic: str) -> bool:
            publish_numbers(dxl_client, [2])
            stays.until_received(2)
            return topic.endswith("#")

        stays, leaves = Receiver(), Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(stays, "/mcafee/event/#")
            client.add_threat_event_callback(leaves, OTHER_TOPIC)
            publish_numbers(dxl_client, [1])
            stays.until_received(1)
            with monkeypatch.context() as patches:
                patches.setattr(_callback_manager, "_has_wildcard", has_wildcard)
                client.remove_threat_event_callback(leaves, OTHER_TOPIC)
            publish_numbers(dxl_client, [3])
            stays.until_received(3)


class TestAdding:
    def test_twice_is_once(self, dxl_client: DxlClient) -> None:
        receiver = Receiver()
        with CommonThreatEventClient(dxl_client) as client, CommonThreatEventClient(dxl_client) as other:
            for _ in range(2):
                client.add_threat_event_callback(receiver)
                other.add_threat_event_callback(receiver)
            publish_numbers(dxl_client, range(3))
            receiver.until_received(2)
            assert receiver.numbers == [0, 1, 2]
            client.remove_threat_event_callback(receiver)
            assert not subscribed(dxl_client)

    def test_a_function_twice_is_once_and_the_same_function_removes_it(self, dxl_client: DxlClient) -> None:
        receiver, stays = Receiver(), Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(receiver.on_threat_event)
            client.add_threat_event_callback(receiver.on_threat_event, on_error=print)
            client.add_threat_event_callback(stays.on_threat_event)
            publish_numbers(dxl_client, [1])
            stays.until_received(1)
            client.remove_threat_event_callback(receiver.on_threat_event)
            publish_numbers(dxl_client, [2])
            stays.until_received(2)
        assert (receiver.numbers, stays.numbers) == ([1], [1, 2])

    def test_any_callable_will_do_and_gets_the_dictionary_and_the_original_event(
        self, dxl_client: DxlClient
    ) -> None:
        class Handler:
            def __call__(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
                calls.append((threat_event_dict, original_event))

        calls: list[tuple[dict[str, Any], Event]] = []
        stays = Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            client.add_epo_threat_event_response_callback(Handler())
            client.add_epo_threat_event_response_callback(stays)
            [event] = publish_numbers(dxl_client, [1])
            stays.until_received(1)
        [(threat_event, original_event)] = calls
        assert threat_event == {"event": {"id": 1}}
        assert original_event.message_id == event.message_id
        assert original_event.payload == event.payload

    @pytest.mark.parametrize("topic", ["#", "/mcafee/#", "/mcafee/event/epo/threat/#"])
    def test_a_filter_receives_from_every_topic_below(self, dxl_client: DxlClient, topic: str) -> None:
        receiver = Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(receiver, topic)
            publish_numbers(dxl_client, [1])
            receiver.until_received(1)

    def test_a_class_gives_a_new_instance_for_each_event(self, dxl_client: DxlClient) -> None:
        class EachTime(Receiver):
            def __init__(self) -> None:
                super().__init__()
                instances.append(self)

        instances: list[EachTime] = []
        stays = Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(EachTime)
            client.add_threat_event_callback(stays)
            publish_numbers(dxl_client, range(3))
            stays.until_received(2)
            assert [instance.numbers for instance in instances] == [[0], [1], [2]]
            client.remove_threat_event_callback(EachTime)
            publish_numbers(dxl_client, [3])
            stays.until_received(3)
        assert len(instances) == 3

    def test_our_callback_works_registered_straight_with_the_dxl_client(self, dxl_client: DxlClient) -> None:
        receiver = Receiver()
        dxl_client.add_event_callback(TOPIC, receiver)
        publish_numbers(dxl_client, [1])
        receiver.until_received(1)
        dxl_client.remove_event_callback(TOPIC, receiver)

    def test_any_event_callback_is_handed_to_dxlclient_untouched(self, dxl_client: DxlClient) -> None:
        plain, stays = Plain(), Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(plain)
            client.add_threat_event_callback(stays)
            publish_numbers(dxl_client, range(3))
            stays.until_received(2)
            assert dxl_client._event_callbacks.callbacks_by_channel[TOPIC][0] is plain  # type: ignore[attr-defined]
        assert plain.count == 3


class TestInsideACallback:
    @pytest.mark.parametrize("as_function", [False, True])
    def test_one_that_removes_itself_gets_one_event_and_the_others_all(
        self, dxl_client: DxlClient, as_function: bool
    ) -> None:
        class OneShot(Receiver):
            def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
                super().on_threat_event(threat_event_dict, original_event)
                client.remove_threat_event_callback(one_shot)

        receiver = OneShot()
        one_shot = receiver.on_threat_event if as_function else receiver
        stays = Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(one_shot)
            client.add_threat_event_callback(stays)
            publish_numbers(dxl_client, range(100))
            stays.until_received(99)
        assert receiver.numbers == [0]
        assert stays.numbers == list(range(100))

    def test_the_last_that_removes_itself_unsubscribes_soon(
        self, dxl_client: DxlClient, client: CommonThreatEventClient
    ) -> None:
        def one_shot(threat_event_dict: dict[str, Any], original_event: Event) -> None:
            client.remove_threat_event_callback(one_shot)

        client.add_threat_event_callback(one_shot)
        publish_numbers(dxl_client, [1])
        until(lambda: not subscribed(dxl_client), "the topic is unsubscribed")

    def test_what_callbacks_changed_is_settled_when_the_with_block_is_left(
        self, dxl_client: DxlClient
    ) -> None:
        def one_shot(threat_event_dict: dict[str, Any], original_event: Event) -> None:
            for topic in topics:
                client.remove_threat_event_callback(one_shot, topic)
            done.set()

        done = threading.Event()
        topics = [TOPIC, *(f"{OTHER_TOPIC}/{number}" for number in range(20))]
        with CommonThreatEventClient(dxl_client) as client:
            for topic in topics:
                client.add_threat_event_callback(one_shot, topic)
            publish_numbers(dxl_client, [1])
            assert done.wait(10)
        assert not set(topics) & set(dxl_client.subscriptions)

    @pytest.mark.parametrize("leave", [DxlClient.disconnect, DxlClient.destroy])
    def test_a_dxl_client_can_be_disconnected_at_once_after_a_one_shot(
        self, connect: Connect, leave: Callable[[DxlClient], None]
    ) -> None:
        # dxlclient raises if its subscriptions change while it takes them back.
        def one_shot(threat_event_dict: dict[str, Any], original_event: Event) -> None:
            for topic in topics:
                client.remove_threat_event_callback(one_shot, topic)
            done.set()

        done = threading.Event()
        topics = [TOPIC, *(f"{OTHER_TOPIC}/{number}" for number in range(20))]
        dxl_client = connect()
        client = CommonThreatEventClient(dxl_client)
        for topic in topics:
            client.add_threat_event_callback(one_shot, topic)
        publish_numbers(dxl_client, [1])
        assert done.wait(10)
        leave(dxl_client)
        assert not set(topics) & set(dxl_client.subscriptions)

    def test_one_that_adds_another_before_it_removes_itself_loses_nothing(
        self, dxl_client: DxlClient
    ) -> None:
        class HandsOver(Receiver):
            def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
                super().on_threat_event(threat_event_dict, original_event)
                client.add_threat_event_callback(successor)
                client.remove_threat_event_callback(self)

        first, successor = HandsOver(), Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(first)
            publish_numbers(dxl_client, range(100))
            successor.until_received(99)
        assert first.numbers == [0]
        assert successor.numbers == list(range(1, 100))

    def test_one_can_be_added_to_a_new_topic(self, dxl_client: DxlClient) -> None:
        def add(threat_event_dict: dict[str, Any], original_event: Event) -> None:
            client.add_threat_event_callback(new, OTHER_TOPIC)

        new = Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(add)
            publish_numbers(dxl_client, [1])
            until(lambda: subscribed(dxl_client, OTHER_TOPIC), "the new topic is subscribed")
            # Behind the lock that dxlclient holds until the broker has acknowledged.
            dxl_client.subscribe(OTHER_TOPIC)
            publish_numbers(dxl_client, [2], OTHER_TOPIC)
            new.until_received(2)

    def test_adding_and_removing_never_hang_while_dxlclients_queue_is_full(self, fabric: LocalFabric) -> None:
        class Restless(Receiver):
            def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
                super().on_threat_event(threat_event_dict, original_event)
                number = threat_event_dict["event"]["id"]
                if number < 100:
                    tasks = receiver._thread_pool._tasks  # type: ignore[attr-defined]
                    until(tasks.full, "dxlclient's queue is full")
                    client.add_threat_event_callback(other, f"{OTHER_TOPIC}/{number}")
                    client.remove_threat_event_callback(other, f"{OTHER_TOPIC}/{number - 1}")

        config = fabric.client_config()
        config.incoming_message_queue_size = 1
        restless, other = Restless(), Receiver()
        with DxlClient(fabric.client_config()) as sender, DxlClient(config) as receiver:
            sender.connect()
            receiver.connect()
            with CommonThreatEventClient(receiver) as client:
                client.add_threat_event_callback(restless)
                publish_numbers(sender, range(200))
                restless.until_received(199)
                assert restless.numbers == list(range(200))
                until(lambda: subscribed(receiver, f"{OTHER_TOPIC}/99"), "the last topic is subscribed")
            assert len(receiver.subscriptions) == 1, "only dxlclient's own is left"
