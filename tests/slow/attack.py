"""Attacks the library with random programs over a real broker, and stops at the first broken promise.

A program has up to four threads. They add and remove callbacks, and open streams and close, drain or cancel
them. They also publish, close clients, and freeze and restart the broker. On the main thread, a signal
handler raises at random moments. The start and end times of these calls determine which events each listener
must receive: all events that the broker provably sent while the listener was active, outside the reported
gaps. These events must arrive once, unchanged and in order. No other event must arrive.

Each program is generated from a number, its seed. The next program uses the next number. With --seed N, the
first program is program N again, as far as threads and the broker allow.
"""

import argparse
import asyncio
import faulthandler
import itertools
import json
import logging
import random
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from dxlclient.client import DxlClient
from dxlclient.exceptions import DxlException
from dxlclient.message import Event

from dxlthreateventclient import CommonThreatEventCallback, CommonThreatEventClient, Gap
from dxlthreateventclient.testing import LocalFabric

sys.path.append(str(Path(__file__).parents[1]))
from helpers.clients import clients
from helpers.mosquitto import Mosquitto
from helpers.receiving import number_of, numbered, publish_numbers
from helpers.restarting import Tap
from helpers.waiting import until

PATIENCE = 30.0  # seconds, for each call
WATCHDOG = 150  # seconds, for each program
NEVER = float("inf")
ROOT, MARKERS = "/attack", "/marker"
PUBLISHED_ON = ("", "/a", "/b", "/a/deep")
LISTENED_ON = ("", "/a", "/b", "/#", "/a/#")
BROKERS: dict[str, type[Mosquitto] | type[LocalFabric]] = {"mosquitto": Mosquitto, "fabric": LocalFabric}
# The relative frequency of each action.
ACTIONS = {"publish": 10, "add": 8, "stop": 8, "stream": 4, "settle": 4, "take": 4}
ACTIONS |= {"share": 2, "close": 1, "disturb": 1}


class Alarm(KeyboardInterrupt):
    """Raised by the signal handler."""


class Step(NamedTuple):
    """An action, and the seed of its random choices."""

    thread: int
    action: str
    seed: int


Program = tuple[Step, ...]


def new_program(seed: int) -> Program:
    """Return the program for a seed."""
    chance = random.Random(seed)
    threads = chance.randint(1, 4)
    actions = chance.choices(list(ACTIONS), list(ACTIONS.values()), k=chance.randint(5, 25) * threads)
    return tuple(Step(chance.randrange(threads), action, chance.randrange(10**6)) for action in actions)


