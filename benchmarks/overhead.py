"""Measures this library's overhead per event, excluding decoding.

The benchmark fails if the overhead per event exceeds 5 µs. This library's overhead has two parts: the hooks
for packets and messages, and the code that passes events from dxlclient to each callback. The benchmark uses
medians to compare the CPU times with and without each part. The benchmark needs no broker.
"""

import statistics
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.message import Event

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC as TOPIC
from dxlthreateventclient.testing import LocalFabric

BOUND = 5.0  # microseconds
ROUNDS = 200
CALLS = 200


class Bare(EventCallback):
    """Does nothing."""

    def on_event(self, event: Event) -> None:
        """Do nothing."""


def nothing(*_: object) -> int:
    """Do nothing, in place of a function that a hook would call."""
    return 0


def microseconds(call: Callable[..., object], *arguments: object) -> float:
    """Return the CPU time of one call, in microseconds."""
    start = time.thread_time()
    for _ in range(CALLS):
        call(*arguments)
    return (time.thread_time() - start) / CALLS * 1e6


def difference(ours: Callable[..., object], bare: Callable[..., object], *arguments: object) -> float:
    """Return the median extra CPU time of ``ours`` compared with ``bare``, in microseconds."""
    return statistics.median(
        microseconds(ours, *arguments) - microseconds(bare, *arguments) for _ in range(ROUNDS)
    )


def main() -> None:
    """Measure and print both figures."""
    with LocalFabric() as fabric:
        config = fabric.client_config()
        dxl_client: Any = DxlClient(config)
    event = Event(TOPIC)
    event.payload = b"{}"
    bare = Bare()
    mqtt = dxl_client._client  # noqa: SLF001
    message = SimpleNamespace(topic=TOPIC, payload=b"\x02\x02")

    def read(_: int) -> int:
        mqtt.on_message(mqtt, dxl_client, message)
        return 0

    def one_packet() -> None:
        mqtt.loop_read(1)
        mqtt.loop_misc()

    for name, stub in {"on_message": nothing, "loop_read": read, "loop_misc": nothing}.items():
        setattr(mqtt, name, stub)
    bare_packet = statistics.median(microseconds(one_packet) for _ in range(ROUNDS))
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(bare)
        hooks = statistics.median(microseconds(one_packet) for _ in range(ROUNDS)) - bare_packet
        [dispatcher] = dxl_client._event_callbacks.callbacks_by_channel[""]  # noqa: SLF001
        wrapped = difference(dispatcher.on_event, bare.on_event, event)
    dxl_client.destroy()
    print(f"Each event: hooks {hooks:.2f} µs, way on {wrapped:.2f} µs; together at most {BOUND:g} µs")
    sys.exit(hooks + wrapped > BOUND)


if __name__ == "__main__":
    main()
