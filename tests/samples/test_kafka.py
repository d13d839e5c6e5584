"""The Kafka samples, with librdkafka's mock cluster, whose brokers go away, and workers that are killed."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from dxlclient.client import DxlClient
from helpers.receiving import publish_payload
from helpers.samples import WAITING, Sample, documented_command, until_passed_on
from helpers.waiting import until
from samples.kafka_cluster import KafkaCluster

from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event

PRODUCER, WORKER = "kafka_example.py kafka.properties", "kafka_worker_example.py kafka.properties"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KafkaCluster]:
    mock_cluster = KafkaCluster(tmp_path)
    yield mock_cluster
    mock_cluster.close()


@pytest.fixture
def start(tmp_path: Path, fabric: LocalFabric, cluster: KafkaCluster) -> Iterator[Callable[..., Sample]]:
    """Starts a sample with the command on its page; returns it when it is ready."""
    with ExitStack() as samples:

        def started_sample(script: str, *options: str) -> Sample:
            command = [*documented_command("kafkaexample.rst", script), *options]
            sample = samples.enter_context(Sample(tmp_path, fabric, command))
            sample.until_printed(WAITING)
            return sample

        yield started_sample


def publish(dxl_client: DxlClient, numbers: range, host: str = "{}") -> list[str]:
    """Publish events, by default each of a host of its own; return their message ids."""
    events = [sample_threat_event(target={"hostName": host.format(number)}) for number in numbers]
    return [publish_threat_event(dxl_client, event).message_id for event in events]


def ids(texts: list[str]) -> list[str]:
    return [text.strip("'") for text in texts]


class TestKafkaSample:
    def test_sends_what_arrived_with_key_and_message_id(
        self, dxl_client: DxlClient, cluster: KafkaCluster, start: Callable[..., Sample]
    ) -> None:
        sample = start(PRODUCER)
        payload = b'{"event": {"target": {"hostName": "WS-1"}}}\n\0'
        accepted = publish_payload(dxl_client, payload)
        rejected = publish_payload(dxl_client, b"no JSON")
        sample.until_printed("Acknowledged ", 2)
        sample.end(signal.SIGTERM)
        (message,) = cluster.messages("threat-events", 1)
        assert (message.key(), message.value()) == (b"WS-1", payload)
        assert dict(message.headers() or {})["message_id"] == accepted.message_id.encode()
        (message,) = cluster.messages("threat-events-rejected", 1)
        assert (message.key(), message.value()) == (None, b"no JSON")
        headers = dict(message.headers() or {})
        assert headers["message_id"] == rejected.message_id.encode()
        assert str(headers["reason"]).startswith("b'payload is not JSON")

    @pytest.mark.slow
    def test_loses_and_repeats_nothing_while_the_cluster_is_away(
        self, dxl_client: DxlClient, cluster: KafkaCluster, start: Callable[..., Sample]
    ) -> None:
        """More events than the producer holds, so that some wait in the stream."""
        sample = start(PRODUCER)
        published = publish(dxl_client, range(10), host="WS-1")
        sample.until_printed("Acknowledged ", 10)
        cluster.go_down()
        published += publish(dxl_client, range(1500), host="WS-1")
        until(lambda: "Connect" in sample.errors, "it logs that the brokers are away")
        cluster.come_up()
        sample.until_printed("Acknowledged ", 1510)
        sample.end(signal.SIGINT)
        sent = cluster.messages("threat-events", 1510)
        assert [dict(message.headers() or {})["message_id"] for message in sent] == [
            message_id.encode() for message_id in published
        ]

    @pytest.mark.parametrize(("count", "status"), [(20, 0), pytest.param(1500, 1, marks=pytest.mark.slow)])
    def test_names_each_event_that_was_not_acknowledged_at_the_end(
        self,
        dxl_client: DxlClient,
        cluster: KafkaCluster,
        start: Callable[..., Sample],
        count: int,
        status: int,
    ) -> None:
        sample = start(PRODUCER)
        done = publish(dxl_client, range(5))
        sample.until_printed("Acknowledged ", 5)
        cluster.go_down()
        missing = publish(dxl_client, range(count))
        until_passed_on(dxl_client)
        sample.process.send_signal(signal.SIGTERM)
        assert sample.process.wait(timeout=30) == status
        assert sorted(ids(sample.lines("Acknowledged "))) == sorted(done)
        assert [message_id for message_id in missing if repr(message_id) not in sample.errors] == []


class TestKafkaWorkers:
    @pytest.mark.slow
    def test_share_the_events_and_take_over_from_a_dead_one(
        self, dxl_client: DxlClient, cluster: KafkaCluster, start: Callable[..., Sample]
    ) -> None:
        (producer, victim, other) = start(PRODUCER), *(start(WORKER, "--work", "1") for _ in range(2))
        until(
            lambda: all(
                len("".join(worker.lines("Partitions ")[-1:]).split()) == 2 for worker in (victim, other)
            ),
            "each worker has two of the four partitions",
        )
        published = publish(dxl_client, range(8))
        until(lambda: all(worker.lines("Took ") for worker in (victim, other)), "both have events")
        victim.kill()

        def finished() -> set[str]:
            return {*ids(victim.lines("Finished ")), *ids(other.lines("Finished "))}

        until(lambda: finished() == set(published), "each event is handled", timeout=50)
        for sample in (producer, other):
            sample.end(signal.SIGTERM)