def is_closed(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and "the client is closed" in str(error)


@dataclass
class Published:
    """An event, and the two times between which the broker sent it, if it did."""

    number: int
    topic: str
    before: float
    after: float = NEVER


class Client:
    """A client, its gaps, and the time of closing."""

    def __init__(self, dxl_client: DxlClient) -> None:
        self.dxl_client = dxl_client
        self.closing = self.closed = NEVER
        self._gaps: list[Gap] = []
        self.client = CommonThreatEventClient(dxl_client, self._gaps.append)

    @property
    def gaps(self) -> list[tuple[float, float]]:
        return [(gap.start.timestamp(), gap.end.timestamp()) for gap in self._gaps if gap.end]

    def close(self) -> None:
        self.closing = min(self.closing, time.time())
        self.client.close()
        self.closed = min(self.closed, time.time())


class Listener:
    """A callback or a stream, with the times when it listened and its events."""

    def __init__(self, run: "Run", chance: random.Random, kind: str) -> None:
        self.run, self.kind = run, kind
        self.topic, self.client = run.root + chance.choice(LISTENED_ON), chance.choice(run.clients)
        self.odd_only = chance.random() < 0.1
        self.options: dict[str, Any] = {"where": lambda e: number_of(e) % 2} if self.odd_only else {}
        self.ready = self.stopping = self.stopped = NEVER
        self.is_open, self.end = False, "removed"
        self.reader = threading.Thread()
        self.got: list[int] = []
        self.interrupts = 0

    @property
    def stops(self) -> tuple[float, float]:
        """The two times between which the listener stopped listening."""
        return min(self.stopping, self.client.closing), min(self.stopped, self.client.closed)

    @property
    def is_listening(self) -> bool:
        return self.is_open and self.topic in self.client.client.status().subscribed

    def wants(self, published: Published) -> bool:
        topic = self.topic.removesuffix("/#")
        is_below = self.topic != topic and published.topic.startswith(f"{topic}/")
        return (is_below or published.topic == topic) and not (self.odd_only and published.number % 2 == 0)

    def is_due(self, published: Published) -> bool:
        return (
            self.wants(published)
            and self.ready < published.before
            and any(published.after < began and over < self.stops[0] for began, over in self.run.settled)
            and not any(published.before <= e and s <= published.after for s, e in self.client.gaps)
        )

    def record(self, threat_event: Any, event: Event) -> None:
        """Record an event, and any change to it by another callback."""
        published = self.run.published[number_of(threat_event)]
        shown = event.destination_topic, json.loads(event.payload), threat_event, event.broker_ids
        if shown != (published.topic, numbered(published.number), numbered(published.number), []):
            self.run.problems.append(f"{published} came changed to {self}: {shown}")
        self.got.append(published.number)

    def __str__(self) -> str:
        times = f"ready {self.ready}, stops {self.stops}, gaps {self.client.gaps}"
        return (
            f"{self.kind} on {self.topic}, {self.end} ({times}, {self.interrupts} interrupts, got {self.got})"
        )


class Callback(Listener):
    """A callback of one of many kinds."""

    def __init__(self, run: "Run", chance: random.Random) -> None:
        kinds = ["method", "object", "class", "raising", "slow", "forwarding", "one-shot"]
        super().__init__(run, chance, chance.choice(kinds))
        if self.kind == "raising":
            self.options["on_error"] = self._raise_again

        class Subclass(CommonThreatEventCallback):
            on_threat_event = staticmethod(self.handle)

        self.callback: Any = {"object": Subclass(), "class": Subclass}.get(self.kind, self.handle)

    def start(self) -> None:
        self.client.client.add_threat_event_callback(self.callback, self.topic, **self.options)
        self.is_open = True

    def stop(self) -> None:
        self.client.client.remove_threat_event_callback(self.callback, self.topic)

    def handle(self, threat_event_dict: Any, original_event: Event) -> None:
        self.record(threat_event_dict, original_event)
        match self.kind:
            case "raising":
                errors = (ValueError, SystemExit, KeyboardInterrupt, MemoryError)
                raise errors[self.got[-1] % 4]("raised")
            case "slow":
                time.sleep(0.003)
            case "forwarding":
                threat_event_dict.clear()
                original_event.destination_topic, original_event.payload = f"{self.run.root}/a/f", b"changed"
                with suppress(DxlException):
                    self.client.dxl_client.send_event(original_event)
            case "one-shot":
                self.stopping = min(self.stopping, time.time())
                self.stop()
                self.stopped = min(self.stopped, time.time())

    def _raise_again(self, error: BaseException, event: Event) -> None:
        raise SystemExit("raised in the hook")


class Stream(Listener):
    """A stream. A loop on a separate thread takes its events, or the program takes them with get()."""

    def __init__(self, run: "Run", chance: random.Random) -> None:
        super().__init__(run, chance, chance.choice(["taken", "loop", "async"]))
        client, is_taken = self.client.client, self.kind == "taken"
        make = client.async_threat_events if self.kind == "async" else client.threat_events
        size = 10_000 if is_taken else chance.choice([1, 3, 10, 10_000])
        self.stream: Any = make(self.topic, max_buffered=size, **self.options)
        self.end = chance.choice(["close", "drain", "cancel" if self.kind == "async" else "close"])
        self.pause = chance.choice([0.0, 0.001, 0.002])
        if not is_taken:
            self.reader = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        if self.kind != "async":
            self.stream.__enter__()
            self.is_open = True

    def stop(self) -> None:
        if self.is_open:
            if self.end == "cancel":
                until(lambda: not self.stream.buffered, f"all is taken: {self}")
                with suppress(RuntimeError):  # the event loop has ended
                    self._cancel()
            else:
                getattr(self.stream, self.end)()
            if self.kind == "taken":
                self._loop()
        if self.kind != "async":
            self.stream.__exit__(None, None, None)

    def _read(self) -> None:
        with self.run.reporting(), suppress(asyncio.CancelledError):
            asyncio.run(self._async_loop()) if self.kind == "async" else self._loop()

    def _loop(self) -> None:
        for threat_event, event in self.stream:
            self.record(threat_event, event)
            time.sleep(self.pause)

    async def _async_loop(self) -> None:
        task = asyncio.current_task()
        assert task
        self._cancel = partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel)
        async with self.stream:
            self.is_open = True
            async for threat_event, event in self.stream:
                self.record(threat_event, event)
                time.sleep(self.pause)  # noqa: ASYNC251 - as slow handlers do


