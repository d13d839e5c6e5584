"""The Kafka samples, with killed workers and with failing brokers in librdkafka's mock cluster."""

import ctypes
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from dxlclient.client import DxlClient
from helpers.receiving import publish_payload
from helpers.samples import Start, documented_command, ids, publish, until_passed_on
from helpers.waiting import until

PAGE = "kafkaexample.rst"
PRODUCER = documented_command(PAGE, "kafka_example.py kafka.properties")
WORKER = documented_command(PAGE, "kafka_worker_example.py kafka.properties")
SAME_HOST = {"target": {"hostName": "WS-1"}}


class KafkaCluster:
    """A mock cluster of brokers on 127.0.0.1, run by confluent-kafka's librdkafka and controlled with ctypes.

    The mock cluster supports neither TLS nor passwords and never loses a replica.

    :param directory: the directory for the samples' settings file
    """

    PARTITIONS = 4
    _BROKERS = (1, 2, 3)

    def __init__(self, directory: Path) -> None:
        # Look up the file name of the library that confluent_kafka has loaded, because the name depends on
        # the wheel.
        found = re.search(r"/\S*librdkafka\S*", Path("/proc/self/maps").read_text())
        assert found, "this wheel of confluent-kafka has no librdkafka in a file of its own"
        self._library = ctypes.CDLL(found[0])
        for name in ("conf_new", "new", "mock_cluster_new"):
            getattr(self._library, f"rd_kafka_{name}").restype = ctypes.c_void_p
        self._library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        producer = 0
        self._client = self._call("new", producer, ctypes.c_void_p(self._call("conf_new")), None, 0)
        self._cluster = self._call("mock_cluster_new", ctypes.c_void_p(self._client), len(self._BROKERS))
        self.servers: str = self._on_cluster("mock_cluster_bootstraps").decode()
        for topic in ("threat-events", "threat-events-rejected", "threat-events-failed"):
            self._on_cluster("mock_topic_create", topic.encode(), self.PARTITIONS, 1)
        (directory / "kafka.properties").write_text(
            f"# The samples' defaults are for clusters far away.\nbootstrap.servers = {self.servers}\n"
            "session.timeout.ms = 4000\nheartbeat.interval.ms = 500\n"
        )

    def _call(self, function: str, *arguments: Any) -> Any:
        return getattr(self._library, f"rd_kafka_{function}")(*arguments)

    def _on_cluster(self, function: str, *arguments: Any) -> Any:
        return self._call(function, ctypes.c_void_p(self._cluster), *arguments)

    def go_down(self) -> None:
        """Make all brokers stop answering."""
        for broker in self._BROKERS:
            self._on_cluster("mock_broker_set_down", broker)

    def come_up(self) -> None:
        for broker in self._BROKERS:
            self._on_cluster("mock_broker_set_up", broker)

    def messages(self, topic: str, count: int) -> list[Message]:
        """Wait for ``count`` messages on a topic, check that no others arrive, and return the messages."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "test"})
        consumer.assign([TopicPartition(topic, number, 0) for number in range(self.PARTITIONS)])
        found: list[Message] = []
        while len(found) <= count and (message := consumer.poll(15 if len(found) < count else 1)):
            assert not message.error(), message.error()
            found.append(message)
        consumer.close()
        assert len(found) == count
        return found

    def close(self) -> None:
        self._on_cluster("mock_cluster_destroy")
        self._call("destroy", ctypes.c_void_p(self._client))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KafkaCluster]:
    mock_cluster = KafkaCluster(tmp_path)
    yield mock_cluster
    mock_cluster.close()


class TestKafkaSample:
    def test_sends_what_arrived_with_key_and_message_id(
        self, dxl_client: DxlClient, cluster: KafkaCluster, start: Start
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

    def test_names_an_oversized_event_and_goes_on(
        self, dxl_client: DxlClient, cluster: KafkaCluster, start: Start
    ) -> None:
        """A DXL message can be up to 1,048,576 bytes long, but a Kafka message only 1,000,000."""
        sample = start(PRODUCER)
        oversized = publish_payload(dxl_client, b'{"event": {}}' + b" " * 1_020_000)
        publish(dxl_client, 1)
        sample.until_printed("Acknowledged ", 1)
        sample.end(signal.SIGTERM)
        assert f"Message {oversized.message_id!r} was not sent: " in sample.errors
        cluster.messages("threat-events", 1)

    @pytest.mark.slow
    def test_loses_and_repeats_nothing_while_the_cluster_is_away(
        self, dxl_client: DxlClient, cluster: KafkaCluster, start: Start
    ) -> None:
        """Publish more events than the producer can queue, so that some events wait in the stream."""
        sample = start(PRODUCER)
        published = publish(dxl_client, 10, **SAME_HOST)
        sample.until_printed("Acknowledged ", 10)
        cluster.go_down()
        published += publish(dxl_client, 1500, **SAME_HOST)
        until(lambda: "Connect" in sample.errors, "it logs that the brokers are away")
        cluster.come_up()
        sample.until_printed("Acknowledged ", 1510)
        sample.end()
        sent = cluster.messages("threat-events", 1510)
        assert [dict(message.headers() or {})["message_id"] for message in sent] == [
            event.message_id.encode() for event in published
        ]

    def test_names_each_event_that_was_not_acknowledged_at_the_end(
        self, dxl_client: DxlClient, cluster: KafkaCluster, start: Start
    ) -> None:
        sample = start(PRODUCER)
        done = publish(dxl_client, 5)
        sample.until_printed("Acknowledged ", 5)
        cluster.go_down()
        missing = publish(dxl_client, 20)
        until_passed_on(dxl_client)
        sample.process.send_signal(signal.SIGTERM)
        assert sample.process.wait(timeout=30) == 0
        assert sorted(sample.lines("Acknowledged ")) == sorted(ids(done))
        assert [message_id for message_id in ids(missing) if message_id not in sample.errors] == []


class TestKafkaWorkers:
    @pytest.mark.slow
    def test_share_the_events_and_take_over_from_a_dead_one(
        self, dxl_client: DxlClient, cluster: KafkaCluster, start: Start
    ) -> None:
        (producer, victim, other) = start(PRODUCER), *(start(WORKER, "--work", "1") for _ in range(2))
        until(
            lambda: all(
                len("".join(worker.lines("Partitions ")[-1:]).split()) == 2 for worker in (victim, other)
            ),
            "each worker has two of the four partitions",
        )
        published = [
            event for number in range(8) for event in publish(dxl_client, 1, target={"hostName": str(number)})
        ]
        until(lambda: all(worker.lines("Took ") for worker in (victim, other)), "both have events")
        victim.kill()

        def finished() -> set[str]:
            return {*victim.lines("Finished "), *other.lines("Finished ")}

        until(lambda: finished() == set(ids(published)), "each event is handled", timeout=50)
        for sample in (producer, other):
            sample.end(signal.SIGTERM)
