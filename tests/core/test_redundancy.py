"""One stream over several connections: no duplicates, and gaps only while no client is subscribed."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.clients import clients
from helpers.receiving import event, number_of, numbered
from helpers.stub_broker import GRANTED, WITHHELD, StubBroker, stub_broker
from helpers.waiting import until

from dxlthreateventclient import Gap, ThreatEventStream, redundant_threat_events


class Fabric:
    """Two brokers with one client each."""

    def __init__(self, brokers: list[StubBroker], dxl_clients: list[DxlClient]) -> None:
        self.brokers = brokers
        self.dxl_clients = dxl_clients

    def deafen(self, number: int, topic: str) -> None:
        """Make a broker withhold acknowledgements for a topic, and reset the broker's connections."""
        broker = self.brokers[number]
        before = broker.subscribes.count(topic)
        broker.answer = lambda subscribed: WITHHELD if subscribed == topic else GRANTED
        broker.reset()
        until(lambda: broker.subscribes.count(topic) > before, "it waits for the acknowledgement")

    def hear(self, number: int) -> None:
        self.brokers[number].answer = lambda _: GRANTED
        self.brokers[number].acknowledge_withheld()


@pytest.fixture
def fabric_of_two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fabric]:
    with ExitStack() as stack:
        brokers = [stack.enter_context(stub_broker(tmp_path_factory.mktemp("stub"))) for _ in range(2)]
        connects = [stack.enter_context(clients(broker.client_config)) for broker in brokers]
        yield Fabric(brokers, [connect() for connect in connects])


def numbered_event(number: int, topic: str) -> Event:
    return event(json.dumps(numbered(number)).encode(), topic)


def numbers(events: ThreatEventStream, count: int) -> list[int]:
    return [number_of(events.get(timeout=30)[0]) for _ in range(count)]


class TestRedundantThreatEvents:
    def test_brings_each_event_once(self, fabric_of_two: Fabric, topic: str) -> None:
        one, other = fabric_of_two.brokers
        with redundant_threat_events(fabric_of_two.dxl_clients, topic) as events:
            for number, brokers in enumerate([(one, other), (other,), (other, one), (one,), (one, other)]):
                published = numbered_event(number, topic)
                assert [broker.send(published) for broker in brokers] == [1] * len(brokers)
                assert numbers(events, 1) == [number]
            with pytest.raises(TimeoutError):
                events.get(timeout=0.3)

    def test_loses_none_of_a_sender_that_uses_an_id_again(self, fabric_of_two: Fabric, topic: str) -> None:
        published = numbered_event(1, topic)
        with redundant_threat_events(fabric_of_two.dxl_clients, topic) as events:
            for broker in fabric_of_two.brokers:
                for _ in range(3):
                    broker.send(published)
            assert numbers(events, 3) == [1, 1, 1]
            with pytest.raises(TimeoutError):
                events.get(timeout=0.3)

    def test_filters_and_unsubscribes_as_any_stream(self, fabric_of_two: Fabric, topic: str) -> None:
        def is_odd(threat_event: dict[str, Any]) -> bool:
            return bool(number_of(threat_event) % 2)

        with redundant_threat_events(fabric_of_two.dxl_clients, topic, where=is_odd) as events:
            for number in range(4):
                for broker in fabric_of_two.brokers:
                    broker.send(numbered_event(number, topic))
            assert set(numbers(events, 2)) <= {1, 3}
        for broker in fabric_of_two.brokers:
            until(lambda: broker.publish(topic, b"{}") == 0, "it is unsubscribed")  # noqa: B023

    def test_refuses_what_is_not_several_dxl_clients(self, fabric_of_two: Fabric) -> None:
        [one, _] = fabric_of_two.dxl_clients
        for wrong in ([], [one, one]):
            with pytest.raises(ValueError, match="at least one DxlClient, each once, got"):
                redundant_threat_events(wrong)
        with pytest.raises(TypeError, match="must be an instance of dxlclient"):
            redundant_threat_events([one, "b"])  # type: ignore[list-item]


class TestAGap:
    def test_is_the_time_in_which_no_client_is_subscribed(
        self, fabric_of_two: Fabric, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        gaps: list[Gap] = []
        with redundant_threat_events(fabric_of_two.dxl_clients, topic, on_gap=gaps.append) as events:
            fabric_of_two.deafen(0, topic)
            fabric_of_two.brokers[1].send(numbered_event(1, topic))
            assert numbers(events, 1) == [1]
            assert not gaps
            fabric_of_two.deafen(1, topic)
            until(lambda: len(gaps) == 1, "both are deaf")
            fabric_of_two.hear(0)
            until(lambda: len(gaps) == 2, "one hears again")
            fabric_of_two.hear(1)
            fabric_of_two.brokers[0].send(numbered_event(2, topic))
            assert numbers(events, 1) == [2]
        begun, ended = gaps
        assert (begun.start, begun.end, begun.topics) == (ended.start, None, (topic,))
        assert ended.end is not None
        assert "may be missing" not in caplog.text, "the gaps of a single client stay quiet"

    def test_is_not_hidden_by_a_client_that_is_not_connected(
        self, fabric_of_two: Fabric, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        connected, other = fabric_of_two.dxl_clients
        other.disconnect()
        with redundant_threat_events([connected, other], topic):
            fabric_of_two.brokers[0].reset()
            until(lambda: "may be missing from" in caplog.text, "the end is logged, too")

    def test_may_raise_when_it_is_reported(
        self, fabric_of_two: Fabric, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        def on_gap(_: Gap) -> None:
            raise ValueError("a bug")

        with redundant_threat_events(fabric_of_two.dxl_clients[:1], topic, on_gap=on_gap):
            fabric_of_two.brokers[0].reset()
            until(lambda: caplog.text.count("ValueError: a bug") == 2, "both reports are logged")