class World:
    """A broker, a publishing client, and two receiving clients, one of them with a small queue."""

    def __init__(self, stack: ExitStack, broker: str) -> None:
        self.broker: Mosquitto | LocalFabric = BROKERS[broker]()
        stack.enter_context(self.broker)
        connect = stack.enter_context(clients(self.broker.client_config))
        # The broker of a LocalFabric sends an event once for each matching subscription.
        self.copies = 1 if broker == "mosquitto" else len(LISTENED_ON)
        self.numbers = itertools.count()
        self._disturbing = threading.Lock()
        self.publisher, *self.receivers = (
            connect(**settings)
            for settings in ({}, {"keep_alive_interval": 2}, {"incoming_message_queue_size": 5})
        )
        # By itself, dxlclient would wait for two minutes after some losses of the connection.
        self._watched = CommonThreatEventClient(self.publisher, lambda _: None)
        self.handed_out = Tap(self.publisher, f"{ROOT}/#").times
        self.markers = [Tap(client, MARKERS).times for client in (self.publisher, *self.receivers)]

    def disturb(self, chance: random.Random) -> None:
        with self._disturbing:
            if chance.random() < 0.3:
                self.broker.freeze()
                time.sleep(chance.uniform(0, 4))
                self.broker.thaw()
            elif isinstance(self.broker, LocalFabric) and chance.random() < 0.5:
                self.broker.drop_connections()
            else:
                self.broker.stop()
                until(self._is_started, "the broker has its port again")

    def _is_started(self) -> bool:
        # Another program may use the port for a moment.
        with suppress(OSError):
            self.broker.start()
            return True
        return False

    def settle(self) -> tuple[float, float]:
        """Wait until every DxlClient has handled all earlier events. Return the start and end times."""
        began, marker = time.time(), next(self.numbers)

        def is_seen_by_all() -> bool:
            # Send repeatedly, because a connection may have been lost in the meantime.
            with suppress(DxlException):
                publish_numbers(self.publisher, [marker], MARKERS)
            time.sleep(0.02)
            return all(marker in seen for seen in self.markers)

        until(is_seen_by_all, "every DxlClient handles events")
        return began, time.time()


