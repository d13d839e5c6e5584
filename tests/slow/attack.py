"""Attacks the library with random programs that use a real broker, and stops at the first broken promise.

A program has up to four threads. The threads add and remove callbacks, and open, close, drain and cancel
streams. The threads also publish events and freeze or restart the broker. The start and end times of these
calls determine the events that each listener must receive: all those that the broker provably sent outside
the reported gaps while the listener was active. These events must arrive exactly once, unchanged and in
order. No other event may arrive.

The programs are generated from consecutive seeds. To repeat program N as closely as thread and broker timing
allows, pass --seed N.
"""

import argparse
import asyncio
import faulthandler
import itertools
import json
import logging
import random
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dxlclient.client import DxlClient
from dxlclient.exceptions import DxlException
from dxlclient.message import Event

from dxlthreateventclient import CommonThreatEventClient, Gap
from dxlthreateventclient.testing import LocalFabric

sys.path.append(str(Path(__file__).parents[1]))
from helpers.clients import clients
from helpers.mosquitto import Mosquitto
from helpers.ports import reserve_port
from helpers.receiving import number_of, numbered, publish_numbers
from helpers.restarting import Tap
from helpers.waiting import until

WATCHDOG = 60  # seconds, for each program
NEVER = float("inf")
ROOT, MARKERS = "/attack", "/marker"
PUBLISHED_ON = ("", "/a", "/b", "/a/deep")
LISTENED_ON = ("", "/a", "/b", "/#", "/a/#")
BROKERS: dict[str, Callable[[], Mosquitto | LocalFabric]] = {
    "mosquitto": Mosquitto,
    "fabric": lambda: LocalFabric(port=reserve_port()),
}
# How often each action is chosen, relative to the others.
ACTIONS = {"publish": 10, "add": 8, "stop": 8, "stream": 4, "settle": 4, "disturb": 1}


@dataclass
class Published:
    """An event and the interval during which the broker may have sent it."""

    number: int
    topic: str
    before: float
    after: float = NEVER


@dataclass
class Client:
    """A client and its gaps."""

    dxl_client: DxlClient
    gaps: list[Gap] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = CommonThreatEventClient(self.dxl_client, self.gaps.append)

    def is_deaf(self, since: float, until: float) -> bool:
        """Return True if a gap overlaps this interval."""
        ended = [(gap.start.timestamp(), gap.end.timestamp()) for gap in self.gaps if gap.end]
        return any(since <= end and start <= until for start, end in ended)


class Listener(ABC):
    """A callback or a stream, the period during which it listened, and the events it received."""

    KINDS: tuple[str, ...] = ()

    def __init__(self, run: "Run", chance: random.Random) -> None:
        self.run, self.kind = run, chance.choice(self.KINDS)
        self.topic, self.client = run.root + chance.choice(LISTENED_ON), chance.choice(run.clients)
        self.ready = self.stopping = self.stopped = NEVER
        self.is_open = False
        self.got: list[int] = []

    @abstractmethod
    def open(self) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    def start(self) -> None:
        self.open()
        until(self.is_listening, f"{self} listens")
        self.ready = time.time()

    def stop(self) -> None:
        self.stopping = min(self.stopping, time.time())
        self.close()
        self.stopped = min(self.stopped, time.time())

    def is_listening(self) -> bool:
        is_subscribed = self.topic in self.client.client.status().subscribed
        return (self.is_open and is_subscribed) or self.stopping < NEVER

    def wants(self, published: Published) -> bool:
        topic = self.topic.removesuffix("/#")
        return published.topic == topic or (topic != self.topic and published.topic.startswith(f"{topic}/"))

    def is_due(self, published: Published) -> bool:
        return (
            self.wants(published)
            and self.ready < published.before
            and any(published.after < began and over < self.stopping for began, over in self.run.settled)
            and not self.client.is_deaf(published.before, published.after)
        )

    def record(self, threat_event: Any, event: Event) -> None:
        """Record an event and report any change that another callback made to it."""
        published = self.run.published[number_of(threat_event)]
        shown = event.destination_topic, json.loads(event.payload), threat_event, event.broker_ids
        if shown != (published.topic, numbered(published.number), numbered(published.number), []):
            self.run.world.problems.append(f"{published} came changed to {self}: {shown}")
        self.got.append(published.number)

    def __str__(self) -> str:
        return f"{type(self).__name__} {vars(self)}"


