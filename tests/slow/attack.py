"""Attacks the library with random programs over a real broker, and stops at the first that breaks a promise.

A program has up to four threads. Each adds and removes callbacks of many kinds, opens and leaves streams,
publishes, closes clients and drops all connections; in every other program a signal handler raises at random
moments. What must have been delivered to whom is known from the moments at which these calls began and ended.
Only events count that the broker has provably handed out outside of the reported gaps.

The seed that it prints repeats a run, as far as threads allow: tests/slow/attack.py --seed N --seconds N.
A program that fails is tried again without some of its steps, and the shortest that still fails is printed.
"""

import argparse
import faulthandler
import json
import logging
import random
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.exceptions import DxlException
from dxlclient.message import Event

from dxlthreateventclient import CommonThreatEventCallback, CommonThreatEventClient, Gap, ThreatEventStream
from dxlthreateventclient.testing import LocalFabric

sys.path.append(str(Path(__file__).parents[1]))
from helpers.mosquitto import Mosquitto
from helpers.receiving import number_of, numbered

# No call may take longer, in seconds, and no program.
_PATIENCE = 30.0
_WATCHDOG = 150
_NEVER = float("inf")
_ROOT = "/attack"
_PUBLISHED_ON = ("", "/a", "/b", "/a/deep")
_ADDED_ON = ("", "/a", "/b", "/#", "/a/#")
# How often each action is drawn.
_ACTIONS = {
    "publish": 10,
    "add": 8,
    "remove": 5,
    "settle": 4,
    "stream": 3,
    "leave": 3,
    "take": 3,
    "twice": 2,
    "churn": 2,
    "same": 2,
    "close": 1,
    "drop": 1,
}


BROKERS: dict[str, type[Mosquitto] | type[LocalFabric]] = {"mosquitto": Mosquitto, "fabric": LocalFabric}


class Broken(Exception):  # noqa: N818 - a promise is
    """A promise was broken."""


class Alarm(Exception):  # noqa: N818
    """What the signal handler raises."""


class Step(NamedTuple):
    """An action, and what it draws its choices from."""

    action: str
    choices: tuple[int, ...]


class Program(NamedTuple):
    """The steps of each thread."""

    threads: tuple[tuple[Step, ...], ...]
    with_signals: bool

    def __str__(self) -> str:
        lines = [f"with signals: {self.with_signals}"]
        for number, steps in enumerate(self.threads):
            lines += [f"thread {number}:", *(f"    {step.action} {step.choices}" for step in steps)]
        return "\n".join(lines)


def new_program(seed: str) -> Program:
    """Return the program of a seed."""
    draw = random.Random(seed)
    threads = tuple(
        tuple(
            Step(action, tuple(draw.randrange(1000) for _ in range(4)))
            for action in draw.choices(list(_ACTIONS), list(_ACTIONS.values()), k=draw.randint(5, 25))
        )
        for _ in range(draw.randint(1, 4))
    )
    return Program(threads, with_signals=draw.random() < 0.5)


class Interrupter:
    """Raises Alarm at a random moment of an action, once."""

    def __init__(self, seed: str) -> None:
        self.count = 0
        self._is_armed = False
        self._draw = random.Random(seed)
        signal.signal(signal.SIGALRM, self._raise)

    def _raise(self, *_: object) -> None:
        if self._is_armed:
            self._is_armed = False
            self.count += 1
            raise Alarm

    def _disarm(self) -> None:
        self._is_armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def __call__(self, action: Callable[[], object]) -> bool:
        """Make a call, and return whether it was not interrupted."""
        try:
            try:
                self._is_armed = True
                signal.setitimer(signal.ITIMER_REAL, 1e-5 + self._draw.random() ** 2 * 0.02)
                action()
            finally:
                self._disarm()
        except Alarm:
            self._disarm()
            return False
        return True


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Broken(f"after {_PATIENCE:g} s still not: {what}")
        time.sleep(0.002)


@dataclass
class Published:
    """An event, and when it was published: the broker handed it out between two moments."""

    number: int
    topic: str
    thread: int
    before: float
    after: float = _NEVER


