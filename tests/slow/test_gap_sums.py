"""All events published outside the reported gaps arrive, whatever happens to the connection.

One run disturbs all consumers thirty times, with five kinds of disturbances in random order. Meanwhile, a
publisher on a separate connection sends numbered events. The publisher also subscribes to these events and
records when it sends and receives each one. The broker accepts each event between these two times.
Set the GAPS_SEED environment variable to repeat a run, and GAPS_ROUNDS to make a run longer.
"""

import os
import random
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest
import trustme
from dxlclient.broker import Broker
from dxlclient.client_config import DxlClientConfig
from helpers.clients import clients
from helpers.misbehaving import server
from helpers.mosquitto import Mosquitto
from helpers.receiving import Publisher
from helpers.restarting import Consumer, Tap
from helpers.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # A reconnecting dxlclient thread fails if the connection is lost again.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

TOPIC = "/test/gaps"
ROUNDS = int(os.environ.get("GAPS_ROUNDS", "6"))
# Each consumer's processing time per event, in seconds.
CONSUMERS = {"fast callback": 0.0, "slow callback": 0.008, "fast loop": 0.0, "slow loop": 0.008}
# A gap may last this many seconds longer than the disturbance that causes it. A gap starts one second before
# the last packet. dxlclient empties its queue before reconnecting and waits between attempts.
ALLOWANCE = 5.0

_SUBACK = 9


class Proxy:
    """Terminates the clients' TLS connections and forwards packets between the clients and mosquitto."""

    port: int

    def __init__(self, mosquitto: Mosquitto) -> None:
        self.withholds_acknowledgements = False
        self._mosquitto = mosquitto
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.verify_mode = ssl.CERT_REQUIRED
        mosquitto.ca.configure_trust(self._tls)
        mosquitto.ca.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA).configure_cert(self._tls)
        self._clients: set[ssl.SSLSocket] = set()

    def client_config(self) -> DxlClientConfig:
        """Return a new configuration for a client."""
        config = self._mosquitto.client_config()
        config.brokers = [Broker("127.0.0.1", port=self.port)]
        return config

    def reset(self) -> None:
        """Reset all clients' connections."""
        for client in tuple(self._clients):
            with suppress(OSError):
                # Because of SO_LINGER, close() sends an RST packet. shutdown() ends the reading thread.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.shutdown(socket.SHUT_RD)

    def connect(self, connection: socket.socket) -> None:
        # Limit the handshake time, because dxlclient also probes the port without TLS.
        connection.settimeout(5)
        with (
            self._tls.wrap_socket(connection, server_side=True) as client,
            socket.create_connection(("127.0.0.1", self._mosquitto.plain_port)) as broker,
        ):
            self._clients.add(client)
            try:
                self._pass_on(client, broker)
            finally:
                self._clients.discard(client)

    def _pass_on(self, client: ssl.SSLSocket, broker: socket.socket) -> None:
        # Use one thread for both directions, because two threads must not share a TLS connection.
        received = b""
        while True:
            readable = [client] if client.pending() else select.select([client, broker], [], [])[0]
            if client in readable:
                if not (data := client.recv(65536)):
                    return
                broker.sendall(data)
            if broker in readable:
                if not (data := broker.recv(65536)):
                    return
                packets, received = _packets(received + data)
                client.sendall(
                    b"".join(
                        packet
                        for packet in packets
                        if not (packet[0] >> 4 == _SUBACK and self.withholds_acknowledgements)
                    )
                )


