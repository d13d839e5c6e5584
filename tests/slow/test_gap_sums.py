"""All events published outside the reported gaps have arrived, whatever happens to the connection.

One run disturbs all consumers thirty times, in five ways in random order. Meanwhile, a publisher on a
separate connection sends numbered events, and records when it sends each event and receives it back. Between
these times the broker has accepted the event, possibly late if the broker was frozen. GAPS_SEED repeats a
run, and GAPS_ROUNDS makes a run longer.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from helpers.clients import clients
from helpers.mosquitto import Mosquitto
from helpers.proxy import Proxy, proxy
from helpers.receiving import Publisher
from helpers.restarting import Consumer, Tap
from helpers.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # If the connection is lost again, a reconnecting thread of dxlclient fails.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

TOPIC = "/test/gaps"
ROUNDS = int(os.environ.get("GAPS_ROUNDS", "6"))
# The seconds that each consumer spends on an event.
CONSUMERS = {"fast callback": 0.0, "slow callback": 0.008, "fast loop": 0.0, "slow loop": 0.008}
# The additional gap time allowed for each disturbance, in seconds. A gap starts one second before the last
# packet. dxlclient waits for its queue, closes the connection that was restored in the meantime, and waits
# between two attempts to connect.
ALLOWANCE = 5.0

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
    """The results: the disturbances, the published events, and the consumers with their events."""

    def __init__(self, stack: ExitStack) -> None:
        self.seed = int(os.environ.get("GAPS_SEED", time.time_ns() % 1_000_000))
        self.chance = random.Random(self.seed)
        self.mosquitto = stack.enter_context(Mosquitto())
        self.proxy = stack.enter_context(proxy(self.mosquitto))
        self.disturbed = 0.0
        self.consumers: list[Consumer] = []
        connect = stack.enter_context(clients(self.proxy.client_config))
        for name, seconds in CONSUMERS.items():
            # In each burst, the queue of the slow callback fills up.
            dxl_client = connect(keep_alive_interval=2, incoming_message_queue_size=20)
            self.consumers.append(Consumer(name, dxl_client, TOPIC, seconds))
            stack.enter_context(self.consumers[-1].listening())
        # The publisher must keep its connection while the broker is frozen, because events sent over an
        # ending connection are never published.
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
            # Let some disturbances begin while dxlclient is still busy with the previous one.
            if self.chance.random() < 0.7:
                self.until_settled()
            # A burst, followed by events published at even intervals.
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
        """Return the numbers of missing events that the broker accepted outside the gaps."""
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