class Client:
    """A client, its gaps, and when it was closed."""

    def __init__(self, dxl_client: DxlClient) -> None:
        self.dxl_client = dxl_client
        self.gaps: list[Gap] = []
        self.closing_at = self.closed_at = _NEVER
        self.client = CommonThreatEventClient(dxl_client, self.gaps.append)

    def close(self) -> None:
        self.closing_at = min(self.closing_at, time.time())
        self.client.close()
        self.closed_at = min(self.closed_at, time.time())

    def was_in_gap(self, published: Published) -> bool:
        return any(
            gap.start.timestamp() <= published.after and published.before <= gap.end.timestamp()
            for gap in self.gaps
            if gap.end is not None
        )


@dataclass(eq=False)
class Added:
    """A callback or a stream on a topic: when it began to listen, when it ended, and what it got."""

    kind: str
    topic: str
    clients: list[Client]
    ready_at: float = _NEVER
    removing_at: float = _NEVER
    removed_at: float = _NEVER
    callback: Any = None
    got: list[int] = field(default_factory=list)

    @property
    def ended(self) -> tuple[float, float]:
        """Between which two moments it was removed, by itself or with its clients."""
        return (
            min(self.removing_at, max(client.closing_at for client in self.clients)),
            min(self.removed_at, max(client.closed_at for client in self.clients)),
        )

    def matches(self, topic: str) -> bool:
        if self.topic.endswith("/#"):
            return topic == self.topic[:-2] or topic.startswith(self.topic[:-1])
        return topic == self.topic

    def __str__(self) -> str:
        return f"{self.kind} on {self.topic or '/'}"


@dataclass
class Equal(CommonThreatEventCallback):
    """Equal to all others, and without a hash."""

    name: str
    record: Callable[[Any, Event], None] = field(compare=False)

    def on_threat_event(self, threat_event_dict: Any, original_event: Event) -> None:
        self.record(threat_event_dict, original_event)


class Marker(EventCallback):
    """Notes that all events before it have been handled."""

    def __init__(self, seen: set[str]) -> None:
        super().__init__()
        self._seen = seen

    def on_event(self, event: Event) -> None:
        self._seen.add(event.destination_topic)


class Echo(EventCallback):
    """Notes that the broker has handed an event out."""

    def __init__(self, handed_out: dict[int, float]) -> None:
        super().__init__()
        self._handed_out = handed_out

    def on_event(self, event: Event) -> None:
        if event.payload.startswith(b"{"):
            self._handed_out.setdefault(number_of(json.loads(event.payload)), time.time())


class World:
    """A broker, a client that publishes, and two that receive.

    mosquitto is killed and started anew; the broker of a LocalFabric drops its connections, and hands an
    event out once for each subscription that matches.
    """

    def __init__(self, stack: ExitStack, broker: str) -> None:
        self.broker: Mosquitto | LocalFabric = BROKERS[broker]()
        stack.enter_context(self.broker)
        self.copies = 1 if broker == "mosquitto" else len(_ADDED_ON)
        self._dropping = threading.Lock()
        self.handed_out: dict[int, float] = {}
        self.markers: list[set[str]] = []
        self.publisher = self._connect(stack)
        # dxlclient alone would wait for two minutes after some losses of the connection.
        self._watched = CommonThreatEventClient(self.publisher, lambda _: None)
        self.publisher.add_event_callback(f"{_ROOT}/#", Echo(self.handed_out))
        self.receivers = [self._connect(stack), self._connect(stack, incoming_message_queue_size=5)]
        for dxl_client in (self.publisher, *self.receivers):
            self.markers.append(set())
            dxl_client.add_event_callback("/marker/#", Marker(self.markers[-1]))

    def _connect(self, stack: ExitStack, **settings: Any) -> DxlClient:
        config = self.broker.client_config()
        for name, value in {"reconnect_delay": 0.1, **settings}.items():
            setattr(config, name, value)
        dxl_client = stack.enter_context(DxlClient(config))
        dxl_client.connect()
        return dxl_client

    def drop_connections(self) -> None:
        with self._dropping:
            if isinstance(self.broker, LocalFabric):
                self.broker.drop_connections()
            else:
                self.broker.kill()
                self.broker.start()

    def settle(self) -> tuple[float, float]:
        """Return when every DxlClient has handled all that was published before, and since when."""
        began, marker = time.time(), f"/marker/{uuid4().hex}"
        deadline = time.monotonic() + _PATIENCE
        while not all(marker in seen for seen in self.markers):
            if time.monotonic() > deadline:
                faulthandler.dump_traceback()
                deaf = [number for number, seen in enumerate(self.markers) if marker not in seen]
                raise Broken(f"DxlClient {deaf} handles no events any more")
            # Again and again: a connection may have been lost meanwhile.
            with suppress(DxlException):
                self.publisher.send_event(Event(marker))
            time.sleep(0.02)
        return began, time.time()