class Run:
    """One run of a program."""

    def __init__(self, world: World, program: Program) -> None:
        self.world, self.program = world, program
        self.root = f"{ROOT}/{next(world.numbers)}"
        self.clients = [Client(world.receivers[number % 2]) for number in range(4)]
        self.all_clients = list(self.clients)
        self.listeners: list[Callback | Stream] = []
        self.published: dict[int, Published] = {}
        self.settled: list[tuple[float, float]] = []
        self.problems: list[str] = []
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter(programs=1, steps=len(program))

    def __call__(self) -> None:
        numbers = {step.thread for step in self.program} - {0}
        others = [threading.Thread(target=self._act, args=[number], daemon=True) for number in numbers]
        for thread in others:
            thread.start()
        self._act(0)
        until(lambda: not any(thread.is_alive() for thread in others), "all threads of the program end")
        for client in self.all_clients:
            client.close()
            until(lambda: len(client.gaps) == client.client.status().gaps, "all gaps are reported")  # noqa: B023
        for topic in PUBLISHED_ON:
            self.publish(topic)
        self.world.settle()
        assert not self.problems, self.problems[0]
        self._check()

    def _act(self, number: int) -> None:
        actor = Actor(self, is_interrupted=number == 0)
        with self.reporting():
            for step in self.program:
                if step.thread == number:
                    getattr(actor, step.action)(random.Random(step.seed))
            self.settled.append(self.world.settle())
            while actor.listeners:
                actor.stop(random.Random(0))

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Report exceptions, except those from closed clients."""
        try:
            yield
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001
            if not is_closed(error):
                self.problems.append("".join(traceback.format_exception(error)))

    def publish(self, below: str) -> None:
        with self.lock:
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
                is_late = published.before > listener.stops[1]
                is_wrong = times > self.world.copies or is_late or not listener.wants(published)
                assert not is_wrong, f"{published} came {times} times to {listener}"
            due = [published for published in self.published.values() if listener.is_due(published)]
            for topic in PUBLISHED_ON:
                numbers = [published.number for published in due if published.topic == self.root + topic]
                came = [number for number in dict.fromkeys(listener.got) if number in numbers]
                assert came == sorted(came), f"the order is wrong: {listener}"
            missing = [published for published in due if published.number not in listener.got]
            # An exception from a signal handler in get() may lose an event.
            assert len(missing) <= listener.interrupts, f"{missing} did not come to {listener}"
            self.counts += Counter(delivered=len(listener.got), due=len(due), missing=len(missing))
        gaps = sum(len(client.gaps) for client in self.all_clients)
        self.counts += Counter(published=len(self.published), listeners=len(self.listeners), gaps=gaps)


class Actor:
    """One thread of a program. Each public method is an action."""

    def __init__(self, run: Run, *, is_interrupted: bool) -> None:
        self.run, self.is_interrupted = run, is_interrupted
        self.listeners: list[Callback | Stream] = []

    def _call(self, chance: random.Random, call: Callable[[], object]) -> bool:
        """Make a call. Return True unless a signal interrupts the call or a closed client refuses it."""
        began, self._is_armed = time.monotonic(), self.is_interrupted and chance.random() < 0.5
        try:
            try:
                if self._is_armed:
                    signal.signal(signal.SIGALRM, self._ring)
                    signal.setitimer(signal.ITIMER_REAL, 1e-5 + chance.random() ** 2 * 0.02)
                call()
            finally:
                self._is_armed = False
        except Alarm:
            self.run.counts["interrupts"] += 1
            return False
        except RuntimeError as error:
            if not is_closed(error):
                raise
            return False
        assert time.monotonic() - began < PATIENCE, f"a call took {time.monotonic() - began} s"
        return True

    def _ring(self, *_: object) -> None:
        if self._is_armed:
            raise Alarm

    def _start(self, chance: random.Random, listener: "Callback | Stream") -> None:
        self.listeners.append(listener)
        self.run.listeners.append(listener)
        if not self._call(chance, listener.start):
            self._stop(chance, listener)
            return
        if isinstance(listener, Stream) and listener.kind != "taken":
            listener.reader.start()
        until(lambda: listener.is_listening or listener.stops[0] < NEVER, f"{listener} listens")
        if listener.is_listening:
            listener.ready = time.time()

    def _stop(self, chance: random.Random, listener: "Callback | Stream") -> None:
        self.listeners.remove(listener)
        listener.stopping = min(listener.stopping, time.time())
        if not self._call(chance, listener.stop):
            listener.interrupts += listener.kind == "taken"  # stop() takes the remaining events of a stream
            listener.stop()
        until(lambda: not listener.reader.is_alive(), f"the loop ends: {listener}")
        listener.stopped = min(listener.stopped, time.time())

    def add(self, chance: random.Random) -> None:
        self._start(chance, Callback(self.run, chance))

    def stream(self, chance: random.Random) -> None:
        self._start(chance, Stream(self.run, chance))

    def stop(self, chance: random.Random) -> None:
        if self.listeners:
            self._stop(chance, chance.choice(self.listeners))

    def share(self, chance: random.Random) -> None:
        """Add and remove a callback that other threads also add and remove."""
        client, topic = chance.choice(self.run.clients).client, f"{self.run.root}/shared"
        self._call(chance, lambda: client.add_threat_event_callback(print, topic))
        self._call(chance, lambda: client.remove_threat_event_callback(print, topic))

    def take(self, chance: random.Random) -> None:
        """Take events from a stream while a signal handler raises."""
        mine = [one for one in self.listeners if isinstance(one, Stream) and one.kind == "taken"]
        if mine:
            listener, taken = chance.choice(mine), list[tuple[Any, Event]]()

            def loop() -> None:
                for _ in range(chance.randrange(50)):
                    taken.append(listener.stream.get(timeout=0.01))

            with suppress(TimeoutError, EOFError):
                listener.interrupts += not self._call(chance, loop)
            for threat_event, event in taken:
                listener.record(threat_event, event)

    def publish(self, chance: random.Random) -> None:
        topic = chance.choice(PUBLISHED_ON)
        for _ in range(chance.randint(1, 20)):
            self.run.publish(topic)

    def settle(self, _: random.Random) -> None:
        self.run.settled.append(self.run.world.settle())

    def close(self, chance: random.Random) -> None:
        number = chance.randrange(len(self.run.clients))
        client = self.run.clients[number]
        self.run.clients[number] = Client(client.dxl_client)
        self.run.all_clients.append(self.run.clients[number])
        self._call(chance, client.close)
        client.close()

    def disturb(self, chance: random.Random) -> None:
        self.run.world.disturb(chance)


class Log(logging.Handler):
    """Collects logged errors, except those that programs provoke on purpose."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.unexpected: list[str] = []

    def emit(self, log_record: logging.LogRecord) -> None:
        message = self.format(log_record)
        if "raised" not in message and "was not handled" not in message:
            self.unexpected.append(message)