class Callback(Listener):
    """A callback that raises exceptions, runs slowly, changes and forwards its events, or removes itself."""

    KINDS = ("raising", "slow", "forwarding", "one-shot")

    def open(self) -> None:
        self.client.client.add_threat_event_callback(self.handle, self.topic)
        self.is_open = True

    def close(self) -> None:
        self.client.client.remove_threat_event_callback(self.handle, self.topic)

    def handle(self, threat_event: Any, event: Event) -> None:
        self.record(threat_event, event)
        match self.kind:
            case "raising":
                raise (ValueError, SystemExit)[self.got[-1] % 2]("raised")
            case "slow":
                time.sleep(0.003)
            case "forwarding":
                threat_event.clear()
                event.destination_topic, event.payload = f"{self.run.root}/a/f", b"changed"
                with suppress(DxlException):
                    self.client.dxl_client.send_event(event)
            case "one-shot":
                self.stop()


class Stream(Listener):
    """A stream and a loop that reads its events on a separate thread."""

    KINDS = ("close", "drain", "async close", "async drain", "async cancel")

    def __init__(self, run: "Run", chance: random.Random) -> None:
        super().__init__(run, chance)
        client, self.is_async = self.client.client, "async" in self.kind
        make = client.async_threat_events if self.is_async else client.threat_events
        self.stream: Any = make(self.topic, max_buffered=chance.choice([1, 3, 10, 10_000]))
        self.pause = chance.choice([0.0, 0.001, 0.002])

    def open(self) -> None:
        self.reader = self.run.pool.submit(self._read_async if self.is_async else self._read)

    def close(self) -> None:
        if self.kind == "async cancel":
            until(lambda: not self.stream.buffered, f"all is taken: {self}")
            self._cancel()
        else:
            getattr(self.stream, self.kind.split()[-1])()
        self.reader.result()

    def _read(self) -> None:
        with self.stream:
            self.is_open = True
            for taken in self.stream:
                self.record(*taken)
                time.sleep(self.pause)

    def _read_async(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._loop_async())

    async def _loop_async(self) -> None:
        task = asyncio.current_task()
        assert task
        self._cancel = partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel)
        async with self.stream:
            self.is_open = True
            async for taken in self.stream:
                self.record(*taken)
                time.sleep(self.pause)  # noqa: ASYNC251 - as slow handlers do


class World(logging.Handler):
    """A broker, a publishing client, and two receiving clients, one of them with a small queue."""

    def __init__(self, stack: ExitStack, broker: str) -> None:
        super().__init__(logging.ERROR)
        self.problems: list[str] = []
        self.broker = BROKERS[broker]()
        stack.enter_context(self.broker)
        connect = stack.enter_context(clients(self.broker.client_config))
        # LocalFabric's broker sends an event once for each matching subscription.
        self.copies = 1 if broker == "mosquitto" else len(LISTENED_ON)
        self.numbers = itertools.count()
        self._disturbing = threading.Lock()
        self.publisher = connect()
        self.receivers = connect(keep_alive_interval=2), connect(incoming_message_queue_size=5)
        # Without this client, dxlclient would wait two minutes for a response after some losses.
        self._watched = CommonThreatEventClient(self.publisher, lambda _: None)
        self.handed_out = Tap(self.publisher, f"{ROOT}/#").times
        self.markers = [Tap(client, MARKERS).times for client in (self.publisher, *self.receivers)]

    def emit(self, record: logging.LogRecord) -> None:
        """Record logged errors as problems, except those that programs provoke on purpose."""
        message = self.format(record)
        if "raised" not in message and "was not handled" not in message:
            self.problems.append(message)

    def disturb(self, chance: random.Random) -> None:
        with self._disturbing:
            if chance.random() < 0.3:
                self.broker.freeze()
                time.sleep(chance.uniform(0, 4))
                self.broker.thaw()
            else:
                self.broker.stop()
                self.broker.start()

    def settle(self) -> tuple[float, float]:
        """Wait until every DxlClient has handled all earlier events.

        Return the wait's start and end times.
        """
        began, marker = time.time(), next(self.numbers)

        def is_seen_by_all() -> bool:
            # Send the marker repeatedly, because a connection may have been lost.
            with suppress(DxlException):
                publish_numbers(self.publisher, [marker], MARKERS)
            time.sleep(0.02)
            return all(marker in seen for seen in self.markers)

        until(is_seen_by_all, "every DxlClient handles events")
        return began, time.time()