class Run:
    """One run of a program."""

    def __init__(self, world: World, program: Program, seed: str) -> None:
        self.world = world
        self.program = program
        self.root = f"{_ROOT}/{uuid4().hex}"
        self.clients = [Client(world.receivers[number % 2]) for number in range(4)]
        self.all_clients = list(self.clients)
        self.added: list[Added] = []
        self.published: dict[int, Published] = {}
        self.settled: list[tuple[float, float]] = []
        self.problems: list[str] = []
        self.interrupt = Interrupter(seed)
        self.lock = threading.Lock()
        self.shared_callback = lambda *_: None

    def __call__(self) -> None:
        others = [
            threading.Thread(target=self._run, args=[number], daemon=True)
            for number in range(1, len(self.program.threads))
        ]
        for thread in others:
            thread.start()
        self._run(0)
        for thread in others:
            thread.join(2 * _PATIENCE)
            if thread.is_alive():
                raise Broken("a thread hangs")
        if self.problems:
            raise Broken(self.problems[0])
        self._end()
        self._check()

    def _run(self, number: int) -> None:
        try:
            actor = Actor(self, number)
            for step in self.program.threads[number]:
                getattr(actor, step.action)(*step.choices)
            actor.end()
        except Exception as error:
            logging.getLogger("attack").exception("thread %d", number)
            self.problems.append(f"thread {number}: {type(error).__name__}: {error}")

    def _end(self) -> None:
        self.settled.append(self.world.settle())
        for client in self.all_clients:
            client.close()
        for dxl_client in self.world.receivers:
            until(
                lambda: not any(topic.startswith(self.root) for topic in dxl_client.subscriptions),  # noqa: B023
                "all topics are unsubscribed",
            )
        for client in self.all_clients:
            until(
                lambda: sum(gap.end is not None for gap in client.gaps) == client.client.status().gaps,  # noqa: B023
                "all gaps are reported",
            )
        # Nothing may be delivered any more.
        counts = [len(added.got) for added in self.added]
        for topic in _PUBLISHED_ON:
            with suppress(DxlException):
                self.publish(topic, 1, 0)
        self.world.settle()
        if counts != [len(added.got) for added in self.added]:
            raise Broken("something is delivered after all clients were closed")

    def publish(self, below: str, count: int, thread: int) -> None:
        for _ in range(count):
            with self.lock:
                number = len(self.world.handed_out) + len(self.published) + 1_000_000
                while number in self.published or number in self.world.handed_out:
                    number += 1
                published = self.published[number] = Published(number, self.root + below, thread, time.time())
            event = Event(published.topic)
            event.payload = json.dumps(numbered(number)).encode()
            self.world.publisher.send_event(event)

    def _check(self) -> None:
        for published in self.published.values():
            published.after = self.world.handed_out.get(published.number, _NEVER)
        for added in self.added:
            for number, times in Counter(added.got).items():
                self._check_delivered(added, number, times)
            by_thread = defaultdict(list)
            for number in added.got:
                by_thread[self.published[number].thread, self.published[number].topic].append(number)
            if any(numbers != sorted(numbers) for numbers in by_thread.values()):
                raise Broken(f"{added} got events in another order than they were published in")
            for published in self.published.values():
                if self._is_due(added, published) and published.number not in added.got:
                    raise Broken(f"{added} did not get {published}: {self._shown(added)}")

    def _check_delivered(self, added: Added, number: int, times: int) -> None:
        published = self.published[number]
        if not added.matches(published.topic):
            raise Broken(f"{added} got {published}")
        if times > self.world.copies:
            raise Broken(f"{added} got {published} {times} times")
        if published.before > added.ended[1]:
            raise Broken(f"{added} got {published} after it was removed: {self._shown(added)}")

    def _is_due(self, added: Added, published: Published) -> bool:
        return (
            added.matches(published.topic)
            and added.ready_at < published.before
            and any(published.after < began and over < added.ended[0] for began, over in self.settled)
            and not (added.kind == "odd" and published.number % 2 == 0)
            and not any(client.was_in_gap(published) for client in added.clients)
        )

    @staticmethod
    def _shown(added: Added) -> str:
        gaps = [
            (gap.start.timestamp(), gap.end and gap.end.timestamp(), gap.topics)
            for client in added.clients
            for gap in client.gaps
        ]
        return f"ready at {added.ready_at}, ended {added.ended}, gaps {gaps}, got {added.got}"


