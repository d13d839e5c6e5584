"""A draining stream accepts no new events, and its loop ends after receiving those that arrived earlier."""

import asyncio
import signal
from collections.abc import Callable

import pytest
from dxlclient.client import DxlClient
from helpers.clients import Connect, is_subscribed, queue_is_full
from helpers.feed import Feed
from helpers.program import running, until_printed
from helpers.receiving import Publisher, Receiver, number_of, publish_numbers
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient, ThreatEventStream, redundant_threat_events
from dxlthreateventclient.testing import LocalFabric

ON_SIGTERM = """
import signal, sys
from dxlclient.client import DxlClient
from dxlthreateventclient import CommonThreatEventClient, connect, load_configuration

with DxlClient(load_configuration(sys.argv[1])) as dxl_client:
    connect(dxl_client)
    client = CommonThreatEventClient(dxl_client)
    topic = sys.argv[2]
    with client, client.threat_events(topic) as events:
        client.add_threat_event_callback(lambda event, _: print(event["event"]["id"], flush=True), topic)
        signal.signal(signal.SIGTERM, lambda *_: events.drain())
        print("ready", flush=True)
        sys.stdin.readline()
        print(*(threat_event["event"]["id"] for threat_event, _ in events), flush=True)
    print("dropped", client.status().dropped)
"""


def numbers_of(events: ThreatEventStream) -> list[int]:
    return [number_of(threat_event) for threat_event, _ in events]


class TestDraining:
    @pytest.mark.parametrize("workers", [1, 3])
    @pytest.mark.parametrize("below", ["", "/#"])
    def test_hands_over_what_had_arrived(
        self, connect: Connect, dxl_client: DxlClient, topic: str, workers: int, below: str
    ) -> None:
        """The loop also receives the events in dxlclient's queue and those held by waiting workers."""
        receiving = connect(incoming_message_queue_size=20, incoming_message_thread_pool_size=workers)
        count = 10 + workers + 20
        with (
            CommonThreatEventClient(receiving) as client,
            client.threat_events(f"{topic}{below}", max_buffered=10) as events,
        ):
            publish_numbers(dxl_client, range(count), topic)
            until(lambda: events.buffered == 10 and queue_is_full(receiving), "all is full")
            events.drain()
            numbers = numbers_of(events)
            events.drain()
            assert numbers_of(events) == [], "it may be drained again"
        assert (sorted(numbers) if workers > 1 else numbers) == list(range(count))
        assert client.status().dropped == 0

    def test_ends_while_events_pour_in(self, connect: Connect, dxl_client: DxlClient, topic: str) -> None:
        receiving = connect()
        with (
            CommonThreatEventClient(receiving) as client,
            client.threat_events(topic) as events,
            Publisher(dxl_client, topic) as publisher,
        ):
            numbers = [number_of(events.get(timeout=30)[0])]
            events.drain()
            numbers += numbers_of(events)
            until(lambda: publisher.count > numbers[-1] + 10, "more is published")
            until(lambda: not is_subscribed(topic), "it is unsubscribed")
        assert numbers == list(range(1, numbers[-1] + 1))
        assert client.status().dropped == 0

    def test_leaves_other_callbacks_alone(self, feed: Feed) -> None:
        with feed.client.threat_events(feed.topic) as events:
            feed.add(receiver := Receiver())
            feed.publish(range(3))
            receiver.until_received(2)
            events.drain()
            assert numbers_of(events) == [0, 1, 2]
            feed.publish([3])
            receiver.until_received(3)
        assert feed.client.status().dropped == 0

    def test_lets_a_callback_be_added_again(self, feed: Feed) -> None:
        with feed.client.threat_events(feed.topic) as events:
            events.drain()
            assert numbers_of(events) == []
            feed.add(receiver := Receiver())
            feed.publish([1])
            receiver.until_received(1)

    def test_covers_all_topics_of_the_stream(self, feed: Feed) -> None:
        with feed.client.threat_events(feed.topic) as events:
            feed.add(events, "/other")
            feed.publish([1])
            feed.publish([2], "/other")
            until(lambda: events.buffered == 2, "both are there")
            events.drain()
            assert numbers_of(events) == [1, 2]
            until(lambda: not feed.client.status().subscribed, "both are unsubscribed")

    @pytest.mark.parametrize("break_it", [LocalFabric.freeze, LocalFabric.stop])
    def test_does_not_need_a_broker(self, topic: str, break_it: Callable[[LocalFabric], object]) -> None:
        with LocalFabric() as fabric, DxlClient(fabric.client_config()) as dxl_client:
            dxl_client.connect()
            client = CommonThreatEventClient(dxl_client)
            with client.threat_events(topic) as events:
                publish_numbers(dxl_client, [1], topic)
                until(lambda: events.buffered == 1, "it is there")
                break_it(fabric)
                events.drain()
                assert numbers_of(events) == [1]
                fabric.stop()

    def test_works_in_a_signal_handler(self, fabric: LocalFabric, dxl_client: DxlClient, topic: str) -> None:
        with running(ON_SIGTERM, fabric.config_file, topic) as process:
            until_printed(process, "ready")
            publish_numbers(dxl_client, range(100), topic)
            until_printed(process, "99")
            process.send_signal(signal.SIGTERM)
            output, errors = process.communicate("go on\n", timeout=30)
        assert output.splitlines() == [" ".join(map(str, range(100))), "dropped 0"]
        assert "Traceback" not in errors

    def test_ends_a_redundant_stream(self, connect: Connect, feed: Feed) -> None:
        with redundant_threat_events([connect(), connect()], feed.topic) as events:
            feed.publish(range(100))
            numbers = [number_of(events.get(timeout=30)[0])]
            events.drain()
            numbers += numbers_of(events)
        assert numbers == list(range(len(numbers)))

    def test_ends_an_asynchronous_stream(self, feed: Feed) -> None:
        async def numbers_until_drained() -> list[int]:
            async with feed.client.async_threat_events(feed.topic, max_buffered=10) as events:
                feed.publish(range(100))
                numbers = [number_of((await events.get(timeout=30))[0])]
                events.drain()
                return numbers + [number_of(threat_event) async for threat_event, _ in events]

        numbers = asyncio.run(asyncio.wait_for(numbers_until_drained(), 30))
        assert numbers == list(range(len(numbers)))
