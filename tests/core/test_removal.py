"""Removing a callback or closing its client. The remaining callbacks still receive every event."""

from collections.abc import Callable
from typing import Any

import pytest
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.clients import Connect, is_subscribed, queue_is_full
from helpers.feed import Feed
from helpers.program import running, until_printed
from helpers.receiving import Publisher, Receiver, number_of, publish_numbers
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.testing import LocalFabric

Kind = Callable[[Receiver], Any]


def as_object(receiver: Receiver) -> Any:
    return receiver


def as_function(receiver: Receiver) -> Any:
    """Return the receiver's method as a callback. Each call returns a distinct but equal method object."""
    return receiver.on_threat_event


class TestRemovingACallback:
    @pytest.mark.parametrize("kind", [as_object, as_function])
    def test_leaves_the_others_listening(self, feed: Feed, kind: Kind) -> None:
        first, second = Receiver(), Receiver()
        feed.add(kind(first))
        feed.add(kind(second))
        feed.publish([1])
        second.until_received(1)
        feed.remove(kind(first))
        feed.publish([2])
        second.until_received(2)
        assert (first.numbers, second.numbers) == ([1], [1, 2])

    @pytest.mark.parametrize("last", [Receiver(), Receiver, Receiver().on_threat_event])
    def test_unsubscribes_with_the_last_one_through_any_client(self, feed: Feed, last: Any) -> None:
        first = Receiver()
        feed.add(first)
        CommonThreatEventClient(feed.dxl_client).add_threat_event_callback(last, feed.topic)
        feed.remove(first)
        assert is_subscribed(feed.topic)
        feed.remove(last)
        until(lambda: not is_subscribed(feed.topic), "it is unsubscribed")

    @pytest.mark.parametrize("for_all_topics", [False, True])
    def test_leaves_what_was_added_to_the_dxl_client_directly(self, feed: Feed, for_all_topics: bool) -> None:
        first, second = Receiver(), Receiver()
        if for_all_topics:
            feed.dxl_client.subscribe(feed.topic)
        feed.add(first)
        feed.dxl_client.add_event_callback(None if for_all_topics else feed.topic, second)
        feed.remove(first)
        feed.publish([1])
        second.until_received(1)
        feed.dxl_client.remove_event_callback(None if for_all_topics else feed.topic, second)
        feed.dxl_client.unsubscribe(feed.topic)

    def test_does_nothing_on_other_topics_or_if_it_is_not_there(self, feed: Feed) -> None:
        stays = Receiver()
        feed.remove(stays)
        feed.add(stays)
        feed.add(stays, "/other")
        feed.remove(stays, "/other")
        feed.remove(stays, "/other")
        feed.remove(Receiver())
        feed.remove(stays, "/not/+/even/a topic")
        feed.publish([1], "/other")
        feed.publish([2])
        stays.until_received(2)
        assert stays.numbers == [2]