class Actor:
    """One thread of a program."""

    def __init__(self, run: Run, number: int) -> None:
        self.run = run
        self.number = number
        self.callbacks: list[Added] = []
        self.streams: list[tuple[Added, ThreatEventStream, threading.Thread | None]] = []
        self.is_interrupted = number == 0 and run.program.with_signals

    def _try(self, action: Callable[[], object]) -> bool:
        """Make a call. Return whether it was neither interrupted nor refused by a client that was closed."""
        try:
            if self.is_interrupted:
                return self.run.interrupt(action)
            action()
        except RuntimeError as error:
            if "the client is closed" not in str(error):
                raise
            return False
        return True

    def _new(self, kind: str, topic: int, client: int) -> Added:
        added = Added(kind, self.run.root + _ADDED_ON[topic % len(_ADDED_ON)], [self.run.clients[client % 4]])
        self.run.added.append(added)
        return added

    def _until_ready(self, added: Added) -> None:
        client = added.clients[0]
        until(
            lambda: added.topic in client.client.status().subscribed or added.ended[0] < _NEVER,
            f"{added} listens",
        )
        if added.ended[0] == _NEVER:
            added.ready_at = time.time()

    def add(self, kind: int, topic: int, client: int, _: int) -> None:
        added = self._new(KINDS[kind % len(KINDS)], topic, client)
        added.callback, options = make_callback(self.run, added)
        use = added.clients[0].client
        if self._try(lambda: use.add_threat_event_callback(added.callback, added.topic, **options)):
            self._until_ready(added)
            self.callbacks.append(added)
        else:
            added.removing_at = time.time()
            use.remove_threat_event_callback(added.callback, added.topic)
            added.removed_at = time.time()

    def twice(self, one: int, client: int, *_: int) -> None:
        """Add a callback again, through a client of the same DxlClient."""
        if self.callbacks:
            added = self.callbacks[one % len(self.callbacks)]
            other = next(
                (
                    other
                    for other in self.run.clients
                    if other.dxl_client is added.clients[0].dxl_client and other not in added.clients
                ),
                None,
            )
            if other and added.ended[0] == _NEVER and added.kind != "one-shot":
                # Its removal by the other client is then no end of it, unless it has been removed meanwhile.
                added.ready_at = _NEVER
                added.clients.append(other)
                self._try(lambda: other.client.add_threat_event_callback(added.callback, added.topic))
                self.remove_one(added)

    def remove(self, one: int, client: int, *_: int) -> None:
        if self.callbacks:
            self.remove_one(self.callbacks[one % len(self.callbacks)])

    def remove_one(self, added: Added) -> None:
        use = added.clients[-1].client
        self.callbacks.remove(added)
        added.removing_at = min(added.removing_at, time.time())
        if not self._try(lambda: use.remove_threat_event_callback(added.callback, added.topic)):
            use.remove_threat_event_callback(added.callback, added.topic)
        added.removed_at = min(added.removed_at, time.time())

    def churn(self, kind: int, topic: int, client: int, rounds: int) -> None:
        for _ in range(rounds % 5 + 1):
            self.add(kind, topic, client, 0)
            if self.callbacks:
                self.remove(-1, client)

    def same(self, client: int, *_: int) -> None:
        """Add and remove a callback which other threads add and remove, too."""
        use = self.run.clients[client % 4].client
        topic = f"{self.run.root}/same"
        self._try(lambda: use.add_threat_event_callback(self.run.shared_callback, topic))
        self._try(lambda: use.remove_threat_event_callback(self.run.shared_callback, topic))

    def stream(self, kind: int, topic: int, client: int, size: int) -> None:
        is_mine = kind % 3 == 0
        added = self._new("stream", topic, client)
        stream = added.clients[0].client.threat_events(
            added.topic, max_buffered=10_000 if is_mine else 1 + size % 10
        )
        if not self._try(stream.__enter__):
            added.removing_at = time.time()
            stream.__exit__(None, None, None)
            added.removed_at = time.time()
            return

        def read() -> None:
            for threat_event, event in stream:
                self.run_record(added, threat_event, event)
                time.sleep(size % 3 * 0.001)

        thread = None if is_mine else threading.Thread(target=read, daemon=True)
        if thread:
            thread.start()
        self._until_ready(added)
        self.streams.append((added, stream, thread))

    def run_record(self, added: Added, threat_event: Any, event: Event) -> None:
        record(self.run, added, threat_event, event)

    def take(self, one: int, count: int, *_: int) -> None:
        """Take from a stream of this thread, in a loop and with get(), while a signal handler raises."""
        mine = [(added, stream) for added, stream, thread in self.streams if thread is None]
        if mine:
            added, stream = mine[one % len(mine)]
            taken: list[tuple[dict[str, Any], Event]] = []

            def loop() -> None:
                for _ in range(count % 50):
                    if count % 2:
                        taken.append(stream.get(timeout=0.01))
                    else:
                        if not stream.buffered:
                            break
                        # Not next(): all that is buffered may be forwarded events, which cannot be decoded.
                        taken.append(stream.get(timeout=1))

            with suppress(TimeoutError, EOFError, StopIteration):
                self._try(loop)
            for threat_event, event in taken:
                self.run_record(added, threat_event, event)

    def leave(self, one: int, *_: int) -> None:
        if self.streams:
            added, stream, thread = self.streams.pop(one % len(self.streams))
            added.removing_at = time.time()
            if thread is None:
                stream.close()
                for threat_event, event in stream:
                    self.run_record(added, threat_event, event)
            if not self._try(lambda: stream.__exit__(None, None, None)):
                stream.__exit__(None, None, None)
            added.removed_at = time.time()
            if thread:
                thread.join(_PATIENCE)
                if thread.is_alive():
                    raise Broken("the loop over a stream that was left does not end")

    def publish(self, topic: int, count: int, *_: int) -> None:
        with suppress(DxlException):  # the connection was lost
            self.run.publish(_PUBLISHED_ON[topic % len(_PUBLISHED_ON)], count % 20 + 1, self.number)

    def settle(self, *_: int) -> None:
        self.run.settled.append(self.run.world.settle())

    def close(self, client: int, *_: int) -> None:
        old = self.run.clients[client % 4]
        new = self.run.clients[client % 4] = Client(old.dxl_client)
        self.run.all_clients.append(new)
        old.closing_at = min(old.closing_at, time.time())
        self._try(old.client.close)
        old.close()

    def drop(self, *_: int) -> None:
        self.run.world.drop_connections()

    def end(self) -> None:
        self.settle()
        while self.streams:
            self.leave(0)


