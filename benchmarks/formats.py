"""Compares the time to convert one event into each format with the time to parse or write its JSON.

The benchmark measures CPU time, not elapsed time, because other programs may be running. A machine's speed
drifts, so the formats take turns and each figure is the median of several rounds.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from dxlthreateventclient.formats import to_cef, to_ecs, to_ocsf
from dxlthreateventclient.testing import sample_threat_event

EVENT_ID = "{a0bd5ca5-5d42-413b-8ce4-eff57935e772}"
CALLS = 50


def events() -> dict[str, dict[str, Any]]:
    """Return a sample event and a copy with a realistic number of keys in ``otherData``."""
    other_data = {f"sc_evtKey{number}": f"{{sc_evtKey{number}}}" for number in range(90)}
    other_data |= {f"sc_evtValue{number}": f"C:\\Program Files\\{number}" for number in range(30)}
    return {"sample": sample_threat_event(), "120 more keys": sample_threat_event(otherData=other_data)}


def measure(threat_event: dict[str, Any], rounds: int) -> dict[str, float]:
    """Return each function's median CPU time per threat event, in microseconds."""
    payload = json.dumps(threat_event)
    functions: dict[str, Callable[[], object]] = {
        "json.loads": lambda: json.loads(payload),
        "json.dumps": lambda: json.dumps(threat_event),
        "to_ecs": lambda: to_ecs(threat_event, event_id=EVENT_ID),
        "to_cef": lambda: to_cef(threat_event, event_id=EVENT_ID),
        "to_ocsf": lambda: to_ocsf(threat_event, event_id=EVENT_ID),
    }
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            started = time.process_time()
            for _ in range(CALLS):
                function()
            taken[name].append((time.process_time() - started) / CALLS * 1e6)
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    """Measure the CPU times, and print a separate table for each event."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40, metavar="N", help="rounds (default: %(default)s)")
    arguments = parser.parse_args()
    for name, threat_event in events().items():
        medians = measure(threat_event, arguments.rounds)
        print(f"{name}, {len(json.dumps(threat_event)) / 1000:.1f} KB")
        for function, median in medians.items():
            print(
                f"  {function:<12} {median:7.1f} µs  {median / medians['json.loads']:5.1f} times json.loads"
            )


if __name__ == "__main__":
    main()
