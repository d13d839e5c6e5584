"""Handles ePO threat events from a Kafka topic. Events are divided among the workers in a group."""

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import Any

from dxlthreateventclient.payload import decode_threat_event

sys.path.append(str(Path(__file__).parents[1]))
from common import kafka_settings, missing_extra, positive, run, until_stopped

try:
    from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
except ModuleNotFoundError as error:
    sys.exit(missing_extra(error))

TOPIC = "threat-events"
FAILED = "threat-events-failed"
SETTINGS = {
    "group.id": "threat-event-workers",
    "enable.auto.commit": False,  # this program commits each event after handling it
    "auto.offset.reset": "earliest",
    "session.timeout.ms": 10_000,  # if a worker sends no heartbeat for this long, the others take over
}
logger = logging.getLogger(__name__)


def handle(threat_event: dict[str, Any], seconds: int) -> None:
    """Handle a threat event. Your code goes here."""
    print(repr(threat_event["event"]["threatName"]), flush=True)
    time.sleep(seconds)


def keep(producer: Producer, message: Message) -> None:
    """Send a message to the failed-events topic and wait until the cluster acknowledges it."""
    errors: list[Any] = []
    producer.produce(
        FAILED,
        message.value(),
        message.key(),
        headers=message.headers(),
        on_delivery=lambda error, _: errors.append(error),
    )
    while not errors:
        producer.poll(1)
    if errors[0]:
        raise KafkaException(errors[0])  # the event is not committed, so another worker receives it


def show(_: Consumer, partitions: list[TopicPartition]) -> None:
    """Print the partitions that are now assigned to this worker."""
    print("Partitions", *sorted(partition.partition for partition in partitions), flush=True)


def process(consumer: Consumer, producer: Producer, message: Message, seconds: int) -> None:
    """Handle one event, then commit it. If handling fails, send the event to the failed-events topic."""
    message_id = dict(message.headers() or {}).get("message_id")
    message_id = repr(message_id.decode(errors="replace") if isinstance(message_id, bytes) else message_id)
    print(f"Took {message_id}", flush=True)
    try:
        handle(decode_threat_event(message.value() or b""), seconds)
    except Exception:
        logger.exception("%s failed; it goes to the topic %s", message_id, FAILED)
        keep(producer, message)
    try:
        consumer.commit(message=message, asynchronous=False)
    except KafkaException as error:  # this worker was too slow, so another worker now owns the partition
        logger.warning("%s was handled, and will be handled again: %s", message_id, error)
    else:
        print(f"Finished {message_id}", flush=True)


def main() -> None:
    """Work until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "properties", type=kafka_settings, help="a file with librdkafka's settings, one name=value on a line"
    )
    parser.add_argument(
        "--work", metavar="SECONDS", type=positive, default=0, help="sleep this long for each event"
    )
    options = parser.parse_args()
    try:
        consumer = Consumer(SETTINGS | options.properties, logger=logger)
        producer = Producer({"enable.idempotence": True} | options.properties, logger=logger)
    except KafkaException as error:
        parser.error(f"properties: {error}")
    consumer.subscribe([TOPIC], on_assign=show)
    try:
        print("Waiting for threat events...", flush=True)
        for _ in until_stopped():
            message = consumer.poll(1)
            if message is None:
                continue
            if message.error():
                logger.warning("%s", message.error())
            else:
                process(consumer, producer, message, options.work)
    finally:
        consumer.close()  # lets the other workers take over immediately


if __name__ == "__main__":
    run(main)