KINDS = ["function", "object", "method", "class", "equal", "raising", "slow", "forwarding", "one-shot", "odd"]


def record(run: Run, added: Added, threat_event: Any, event: Event) -> None:
    """Note an event, and whether somebody has changed it."""
    if event.destination_topic.endswith("/forwarded"):
        return
    number = number_of(threat_event)
    published = run.published.get(number)
    if published is None:
        # The last event of an earlier program may arrive late.
        return
    if (event.destination_topic, json.loads(event.payload), event.broker_ids) != (
        published.topic,
        numbered(number),
        [],
    ):
        run.problems.append(f"{added} got {published} changed: {event.destination_topic} {event.payload!r}")
    added.got.append(number)


def make_callback(run: Run, added: Added) -> tuple[Any, dict[str, Any]]:
    """Return a callback of a kind, and the options with which it is added."""

    def note(threat_event: Any, event: Event) -> None:
        record(run, added, threat_event, event)

    class Callback(CommonThreatEventCallback):
        def on_threat_event(self, threat_event_dict: Any, original_event: Event) -> None:
            note(threat_event_dict, original_event)

    def raising(threat_event: Any, event: Event) -> None:
        note(threat_event, event)
        raise (ValueError, SystemExit, KeyboardInterrupt, MemoryError)[number_of(threat_event) % 4]("raised")

    def raise_again(error: BaseException, event: Event) -> None:
        raise SystemExit("raised in the hook")

    def slow(threat_event: Any, event: Event) -> None:
        time.sleep(0.003)
        note(threat_event, event)

    def forwarding(threat_event: Any, event: Event) -> None:
        note(threat_event, event)
        threat_event.clear()
        if not event.destination_topic.endswith("/forwarded"):
            event.destination_topic = f"{run.root}/a/forwarded"
            event.payload = b"changed"
            event.broker_ids.append("mine")
            with suppress(DxlException):
                added.clients[0].dxl_client.send_event(event)

    def one_shot(threat_event: Any, event: Event) -> None:
        note(threat_event, event)
        added.removing_at = min(added.removing_at, time.time())
        added.clients[0].client.remove_threat_event_callback(one_shot, added.topic)
        added.removed_at = min(added.removed_at, time.time())

    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "function": (note, {}),
        "object": (Callback(), {}),
        "method": (Callback().on_threat_event, {}),
        "class": (Callback, {}),
        "equal": (Equal("same", note), {}),
        "raising": (raising, {"on_error": raise_again}),
        "slow": (slow, {}),
        "forwarding": (forwarding, {}),
        "one-shot": (one_shot, {}),
        "odd": (note, {"where": lambda threat_event: number_of(threat_event) % 2}),
    }
    return kinds[added.kind]