class TestInsideACallback:
    @pytest.mark.parametrize("kind", [as_object, as_function])
    def test_it_removes_itself_and_the_others_get_all_events(self, feed: Feed, kind: Kind) -> None:
        class OneShot(Receiver):
            def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
                super().on_threat_event(threat_event_dict, original_event)
                feed.remove(kind(self))

        one_shot, stays = OneShot(), Receiver()
        feed.add(kind(one_shot))
        feed.add(stays)
        feed.publish(range(100))
        stays.until_received(99)
        assert one_shot.numbers == [0]
        assert stays.numbers == list(range(100))

    def test_the_last_one_unsubscribes_soon(self, feed: Feed) -> None:
        def one_shot(threat_event_dict: dict[str, Any], original_event: Event) -> None:
            feed.remove(one_shot)

        feed.add(one_shot)
        feed.publish([1])
        until(lambda: not is_subscribed(feed.topic), "the topic is unsubscribed")

    def test_it_adds_its_successor_which_misses_nothing(self, feed: Feed) -> None:
        def hand_over(threat_event_dict: dict[str, Any], original_event: Event) -> None:
            first.append(number_of(threat_event_dict))
            feed.add(successor)
            feed.remove(hand_over)

        first: list[int] = []
        successor = Receiver()
        feed.add(hand_over)
        feed.publish(range(100))
        successor.until_received(99)
        assert first == [0]
        assert successor.numbers == list(range(1, 100))

    def test_it_removes_itself_and_adds_itself_again(self, feed: Feed) -> None:
        """The feed thread unsubscribes from a topic only if the topic still has no callback."""
        numbers: list[int] = []

        def restart(threat_event_dict: dict[str, Any], original_event: Event) -> None:
            feed.remove(restart)
            feed.add(restart)
            numbers.append(number_of(threat_event_dict))

        feed.add(restart)
        for number in range(10):
            feed.publish([number])
            until(lambda: numbers == list(range(number + 1)), f"event {number} arrives")  # noqa: B023
            # add() returns after the feed thread has handled all earlier changes. The feed thread may have
            # unsubscribed before the callback was added again.
            feed.add(print, f"/{number}")
            until(lambda: feed.topic in feed.client.status().subscribed, "it is subscribed again")

    def test_it_never_hangs_while_the_queue_of_dxlclient_is_full(
        self, connect: Connect, dxl_client: DxlClient, topic: str
    ) -> None:
        """A callback that waited for the broker's response would block the events ahead of the response."""

        class Restless(Receiver):
            def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
                super().on_threat_event(threat_event_dict, original_event)
                number = number_of(threat_event_dict)
                if number < 50:
                    until(lambda: queue_is_full(crowded), "dxlclient's queue is full")
                    client.add_threat_event_callback(other, f"{topic}/{number}")
                    client.remove_threat_event_callback(other, f"{topic}/{number - 1}")

        restless, other = Restless(), Receiver()
        crowded = connect(incoming_message_queue_size=1)
        with CommonThreatEventClient(crowded) as client:
            client.add_threat_event_callback(restless, topic)
            publish_numbers(dxl_client, range(100), topic)
            restless.until_received(99)
            assert restless.numbers == list(range(100))
            until(lambda: f"{topic}/49" in client.status().subscribed, "the last topic is subscribed")
            until(lambda: len(client.status().subscribed) == 2, "all others are unsubscribed")
            publish_numbers(dxl_client, [1], f"{topic}/49")
            other.until_received(1)


class TestLeavingTheClient:
    def test_removes_what_was_added_through_it_alone(self, dxl_client: DxlClient, topic: str) -> None:
        inside, others, shared, direct = (Receiver() for _ in range(4))
        topics = {f"{topic}/#", f"{topic}/other"}
        dxl_client.add_event_callback(topic, direct)
        with CommonThreatEventClient(dxl_client) as outer:
            outer.add_threat_event_callback(others, topic)
            with CommonThreatEventClient(dxl_client) as inner:
                inner.add_threat_event_callback(inside, topic)
                inner.add_threat_event_callback(inside.on_threat_event, f"{topic}/#")
                inner.add_threat_event_callback(Receiver, f"{topic}/other")
                inner.add_threat_event_callback(shared, topic)
                outer.add_threat_event_callback(shared, topic)
                assert topics < set(inner.status().subscribed)
            until(lambda: not any(map(is_subscribed, topics)), "what it had alone is unsubscribed")
            assert inner.status().subscribed == ()
            publish_numbers(dxl_client, [1], topic)
            for receiver in (others, shared, direct):
                receiver.until_received(1)
        assert inside.numbers == []
        assert dxl_client.connected, "it belongs to who made it"
        dxl_client.remove_event_callback(topic, direct)

    def test_lets_an_exception_through(self, dxl_client: DxlClient, topic: str) -> None:
        def fail() -> None:
            with CommonThreatEventClient(dxl_client) as client:
                client.add_threat_event_callback(Receiver(), topic)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        until(lambda: not is_subscribed(topic), "it is unsubscribed")

    def test_takes_no_time_under_a_slow_callback_and_a_flood(
        self, fabric: LocalFabric, dxl_client: DxlClient, topic: str
    ) -> None:
        """Without this library, DxlClient.destroy() would not return until the flood of events ended."""
        program = """
import sys, time
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig
from dxlthreateventclient import CommonThreatEventClient

config = DxlClientConfig.create_dxl_config_from_file(sys.argv[1])
with DxlClient(config) as dxl_client:
    dxl_client.connect()
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(lambda *_: time.sleep(0.05), sys.argv[2])
        print("ready", flush=True)
        sys.stdin.readline()
print("left", flush=True)
"""
        with running(program, fabric.config_file, topic) as process:
            until_printed(process, "ready")
            with Publisher(dxl_client, topic) as publisher:
                until(lambda: publisher.count > 100, "a backlog of five seconds has been published")
                output, errors = process.communicate("leave\n", timeout=40)
        assert (process.returncode, output) == (0, "left\n")
        [line] = errors.splitlines()
        assert "passed over" in line
