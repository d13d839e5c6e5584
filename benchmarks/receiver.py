"""Measures the cost of receiving events through different kinds of callbacks and streams.

``bench.py`` starts this process. The process prints JSON objects, one per line: measurement results, and
requests to publish events.
"""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig
from dxlclient.message import Event

from dxlthreateventclient import (
    AsyncThreatEventStream,
    CommonThreatEventCallback,
    CommonThreatEventClient,
)
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC as TOPIC

GATE_TOPIC = "/dxlthreateventclient/bench/gate"
"""An event on this topic blocks dxlclient's worker thread until the whole burst has been published."""

# A variant is a context manager that calls done() for each event received while the context is open.
Variant = Callable[[DxlClient, Callable[[Event], None]], Any]


@contextmanager
def bare(dxl_client: DxlClient, done: Callable[[Event], None]) -> Iterator[None]:
    """Receive events with a bare dxlclient callback that decodes nothing."""

    class Bare(EventCallback):
        def on_event(self, event: Event) -> None:
            done(event)

    with added(dxl_client, [Bare()]):
        yield


def bare_decoding(decode: Callable[[bytes], object], callbacks: int = 1) -> Variant:
    """Receive events with bare dxlclient callbacks that decode the payload themselves."""

    class Decoding(EventCallback):
        def __init__(self, done: Callable[[Event], None]) -> None:
            super().__init__()
            self.done = done

        def on_event(self, event: Event) -> None:
            decode(event.payload)
            self.done(event)

    return lambda dxl_client, done: added(dxl_client, [Decoding(done) for _ in range(callbacks)])


@contextmanager
def added(dxl_client: DxlClient, callbacks: list[EventCallback], topic: str = TOPIC) -> Iterator[None]:
    """Add bare callbacks and remove them when the context ends."""
    for callback in callbacks:
        dxl_client.add_event_callback(topic, callback)
    try:
        yield
    finally:
        for callback in callbacks:
            dxl_client.remove_event_callback(topic, callback)


class Gate(EventCallback):
    """Blocks dxlclient's worker thread until the gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = threading.Event()

    def on_event(self, event: Event) -> None:
        """Wait until the gate is open."""
        self.is_open.wait()


def ours(callbacks: int) -> Variant:
    """Receive events with this library's callbacks."""

    class Ours(CommonThreatEventCallback):
        def __init__(self, done: Callable[[Event], None]) -> None:
            super().__init__()
            self.done = done

        def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
            self.done(original_event)

    @contextmanager
    def receive(dxl_client: DxlClient, done: Callable[[Event], None]) -> Iterator[None]:
        with CommonThreatEventClient(dxl_client) as client:
            for _ in range(callbacks):
                client.add_epo_threat_event_response_callback(Ours(done))
            yield

    return receive


@contextmanager
def stream(dxl_client: DxlClient, done: Callable[[Event], None]) -> Iterator[None]:
    """Receive events by looping over a stream on a separate thread."""

    def loop() -> None:
        for _, original_event in events:
            done(original_event)

    thread = threading.Thread(target=loop)
    with CommonThreatEventClient(dxl_client) as client, client.threat_events() as events:
        thread.start()
        yield
        events.close()
        thread.join()


@contextmanager
def async_stream(dxl_client: DxlClient, done: Callable[[Event], None]) -> Iterator[None]:
    """Receive events by looping over an asyncio stream on a separate thread."""
    opened: list[AsyncThreatEventStream] = []
    is_open = threading.Event()

    async def loop() -> None:
        async with client.async_threat_events() as events:
            opened.append(events)
            is_open.set()
            async for _, original_event in events:
                done(original_event)

    thread = threading.Thread(target=lambda: asyncio.run(loop()))
    with CommonThreatEventClient(dxl_client) as client:
        thread.start()
        is_open.wait()
        yield
        opened[0].close()
        thread.join()


VARIANTS: dict[str, tuple[Variant, int]] = {
    "bare callback, decodes nothing": (bare, 1),
    "bare callback, json.loads": (bare_decoding(json.loads), 1),
    "bare callback, orjson.loads": (bare_decoding(orjson.loads), 1),
    "our callback": (ours(1), 1),
    "our stream": (stream, 1),
    "our stream for asyncio": (async_stream, 1),
    "4 bare callbacks, json.loads": (bare_decoding(json.loads, 4), 4),
    "4 callbacks of ours": (ours(4), 4),
    "16 bare callbacks, json.loads": (bare_decoding(json.loads, 16), 16),
    "16 callbacks of ours": (ours(16), 16),
}


def measure_burst(dxl_client: DxlClient, name: str, size: int, count: int) -> dict[str, Any]:
    """Return a variant's CPU time and throughput for a burst of events."""
    variant, callbacks = VARIANTS[name]
    missing = count * callbacks
    finished = threading.Event()

    def done(_: Event) -> None:
        nonlocal missing
        missing -= 1
        if not missing:
            finished.set()

    gate = Gate()
    with added(dxl_client, [gate], GATE_TOPIC), variant(dxl_client, done):
        cpu = time.process_time()
        request({"size": size, "count": count})
        sys.stdin.readline()
        # The publisher has finished, so it no longer competes for CPU time.
        wall = time.perf_counter()
        gate.is_open.set()
        if not finished.wait(120):
            raise TimeoutError(
                f"{name}: {missing} of {count * callbacks} calls are missing after 120 seconds"
            )
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"variant": name, "size": size, "cpu": cpu / count, "events_per_second": count / wall}


def measure_latency(dxl_client: DxlClient, name: str, size: int, count: int, rate: float) -> dict[str, Any]:
    """Return the arrival times of events that are published at a steady rate."""
    variant, _ = VARIANTS[name]
    arrivals: dict[str, float] = {}
    finished = threading.Event()

    def done(event: Event) -> None:
        arrivals[event.message_id] = time.monotonic()
        if len(arrivals) == count:
            finished.set()

    with variant(dxl_client, done):
        request({"size": size, "count": count, "rate": rate})
        if not finished.wait(120 + count / rate):
            raise TimeoutError(f"{name}: {len(arrivals)} of {count} events arrived")
    return {"variant": name, "arrivals": arrivals}


def request(what: dict[str, Any]) -> None:
    """Send a request or a result to the publisher as a line of JSON."""
    print(json.dumps(what), flush=True)


def main() -> None:
    """Read measurement requests from standard input, one JSON object per line, and carry them out."""
    with DxlClient(DxlClientConfig.create_dxl_config_from_file(sys.argv[1])) as dxl_client:
        dxl_client.connect()
        for line in sys.stdin:
            order = json.loads(line)
            measure = measure_latency if "rate" in order else measure_burst
            request({"result": measure(dxl_client, **order)})


if __name__ == "__main__":
    main()