class Log(logging.Handler):
    """Collects the errors that no program asks for."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.unexpected: list[str] = []

    def emit(self, log_record: logging.LogRecord) -> None:
        message = self.format(log_record)
        if not any(expected in message for expected in ("raised", "was not handled")):
            self.unexpected.append(message)


def attack(world: World, program: Program, seed: str, log: Log) -> tuple[str, Counter[str]]:
    """Run a program. Return what is broken, or nothing, and what was done."""
    faulthandler.dump_traceback_later(_WATCHDOG, exit=True)
    log.unexpected.clear()
    run = Run(world, program, seed)
    problem = ""
    try:
        run()
    except Broken as broken:
        problem = str(broken)
    if log.unexpected and not problem:
        problem = f"logged: {log.unexpected[0]}"
    faulthandler.cancel_dump_traceback_later()
    return problem, Counter(
        programs=1,
        steps=sum(map(len, program.threads)),
        published=len(run.published),
        delivered=sum(len(added.got) for added in run.added),
        due=sum(run._is_due(added, event) for added in run.added for event in run.published.values()),
        interrupts=run.interrupt.count,
        gaps=sum(len(client.gaps) for client in run.all_clients) // 2,
    )


def shorter(program: Program) -> Iterator[Program]:
    """Return programs without a thread, without half of the steps of one, and without one step."""
    for number, steps in enumerate(program.threads):
        others = program.threads[:number], program.threads[number + 1 :]
        if len(program.threads) > 1:
            yield Program(others[0] + others[1], program.with_signals)
        half = len(steps) // 2
        parts = [steps[:half], steps[half:]] if half > 1 else []
        parts += [steps[:index] + steps[index + 1 :] for index in range(len(steps))]
        for part in parts:
            yield Program((*others[0], part, *others[1]), program.with_signals)


def shrink(program: Program, fails: Callable[[Program], bool], seconds: float) -> Program:
    """Return a shorter program that fails, too, as short as can be found in that time."""
    deadline = time.monotonic() + seconds
    candidates = shorter(program)
    while time.monotonic() < deadline and (candidate := next(candidates, None)):
        # Threads and signals do not always come in the same order.
        if any(fails(candidate) for _ in range(2)):
            program, candidates = candidate, shorter(candidate)
    return program


@contextmanager
def restless() -> Iterator[None]:
    """Let Python switch between threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def main() -> None:
    """Attack for some time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="(default: a random one)")
    parser.add_argument("--seconds", type=float, default=120.0, help="for how long (default: %(default)s)")
    parser.add_argument("--broker", choices=BROKERS, default="mosquitto", help="(default: %(default)s)")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)

    log = Log()
    logging.basicConfig(level=logging.CRITICAL, handlers=[logging.NullHandler()])
    logger = logging.getLogger("dxlthreateventclient")
    logger.setLevel(logging.WARNING)
    logger.addHandler(log)
    logging.getLogger("attack").addHandler(logging.StreamHandler())

    total: Counter[str] = Counter()
    deadline, number = time.monotonic() + options.seconds, 0
    with restless(), ExitStack() as stack:
        world = World(stack, options.broker)
        while time.monotonic() < deadline:
            seed = f"{options.seed}/{number}"
            program = new_program(seed)
            problem, counts = attack(world, program, seed, log)
            total += counts
            number += 1
            if problem:
                print(f"program {seed} breaks a promise: {problem}", flush=True)

                def fails(candidate: Program) -> bool:
                    with ExitStack() as own:
                        return bool(attack(World(own, options.broker), candidate, seed, log)[0])  # noqa: B023

                print(shrink(program, fails, seconds=120), flush=True)
                sys.exit(1)
    print(", ".join(f"{count} {name}" for name, count in total.items()))


if __name__ == "__main__":
    main()
