"""A broker that is killed again and again, while events flow and slow consumers have a backlog.

One run feeds all consumers with the same events, each through a DxlClient of its own. It falls into phases,
one for each life of the broker. From the first event of a phase that a client receives it is subscribed. All
that follow are due to it, up to those that have reached the witness when the broker is killed: mosquitto
hands an event to all subscribers before it reads the next. What is published from then until the restart is
on its way while the broker dies, and nobody promises it.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.clients import clients
from helpers.mosquitto import Mosquitto
from helpers.receiving import Publisher, number_of
from helpers.restarting import Tap, until_settled
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient

pytestmark = pytest.mark.slow

TOPIC = "/test/kills"
KILLS = 10
BACKLOG = 60
SLOW = 0.05  # seconds for each event
STEADY, FULL_SPEED = 0.1, 0.001  # seconds between two events
# How many of the last events that reached the witness, which is the fast callback's client, do not count.
MARGIN = 10


class Consumer:
    """What reached a DxlClient, and what its handler, callback or loop, was given of it."""

    def __init__(self, dxl_client: DxlClient) -> None:
        self.dxl_client = dxl_client
        self.tap = Tap(dxl_client, TOPIC)
        self.handled: list[int] = []

    def handle(self, threat_event: dict[str, Any], _: Event) -> None:
        self.handled.append(number_of(threat_event))

    def handle_slowly(self, threat_event: dict[str, Any], event: Event) -> None:
        time.sleep(SLOW)
        self.handle(threat_event, event)

    @property
    def backlog(self) -> int:
        return len(self.tap.numbers) - len(self.handled)

    def due(self, phases: "list[Phase]") -> list[int]:
        """Return the numbers of all events that were published while the client was subscribed."""
        return [
            number
            for phase in phases
            for number in range(min(n for n in self.tap.numbers if n > phase.after), phase.last + 1)
        ]

    def lost(self, phases: "list[Phase]") -> list[int]:
        """Return the numbers of the events that were due and did not reach the DxlClient."""
        return sorted(set(self.due(phases)) - set(self.tap.numbers))


class BareCallback(EventCallback):
    def __init__(self, consumer: Consumer) -> None:
        super().__init__()
        self.consumer = consumer

    def on_event(self, event: Event) -> None:
        self.consumer.handle_slowly(json.loads(event.payload), event)


@contextmanager
def slow_loop(consumer: Consumer, client: CommonThreatEventClient) -> Iterator[None]:
    def loop() -> None:
        for threat_event, event in events:
            consumer.handle_slowly(threat_event, event)

    with client.threat_events(TOPIC) as events:
        thread = threading.Thread(target=loop)
        thread.start()
        yield
        events.close()
        thread.join()


@dataclass
class Phase:
    """The events with numbers above ``after`` and up to ``last``: all from the same life of the broker."""

    after: int
    last: int = 0


@dataclass
class Run:
    """What happened over all kills."""

    consumers: dict[str, Consumer]
    phases: list[Phase] = field(default_factory=lambda: [Phase(after=0)])
    backlogs: list[int] = field(default_factory=list)
    """How many events the stream held untaken at the moment of each kill."""


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with ExitStack() as stack:
        mosquitto = stack.enter_context(Mosquitto())
        connect = stack.enter_context(clients(mosquitto.client_config))
        fast, slow, stream, bare = (Consumer(connect()) for _ in range(4))
        for consumer, handler in ((fast, fast.handle), (slow, slow.handle_slowly)):
            client = stack.enter_context(CommonThreatEventClient(consumer.dxl_client))
            client.add_threat_event_callback(handler, TOPIC)
        bare.dxl_client.add_event_callback(TOPIC, BareCallback(bare))
        stack.enter_context(slow_loop(stream, CommonThreatEventClient(stream.dxl_client)))
        consumers = {"fast callback": fast, "slow loop": stream, "slow callback": slow, "bare callback": bare}
        taps = [consumer.tap for consumer in consumers.values()]

        run = Run(consumers)
        with Publisher(connect(), TOPIC, STEADY) as publisher:
            for _ in range(KILLS):
                # dxlclient hangs for two minutes if the broker dies and owes it a subscription.
                until_settled(publisher, taps, timeout=60)
                kill_amid_a_burst(mosquitto, publisher, run)
            until_settled(publisher, taps, timeout=60)
        until(
            lambda: all(c.tap.last == publisher.count and not c.backlog for c in consumers.values()),
            "every consumer has handled the last event",
        )
        run.phases[-1].last = publisher.count
        yield run


def kill_amid_a_burst(mosquitto: Mosquitto, publisher: Publisher, run: Run) -> None:
    witness, stream = run.consumers["fast callback"].tap, run.consumers["slow loop"]
    until(lambda: stream.backlog == 0, "the loop has caught up")
    burst = publisher.count + BACKLOG + MARGIN
    publisher.interval = FULL_SPEED
    until(lambda: witness.last >= burst, "the burst has reached the witness")
    run.backlogs.append(stream.backlog)
    run.phases[-1].last = witness.last - MARGIN
    mosquitto.stop()
    run.phases.append(Phase(after=publisher.count))
    publisher.interval = STEADY
    mosquitto.start()


def test_each_kill_comes_amid_a_backlog_of_the_stream(run: Run) -> None:
    assert len(run.backlogs) == KILLS
    assert min(run.backlogs) >= BACKLOG // 2


@pytest.mark.parametrize("name", ["fast callback", "slow loop"])
def test_no_event_is_lost_while_the_client_is_subscribed(run: Run, name: str) -> None:
    consumer = run.consumers[name]
    assert len(consumer.due(run.phases)) >= KILLS * BACKLOG
    assert consumer.lost(run.phases) == []
    assert set(consumer.due(run.phases)) <= set(consumer.handled)


@pytest.mark.parametrize("name", ["fast callback", "slow loop", "slow callback"])
def test_what_reached_dxlclient_is_handled_once_and_in_order(run: Run, name: str) -> None:
    consumer = run.consumers[name]
    assert consumer.handled == consumer.tap.numbers
    assert consumer.handled == sorted(set(consumer.handled))


def test_the_same_kills_cost_a_slow_callback_events(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Which shows that they hurt."""
    with capsys.disabled():
        print(f"\nLost over {KILLS} kills of the broker, where slow is {SLOW * 1000:.0f} ms for each event:")
        for name, consumer in run.consumers.items():
            print(f"  {name:14}{len(consumer.lost(run.phases)):5} of {len(consumer.due(run.phases))}")
    assert run.consumers["bare callback"].lost(run.phases), "has dxlclient changed? Then the docs have to"
