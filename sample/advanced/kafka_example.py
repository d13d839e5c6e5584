"""Sends each ePO threat event to a Kafka topic for the workers of a consumer group."""

import argparse
import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any

from dxlclient.client import DxlClient
from dxlclient.message import Event

from dxlthreateventclient import (
    CommonThreatEventClient,
    ThreatEventDecodeError,
    connect,
    load_configuration,
)

sys.path.append(str(Path(__file__).parents[1]))
from common import CONFIG_FILE, handling, kafka_settings, missing_extra, on_stop, run

try:
    from confluent_kafka import KafkaError, KafkaException, Message, Producer
except ModuleNotFoundError as error:
    sys.exit(missing_extra(error))

TOPIC = "threat-events"
REJECTED = "threat-events-rejected"
SETTINGS = {
    "enable.idempotence": True,  # Keep messages in order, and store resent messages only once.
    "message.timeout.ms": 0,  # Resend each message until the cluster acknowledges it.
    "queue.buffering.max.messages": 1000,  # The stream buffers further events.
}
FLUSH_SECONDS = 3
logger = logging.getLogger(__name__)


class Sender:
    """Sends events and tracks each one until the cluster acknowledges it.

    :param producer: the producer that sends the events
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._is_finished = False

    def send(self, topic: str, original_event: Event, key: str | None, reason: str = "") -> None:
        """Pass an event to the producer. While the producer's queue is full, the stream buffers events."""
        payload, message_id = original_event.payload, str(original_event.message_id)
        while True:
            try:
                self._producer.produce(
                    topic,
                    payload if isinstance(payload, bytes) else repr(payload).encode(),
                    key,
                    headers={"message_id": message_id, "reason": reason},
                    on_delivery=partial(_report, message_id),
                )
            except BufferError:
                self._producer.poll(1)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                    raise
                logger.error("Message %r was not sent: %s", message_id, error)  # noqa: TRY400
                return
            else:
                return

    def reject(self, error: ThreatEventDecodeError, original_event: Event) -> None:
        """Send an undecodable payload to a separate topic."""
        if self._is_finished:
            logger.error("Message %r was not sent: %s", original_event.message_id, error.reason)
            return
        logger.warning("Message %r goes to %s: %s", original_event.message_id, REJECTED, error.reason)
        self.send(REJECTED, original_event, None, error.reason)

    def poll(self) -> None:
        """Report messages that the cluster has acknowledged or permanently refused."""
        self._producer.poll(0)

    def finish(self, seconds: float) -> None:
        """Wait for outstanding acknowledgements, then report each event that was not acknowledged."""
        self._is_finished = True
        if self._producer.flush(seconds):
            self._producer.purge()
            self._producer.flush()


def _report(message_id: str, error: KafkaError | None, _: Message) -> None:
    if error:
        logger.error("Message %r was not acknowledged: %s", message_id, error)
    else:
        print(f"Acknowledged {message_id!r}", flush=True)


def host_of(threat_event: dict[str, Any]) -> str | None:
    """Return the host as the event's key, so that each host's events stay in order."""
    match threat_event:
        case {"event": {"target": {"hostName": str(host)}}} if host:
            return host.encode(errors="replace").decode()
        case _:
            return None


def main() -> None:
    """Send each payload unchanged. The workers decode it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "properties", type=kafka_settings, help="a file with librdkafka's settings, one name=value on a line"
    )
    options = parser.parse_args()
    try:
        sender = Sender(Producer(SETTINGS | options.properties, logger=logger))
    except KafkaException as error:
        parser.error(f"properties: {error}")

    with DxlClient(load_configuration(CONFIG_FILE)) as dxl_client:
        connect(dxl_client)
        client = CommonThreatEventClient(dxl_client)
        with client, client.threat_events(on_error=sender.reject) as events:
            on_stop(events.drain)
            print("Waiting for threat events...", flush=True)
            seconds = 0.0  # do not wait for acknowledgements after an interrupt
            try:
                while True:
                    sender.poll()
                    try:
                        threat_event, original_event = events.get(timeout=0.5)
                    except TimeoutError:
                        continue
                    with handling(original_event):
                        sender.send(TOPIC, original_event, host_of(threat_event))
            except EOFError:  # the stream is closed and empty
                seconds = FLUSH_SECONDS
            finally:
                sender.finish(seconds)
                events.close()
                for _, original_event in events:
                    logger.error("Message %r was not sent", original_event.message_id)


if __name__ == "__main__":
    run(main)
