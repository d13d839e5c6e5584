"""Compares this library's cost with that of a bare dxlclient callback.

To run the benchmark, use ``make bench``. All figures in a table come from the same run. In each round, one
process runs every variant once, in random order. For each comparison, the benchmark prints the median ratio
across all rounds, with a 95% bootstrap confidence interval. The receiver starts handling each burst only
after the publisher has finished sending it, so that the two processes do not compete for CPU time. The broker
is mosquitto, or a LocalFabric if mosquitto is not installed.
"""

import argparse
import json
import platform
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from brokers import running_broker
from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig
from dxlclient.message import Event
from receiver import GATE_TOPIC

from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.testing import sample_threat_event

HERE = Path(__file__).parent
MARKER_TOPIC = "/dxlthreateventclient/bench/marker"

BASE = "bare callback, json.loads"
# Each tuple in BURSTS contains a variant, its baseline, the maximum CPU ratio and the minimum throughput
# ratio.
BURSTS: dict[int, list[tuple[str, str, float | None, float | None]]] = {
    size: [
        ("bare callback, decodes nothing", BASE, None, None),
        (BASE, BASE, None, None),
        ("bare callback, orjson.loads", BASE, None, None),
        ("our callback", BASE, *((0.88, 1.0) if size == 5_400 else (1.03, 0.97))),
        ("our stream", BASE, *((1.0, 0.95) if size == 5_400 else (1.15, 0.95))),
        ("our stream for asyncio", BASE, None, None),
    ]
    for size in (600, 5_400, 60_000)
}
BURSTS[5_400] += [
    ("4 bare callbacks, json.loads", "4 bare callbacks, json.loads", None, None),
    ("4 callbacks of ours", "4 bare callbacks, json.loads", None, None),
    ("16 bare callbacks, json.loads", "16 bare callbacks, json.loads", None, None),
    ("16 callbacks of ours", "16 bare callbacks, json.loads", None, None),
]
COUNTS = {600: 3_000, 5_400: 3_000, 60_000: 600}
LATENCY_RATE = 100.0
IMPORT_GOAL = 0.010


def payload_of(size: int) -> bytes:
    """Return a threat event of about ``size`` bytes, with padding in ``otherData``."""
    threat_event = sample_threat_event()
    if size < 1_000:
        threat_event["event"] = {
            key: threat_event["event"][key]
            for key in ("id", "threatName", "threatSeverity", "category", "target")
        }
        threat_event["event"]["otherData"] = {}
    other_data = threat_event["event"]["otherData"]
    while len(json.dumps(threat_event)) < size - 45:
        key = f"sc_evtField{len(other_data)}"
        other_data[key] = f"{{{key}}}"
    return json.dumps(threat_event).encode()


class Marker(EventCallback):
    """A marker message that a client sends to itself.

    When a client receives its own marker message, the broker has already received all of the client's earlier
    messages.
    """

    def __init__(self, client: DxlClient) -> None:
        super().__init__()
        self._client = client
        self._is_back = threading.Event()
        client.add_event_callback(MARKER_TOPIC, self)

    def on_event(self, event: Event) -> None:
        """Record that the marker message has returned."""
        self._is_back.set()

    def wait(self) -> None:
        """Send the marker message and wait until the broker returns it."""
        self._is_back.clear()
        self._client.send_event(Event(MARKER_TOPIC))
        if not self._is_back.wait(60):
            raise TimeoutError("the broker has not returned the marker after 60 seconds")


