"""A broker is repeatedly killed while events flow and slow consumers have a backlog.

A run sends the same events to all consumers. Each consumer uses a separate DxlClient. A run has one phase per
broker start. A client counts as subscribed from the first event that it receives in a phase. Mosquitto sends
each event to all subscribers before it reads the next one. Once a client is subscribed, it must therefore
receive every event that reaches the witness before the kill. Events published between the kill and the
restart may be missed.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from helpers.clients import clients
from helpers.mosquitto import Mosquitto
from helpers.receiving import Publisher
from helpers.restarting import Consumer, Tap, until_settled
from helpers.waiting import until

pytestmark = pytest.mark.slow

TOPIC = "/test/kills"
KILLS = 10
BACKLOG = 60
STEADY, FULL_SPEED = 0.1, 0.001  # seconds between two events.
# Ignore the last few events that the witness receives before a kill. The witness is the fast callback's
# client.
MARGIN = 10


@dataclass
class Phase:
    """Events ``after + 1`` to ``last``, sent between two broker starts."""

    after: int
    last: int = 0


class Run:
    """The results of all kills."""

    def __init__(self, stack: ExitStack) -> None:
        self.mosquitto = stack.enter_context(Mosquitto())
        connect = stack.enter_context(clients(self.mosquitto.client_config))
        self.consumers: dict[str, Consumer] = {}
        self.taps: dict[str, Tap] = {}
        self.phases = [Phase(after=0)]
        self.backlogs: list[int] = []
        """The number of unread events in the stream at each kill."""
        for name, seconds in {"fast callback": 0.0, "slow loop": 0.05, "slow callback": 0.05}.items():
            dxl_client = connect()
            self.taps[name] = Tap(dxl_client, TOPIC)
            self.consumers[name] = Consumer(name, dxl_client, TOPIC, seconds)
            stack.enter_context(self.consumers[name].listening())
        with Publisher(connect(), TOPIC, STEADY) as publisher:
            for _ in range(KILLS):
                # dxlclient hangs for two minutes if the broker dies before acknowledging a subscription.
                until_settled(publisher, list(self.taps.values()), timeout=60)
                self.kill_amid_a_burst(publisher)
            until_settled(publisher, list(self.taps.values()), timeout=60)
        until(
            lambda: all(consumer.handled[-1] == publisher.count for consumer in self.consumers.values()),
            "every consumer has handled the last event",
        )
        self.phases[-1].last = publisher.count

    def backlog(self) -> int:
        return len(self.taps["slow loop"].numbers) - len(self.consumers["slow loop"].handled)

    def kill_amid_a_burst(self, publisher: Publisher) -> None:
        witness = self.taps["fast callback"]
        until(lambda: self.backlog() == 0, "the loop has caught up")
        burst = publisher.count + BACKLOG + MARGIN
        publisher.interval = FULL_SPEED
        until(lambda: witness.last >= burst, "the burst has reached the witness")
        self.backlogs.append(self.backlog())
        self.phases[-1].last = witness.last - MARGIN
        self.mosquitto.stop()
        self.phases.append(Phase(after=publisher.count))
        publisher.interval = STEADY
        self.mosquitto.start()


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with ExitStack() as stack:
        yield Run(stack)


@pytest.mark.parametrize("name", ["fast callback", "slow loop"])
def test_no_event_is_lost_while_the_client_is_subscribed(run: Run, name: str) -> None:
    assert min(run.backlogs) >= BACKLOG // 2
    arrived = run.taps[name].numbers
    due = {
        number
        for phase in run.phases
        for number in range(min(n for n in arrived if n > phase.after), phase.last + 1)
    }
    assert len(due) >= KILLS * BACKLOG
    assert due <= set(arrived)
    assert due <= set(run.consumers[name].handled)


@pytest.mark.parametrize("name", ["fast callback", "slow loop", "slow callback"])
def test_what_reached_dxlclient_is_handled_once_and_in_order(run: Run, name: str) -> None:
    handled = run.consumers[name].handled
    assert handled == run.taps[name].numbers
    assert handled == sorted(set(handled))
