"""Every event that was published outside of the reported gaps has arrived, whatever the connection does.

One run disturbs all consumers thirty times, in five ways in random order, while a publisher on a connection
of its own numbers its events and notes when it sends each, and when it gets it back: in between the broker
has taken it, late if it was frozen. GAPS_SEED repeats a run, and GAPS_ROUNDS makes it longer.
"""

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from typing import Any

import pytest
from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.clients import clients
from helpers.mosquitto import Mosquitto
from helpers.proxy import Proxy, proxy
from helpers.receiving import number_of, publish_numbers
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient, Gap

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # A thread of dxlclient that reconnects fails when the connection is lost again meanwhile.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

TOPIC = "/test/gaps"
ROUNDS = int(os.environ.get("GAPS_ROUNDS", "6"))
SLOW = 0.008  # seconds for each event
# What each disturbance explains beside its own time, in seconds: a gap starts one second before the last
# packet; dxlclient waits for its queue, tears the connection down that was restored meanwhile, and waits
# between two tries to connect.
ALLOWANCE = 5.0


class Consumer:
    """What reached a callback or a loop, and which gaps were reported."""

    def __init__(self, name: str, dxl_client: DxlClient) -> None:
        self.name = name
        self.received: set[int] = set()
        self.gaps: list[tuple[datetime, datetime]] = []
        self.client = CommonThreatEventClient(dxl_client, self.on_gap)

    def handle(self, threat_event: dict[str, Any], _: Event) -> None:
        if "slow" in self.name:
            time.sleep(SLOW)
        self.received.add(number_of(threat_event))

    def on_gap(self, gap: Gap) -> None:
        if gap.end is not None:
            self.gaps.append((gap.start, gap.end))

    @property
    def is_settled(self) -> bool:
        status = self.client.status()
        return status.open_gap is None and status.subscribed == (TOPIC,)

    @property
    def gap_seconds(self) -> float:
        return sum((end - start).total_seconds() for start, end in self.gaps)

    def missing(self, published: "Published") -> list[int]:
        """The events that did not arrive."""
        return [number for number in range(len(published.sent)) if number not in self.received]

    def unexplained(self, published: "Published") -> list[int]:
        """Those that did not arrive and were published outside of the gaps."""
        return [number for number in self.missing(published) if not published.within(number, self.gaps)]

    @contextmanager
    def listening(self) -> Iterator[None]:
        if "callback" in self.name:
            with self.client as client:
                client.add_threat_event_callback(self.handle, TOPIC)
                yield
            return

        def loop() -> None:
            for threat_event, event in events:
                self.handle(threat_event, event)

        with self.client, self.client.threat_events(TOPIC) as events:
            thread = threading.Thread(target=loop)
            thread.start()
            yield
            events.close()
            thread.join()


class Published(EventCallback):
    """When events were sent, and when they came back."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[datetime] = []
        self._returned: dict[int, datetime] = {}

    def on_event(self, event: Event) -> None:
        self._returned[number_of(json.loads(event.payload))] = datetime.now(timezone.utc)

    def within(self, number: int, gaps: list[tuple[datetime, datetime]]) -> bool:
        """Whether the broker may have taken an event in one of the gaps."""
        sent = self.sent[number]
        returned = self._returned.get(number, sent)
        return any(start <= returned and sent <= end for start, end in gaps)


class Publisher(threading.Thread):
    """Publishes numbered events, evenly and now and then in bursts, whenever it is connected."""

    def __init__(self, dxl_client: DxlClient, published: Published, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self.sent = published.sent
        dxl_client.add_event_callback(TOPIC, published)
        self.stopped = threading.Event()
        self._dxl_client, self._chance = dxl_client, chance

    def run(self) -> None:
        while not self.stopped.wait(0.015):
            for _ in range(50 if self._chance.random() < 0.01 else 1):
                if self._dxl_client.connected:
                    self.sent.append(datetime.now(timezone.utc))
                    publish_numbers(self._dxl_client, [len(self.sent) - 1], TOPIC)


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
    """What happened: the disturbances, what was published, and what the consumers got of it."""

    def __init__(self) -> None:
        self.seed = int(os.environ.get("GAPS_SEED", time.time_ns() % 1_000_000))
        self.disturbances: list[Disturb] = [kill, reset, freeze, withhold, flap] * ROUNDS
        self.disturbed = 0.0
        self.consumers: list[Consumer] = []
        self.published = Published()

    def disturb(self, mosquitto: Mosquitto, between: Proxy, chance: random.Random) -> None:
        chance.shuffle(self.disturbances)
        for disturb in self.disturbances:
            time.sleep(chance.uniform(0.1, 0.5))
            # Some come while dxlclient is still busy with the one before.
            if chance.random() < 0.7:
                self.until_settled()
            begun = time.monotonic()
            disturb(mosquitto, between, chance)
            self.disturbed += time.monotonic() - begun

    def until_settled(self) -> None:
        until(lambda: all(consumer.is_settled for consumer in self.consumers), "all listen again", 120)

    def until_caught_up(self) -> None:
        """Return when each consumer has got an event that is published from now on."""
        for consumer in self.consumers:
            number = len(self.published.sent)
            until(lambda: max(consumer.received) >= number, f"{consumer.name} receives", 120)  # noqa: B023


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    run = Run()
    chance = random.Random(run.seed)
    with ExitStack() as stack:
        mosquitto = stack.enter_context(Mosquitto())
        between = stack.enter_context(proxy(mosquitto))
        connect = stack.enter_context(clients(between.client_config))
        for name in ("fast callback", "slow callback", "fast loop", "slow loop"):
            # The queue of the slow callback is full in each burst.
            dxl_client = connect(keep_alive_interval=2, incoming_message_queue_size=20)
            consumer = Consumer(name, dxl_client)
            stack.enter_context(consumer.listening())
            run.consumers.append(consumer)
        connect_directly = stack.enter_context(clients(mosquitto.client_config))
        # It outlives a frozen broker: what it sends into a connection that ends was never published.
        publisher = Publisher(connect_directly(keep_alive_interval=60), run.published, chance)
        publisher.start()
        run.disturb(mosquitto, between, chance)
        run.until_settled()
        run.until_caught_up()
        publisher.stopped.set()
        publisher.join()
        run.until_settled()
        last = len(run.published.sent) - 1
        until(lambda: all(last in consumer.received for consumer in run.consumers), "the last one arrives")
        yield run


def test_no_event_is_missing_outside_of_the_gaps(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(
            f"\n{len(run.disturbances)} disturbances of {run.disturbed:.1f} s,"
            f" {len(run.published.sent)} events (GAPS_SEED={run.seed}):"
        )
        for consumer in run.consumers:
            print(
                f"  {consumer.name:14}{len(consumer.gaps):4} gaps of {consumer.gap_seconds:5.1f} s,"
                f"{len(consumer.missing(run.published)):5} events missing,"
                f" {len(consumer.unexplained(run.published))} of them outside of the gaps"
            )
    assert {consumer.name: consumer.unexplained(run.published) for consumer in run.consumers} == {
        consumer.name: [] for consumer in run.consumers
    }


def test_the_gaps_are_no_longer_than_the_disturbances_explain(run: Run) -> None:
    explained = run.disturbed + ALLOWANCE * len(run.disturbances)
    assert len(run.published.sent) > 10 * len(run.disturbances)
    assert {c.name: c.gap_seconds for c in run.consumers if c.gap_seconds > explained} == {}
