"""Kafka as librdkafka's mock cluster. ctypes loads the library from confluent-kafka's wheel.

The mock cluster supports neither TLS nor passwords and never loses a replica.
"""

import ctypes
import re
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition


class KafkaCluster:
    """A cluster of brokers on 127.0.0.1, in this process.

    :param directory: the directory for the samples' settings file
    """

    PARTITIONS = 4
    _BROKERS = (1, 2, 3)

    def __init__(self, directory: Path) -> None:
        # Find the library that confluent_kafka has loaded. Its file name depends on the wheel.
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
        """Wait until a topic has ``count`` messages. Return them and check that there are no others."""
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