class Receiver:
    """Runs ``receiver.py`` as a separate process and publishes events to it."""

    def __init__(self, config_file: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, HERE / "receiver.py", config_file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._publisher = DxlClient(DxlClientConfig.create_dxl_config_from_file(str(config_file)))
        self._publisher.connect()
        self._marker = Marker(self._publisher)
        self._payloads = {size: payload_of(size) for size in BURSTS}

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._publisher.destroy()

    def measure(self, **order: Any) -> dict[str, Any]:
        """Return one measurement. The ``sent`` entry maps each message ID to its publication time."""
        assert self._process.stdout
        self._tell(json.dumps(order))
        sent: dict[str, float] = {}
        for line in self._process.stdout:
            said = json.loads(line)
            if "result" in said:
                return {**said["result"], "sent": sent}
            if "rate" in said:
                sent = self._publish(**said)
            else:
                self._publisher.send_event(Event(GATE_TOPIC))
                self._publish(**said)
                self._marker.wait()  # the broker has now received the whole burst
                self._tell("published")
        raise RuntimeError("the receiving process ended")

    def _tell(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _publish(self, size: int, count: int, rate: float | None = None) -> dict[str, float]:
        sent = {}
        start = time.monotonic()
        for number in range(count):
            event = Event(EPO_THREAT_EVENT_RESPONSE_TOPIC)
            event.payload = self._payloads[size]
            if rate:
                time.sleep(max(0.0, start + number / rate - time.monotonic()))
            sent[event.message_id] = time.monotonic()
            self._publisher.send_event(event)
        return sent


def ratio(values: list[float], base: list[float]) -> tuple[float, float, float]:
    """Return the median ratio across all rounds and its 95% confidence interval."""
    ratios = [value / other for value, other in zip(values, base, strict=True)]
    resample = random.Random(0)
    medians = sorted(statistics.median(resample.choices(ratios, k=len(ratios))) for _ in range(2_000))
    return statistics.median(ratios), medians[50], medians[1949]


def bench_bursts(receiver: Receiver, rounds: int, *, is_smoke_test: bool) -> list[dict[str, Any]]:
    """Measure each variant with bursts of every size, and print the results as a table."""
    rows = []
    for size, comparisons in BURSTS.items():
        count = 10 if is_smoke_test else COUNTS[size]
        names = [name for name, *_ in comparisons]
        cpu: dict[str, list[float]] = {name: [] for name in names}
        rate: dict[str, list[float]] = {name: [] for name in names}
        for number in range(rounds + 1):
            for name in random.sample(names, k=len(names)):
                result = receiver.measure(name=name, size=size, count=count)
                if number:  # the first round is a warm-up
                    cpu[name].append(result["cpu"])
                    rate[name].append(result["events_per_second"])
        print(f"\nBursts of {count} events of {len(payload_of(size)) / 1000:.1f} KB, {rounds} rounds\n")
        print(f"{'':32}{'events/s':>9}{'ratio':>22}{'CPU µs/event':>14}{'ratio':>22}  goals")
        for name, base, cpu_goal, rate_goal in comparisons:
            rate_ratio, cpu_ratio = ratio(rate[name], rate[base]), ratio(cpu[name], cpu[base])
            row = {
                "variant": name,
                "size": size,
                "compared_with": base,
                "events_per_second": statistics.median(rate[name]),
                "events_per_second_ratio": rate_ratio,
                "cpu_us": statistics.median(cpu[name]) * 1e6,
                "cpu_ratio": cpu_ratio,
                "cpu_goal": cpu_goal,
                "events_per_second_goal": rate_goal,
            }
            rows.append(row)
            print(
                f"{name:32}{row['events_per_second']:9,.0f}{interval(rate_ratio):>22}"
                f"{row['cpu_us']:14.1f}{interval(cpu_ratio):>22}"
                + (f"  events/s >= {rate_goal}, CPU <= {cpu_goal}" if cpu_goal else "")
            )
    return rows


def interval(figures: tuple[float, float, float]) -> str:
    """Return a ratio and its confidence interval as text."""
    return "{:.3f} [{:.3f}, {:.3f}]".format(*figures)


def bench_latency(receiver: Receiver, seconds: float) -> list[dict[str, Any]]:
    """Publish events at a steady rate, measure the time until the callback runs, and print a table."""
    print(f"\nLatency at {LATENCY_RATE:.0f} events/s of 5.4 KB, from publishing to the callback, in ms\n")
    print(f"{'':32}{'p50':>8}{'p99':>8}{'max':>8}")
    names = ["bare callback, decodes nothing", BASE, "our callback", "our stream", "our stream for asyncio"]
    latencies: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(4):
        for name in random.sample(names, k=len(names)):
            count = int(LATENCY_RATE * seconds / 4)
            result = receiver.measure(name=name, size=5_400, count=count, rate=LATENCY_RATE)
            latencies[name] += [
                (arrival - result["sent"][message_id]) * 1e3
                for message_id, arrival in result["arrivals"].items()
            ]
    rows = []
    for name, values in latencies.items():
        values.sort()
        p50, p99 = values[len(values) // 2], values[len(values) * 99 // 100]
        rows.append({"variant": name, "events": len(values), "p50": p50, "p99": p99, "max": values[-1]})
        print(f"{name:32}{p50:8.2f}{p99:8.2f}{values[-1]:8.2f}")
    return rows


def bench_import(rounds: int) -> dict[str, Any]:
    """Measure and print this library's import time, excluding dxlclient and msgspec."""
    code = (
        "import sys, time, dxlclient.client; sys.modules['msgspec'] = None; start = time.perf_counter();"
        " import dxlthreateventclient; print(time.perf_counter() - start)"
    )
    seconds = statistics.median(
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
        for _ in range(rounds)
    )
    print(f"\nImport beyond dxlclient and msgspec: {seconds * 1e3:.1f} ms, goal < {IMPORT_GOAL * 1e3:.0f} ms")
    return {"seconds": seconds, "goal": IMPORT_GOAL}


def processor() -> str:
    """Return the processor's name, or "unknown"."""
    cpuinfo = Path("/proc/cpuinfo")
    lines: Iterable[str] = cpuinfo.read_text().splitlines() if cpuinfo.exists() else ()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def main() -> None:
    """Run all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="rounds of bursts (default: %(default)s)")
    parser.add_argument("--smoke", action="store_true", help="use few events: shows only that this works")
    parser.add_argument("--output", type=Path, default=HERE / "results.json", help="default: %(default)s")
    options = parser.parse_args()

    with running_broker() as (name, config_file):
        machine = f"{platform.python_implementation()} {platform.python_version()} on {processor()}"
        print(f"{machine}, broker: {name}")
        receiver = Receiver(config_file)
        try:
            results = {
                "machine": machine,
                "broker": name,
                "bursts": bench_bursts(receiver, options.rounds, is_smoke_test=options.smoke),
                "latency_ms": bench_latency(receiver, seconds=1 if options.smoke else 20),
                "import": bench_import(options.rounds),
            }
        finally:
            receiver.close()
    options.output.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nSaved as {options.output}")


if __name__ == "__main__":
    main()