def attack(world: World, program: Program, log: Log) -> tuple[str, Counter[str]]:
    """Run a program. Return a description of the broken promise, if any, and the counts of actions."""
    faulthandler.dump_traceback_later(WATCHDOG, exit=True)
    log.unexpected.clear()
    run = Run(world, program)
    try:
        run()
    except (AssertionError, pytest.fail.Exception) as broken:
        log.unexpected.insert(0, str(broken))
    faulthandler.cancel_dump_traceback_later()
    return "".join(log.unexpected[:1]), run.counts


def main() -> None:
    """Attack the library for some time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="(default: a random one)")
    parser.add_argument("--seconds", type=float, default=120.0, help="for how long (default: %(default)s)")
    parser.add_argument("--broker", choices=BROKERS, default="mosquitto", help="(default: %(default)s)")
    options = parser.parse_args()

    log = Log()
    logging.basicConfig(level=logging.CRITICAL, handlers=[logging.NullHandler()])
    logger = logging.getLogger("dxlthreateventclient")
    logger.setLevel(logging.WARNING)
    logger.addHandler(log)
    sys.setswitchinterval(1e-5)  # make Python switch threads as often as possible

    total: Counter[str] = Counter()
    deadline = time.monotonic() + options.seconds
    with ExitStack() as stack:
        world = World(stack, options.broker)
        for seed in itertools.count(options.seed):
            if time.monotonic() > deadline:
                break
            # Print the seed now: if the watchdog ends this process, the last printed seed repeats the hang.
            print(f"seed {seed}", end="\r", flush=True)
            program = new_program(seed)
            problem, counts = attack(world, program, log)
            total += counts
            if problem:
                sys.exit(
                    "\n".join([f"The program of seed {seed} breaks a promise: {problem}", *map(str, program)])
                )
    print(f"from seed {options.seed}:", ", ".join(f"{count} {name}" for name, count in total.items()))


if __name__ == "__main__":
    main()