def _packets(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the complete MQTT packets and the remaining bytes."""
    packets: list[bytes] = []
    while True:
        # The size follows the first byte, in seven bits per byte. Only the size's last byte is below 128.
        digits = next((data[1:end] for end in range(2, 6) if len(data) >= end and data[end - 1] < 0x80), b"")
        end = 1 + len(digits) + sum((digit & 0x7F) << 7 * place for place, digit in enumerate(digits))
        if not digits or len(data) < end:
            return packets, data
        packets.append(data[:end])
        data = data[end:]


Disturb = Callable[[Mosquitto, Proxy, random.Random], None]


def kill(mosquitto: Mosquitto, between: Proxy, chance: random.Random) -> None:
    mosquitto.stop()
    time.sleep(chance.uniform(0, 0.5))
    mosquitto.start()


def reset(mosquitto: Mosquitto, between: Proxy, chance: random.Random) -> None:
    between.reset()


def freeze(mosquitto: Mosquitto, between: Proxy, chance: random.Random) -> None:
    mosquitto.freeze()
    time.sleep(chance.uniform(0.1, 5))
    mosquitto.thaw()


def withhold(mosquitto: Mosquitto, between: Proxy, chance: random.Random) -> None:
    between.withholds_acknowledgements = True
    between.reset()
    time.sleep(chance.uniform(0.1, 3))
    between.withholds_acknowledgements = False


def flap(mosquitto: Mosquitto, between: Proxy, chance: random.Random) -> None:
    for _ in range(chance.randrange(2, 10)):
        between.reset()
        time.sleep(chance.uniform(0, 0.4))


class Run:
    """The results of a run: the disturbances, the published events, and the events that each consumer
    received."""

    def __init__(self, stack: ExitStack) -> None:
        self.seed = int(os.environ.get("GAPS_SEED", time.time_ns() % 1_000_000))
        self.chance = random.Random(self.seed)
        self.mosquitto = stack.enter_context(Mosquitto())
        self.proxy = Proxy(self.mosquitto)
        self.proxy.port = stack.enter_context(server(self.proxy.connect))
        self.disturbed = 0.0
        self.consumers: list[Consumer] = []
        connect = stack.enter_context(clients(self.proxy.client_config))
        for name, seconds in CONSUMERS.items():
            # Each burst fills the slow callback's queue.
            dxl_client = connect(keep_alive_interval=2, incoming_message_queue_size=20)
            self.consumers.append(Consumer(name, dxl_client, TOPIC, seconds))
            stack.enter_context(self.consumers[-1].listening())
        # The publisher must stay connected while the broker is frozen, because events sent over a closing
        # connection are never published.
        directly = stack.enter_context(clients(self.mosquitto.client_config))(keep_alive_interval=60)
        self.tap = Tap(directly, TOPIC)
        with Publisher(directly, TOPIC) as self.publisher:
            self.disturb()
            self.until_settled()
            for consumer in self.consumers:
                number = self.publisher.count + 1
                until(lambda: max(consumer.handled) >= number, f"{consumer.name} receives", 120)  # noqa: B023
        last = self.publisher.count
        until(lambda: all(last in consumer.handled for consumer in self.consumers), "the last one arrives")

    def disturb(self) -> None:
        disturbances: list[Disturb] = [kill, reset, freeze, withhold, flap] * ROUNDS
        self.chance.shuffle(disturbances)
        for disturb in disturbances:
            # Start some disturbances before dxlclient has recovered from the previous one.
            if self.chance.random() < 0.7:
                self.until_settled()
            # Publish a burst, followed by events at regular intervals.
            for interval in (0.0005, 0.015):
                self.publisher.interval = interval
                time.sleep(self.chance.uniform(0, 0.4))
            begun = time.monotonic()
            disturb(self.mosquitto, self.proxy, self.chance)
            self.disturbed += time.monotonic() - begun

    def until_settled(self) -> None:
        until(lambda: all(consumer.is_settled for consumer in self.consumers), "all listen again", 120)

    def missing(self, consumer: Consumer) -> list[int]:
        """Return the numbers of the events that did not arrive."""
        return sorted(set(range(1, self.publisher.count + 1)) - set(consumer.handled))

    def unexplained(self, consumer: Consumer) -> list[int]:
        """Return the numbers of the events that the consumer missed outside its reported gaps."""
        times = [
            (number, sent := self.publisher.sent[number - 1], self.tap.times.get(number, sent))
            for number in self.missing(consumer)
        ]
        return [
            number
            for number, sent, returned in times
            if not any(start <= returned and sent <= end for start, end in consumer.gaps)
        ]


def gap_seconds(consumer: Consumer) -> float:
    return sum((end - start).total_seconds() for start, end in consumer.gaps)


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with ExitStack() as stack:
        yield Run(stack)


def test_no_event_is_missing_outside_of_the_gaps(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(
            f"\n{run.disturbed:.1f} s of disturbances, {run.publisher.count} events (GAPS_SEED={run.seed}):"
        )
        for consumer in run.consumers:
            print(
                f"  {consumer.name:14}{len(consumer.gaps):4} gaps of {gap_seconds(consumer):5.1f} s,"
                f"{len(run.missing(consumer)):5} events missing,"
                f" {len(run.unexplained(consumer))} of them outside of the gaps"
            )
    assert [(consumer.name, run.unexplained(consumer)) for consumer in run.consumers] == [
        (name, []) for name in CONSUMERS
    ]


def test_the_gaps_are_no_longer_than_the_disturbances_explain(run: Run) -> None:
    explained = run.disturbed + ALLOWANCE * 5 * ROUNDS
    assert run.publisher.count > 50 * ROUNDS
    assert [consumer.name for consumer in run.consumers if gap_seconds(consumer) > explained] == []