class Run:
    """One run of a program."""

    def __init__(self, world: World, pool: ThreadPoolExecutor, seed: int) -> None:
        self.world, self.pool, self.seed = world, pool, seed
        self.root = f"{ROOT}/{next(world.numbers)}"
        self.clients = [Client(world.receivers[number % 2]) for number in range(4)]
        self.listeners: list[Callback | Stream] = []
        self.published: dict[int, Published] = {}
        self.settled: list[tuple[float, float]] = []
        self.counts: Counter[str] = Counter(programs=1)
        self._publishing = threading.Lock()

    def __call__(self) -> None:
        threads = range(random.Random(self.seed).randint(1, 4))
        for acting in [self.pool.submit(self._act, thread) for thread in threads]:
            acting.result()
        for client in self.clients:
            client.client.close()
        for topic in PUBLISHED_ON:
            self._publish(topic)
        self.world.settle()
        assert not self.world.problems, self.world.problems[0]
        self._check()

    def _act(self, thread: int) -> None:
        choices, mine = random.Random(f"{self.seed}/{thread}"), list[Callback | Stream]()
        for action in choices.choices(list(ACTIONS), list(ACTIONS.values()), k=choices.randint(5, 25)):
            # Use a new random generator per action, because other threads affect how many choices an action
            # makes.
            chance = random.Random(choices.random())
            match action:
                case "add" | "stream":
                    listener = Callback(self, chance) if action == "add" else Stream(self, chance)
                    self.listeners.append(listener)
                    mine.append(listener)
                    listener.start()
                case "stop" if mine:
                    mine.pop(chance.randrange(len(mine))).stop()
                case "publish":
                    topic = chance.choice(PUBLISHED_ON)
                    for _ in range(chance.randint(1, 20)):
                        self._publish(topic)
                case "settle":
                    self.settled.append(self.world.settle())
                case "disturb":
                    self.world.disturb(chance)
        self.settled.append(self.world.settle())
        for listener in mine:
            listener.stop()

    def _publish(self, below: str) -> None:
        with self._publishing:
            number, topic = next(self.world.numbers), self.root + below
            self.published[number] = Published(number, topic, time.time())
            with suppress(DxlException):  # the connection was lost
                publish_numbers(self.world.publisher, [number], topic)

    def _check(self) -> None:
        for number in self.published.keys() & self.world.handed_out.keys():
            self.published[number].after = self.world.handed_out[number].timestamp()
        for listener in self.listeners:
            for number, times in Counter(listener.got).items():
                published = self.published[number]
                is_late = published.before > listener.stopped
                is_wrong = times > self.world.copies or is_late or not listener.wants(published)
                assert not is_wrong, f"{published} came {times} times to {listener}"
            for topic in PUBLISHED_ON:
                on_topic = [one for one in self.published.values() if one.topic == self.root + topic]
                due = [one.number for one in on_topic if listener.is_due(one)]
                came = [number for number in dict.fromkeys(listener.got) if number in due]
                assert came == due, f"{due} are due in this order to {listener}"
                self.counts["due"] += len(due)
        self.counts += Counter(listeners=len(self.listeners), published=len(self.published))
        self.counts["gaps"] += sum(client.client.status().gaps for client in self.clients)


def main() -> None:
    """Attack the library until the time is up or a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="(default: a random one)")
    parser.add_argument("--seconds", type=float, default=120.0, help="for how long (default: %(default)s)")
    parser.add_argument("--broker", choices=BROKERS, default="mosquitto", help="(default: %(default)s)")
    options = parser.parse_args()

    logging.basicConfig(level=logging.CRITICAL, handlers=[logging.NullHandler()])
    sys.setswitchinterval(1e-5)  # make Python switch threads as often as possible
    total: Counter[str] = Counter()
    deadline = time.monotonic() + options.seconds
    with ExitStack() as stack:
        world = World(stack, options.broker)
        logging.getLogger("dxlthreateventclient").addHandler(world)
        pool = stack.enter_context(ThreadPoolExecutor(200))
        for seed in itertools.count(options.seed):
            if time.monotonic() > deadline:
                break
            # Print the seed first so that the last one printed reproduces any failure or hang.
            print(f"seed {seed}", end="\r", flush=True)
            faulthandler.dump_traceback_later(WATCHDOG, exit=True)
            run = Run(world, pool, seed)
            try:
                run()
            except BaseException:
                # Print the error now, because the other threads may wait until the watchdog ends the process.
                traceback.print_exc()
                raise
            total += run.counts
        faulthandler.cancel_dump_traceback_later()
    print(f"from seed {options.seed}:", ", ".join(f"{count} {name}" for name, count in total.items()))


if __name__ == "__main__":
    main()
