"""Measures what this library adds to each event besides decoding it, and fails if that is more than 5 µs.

It adds a hook where messages arrive, and a wrapper around each callback. Both are called with an event in
turns with the bare call; the figures are medians of the differences in CPU time. No broker is needed.
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


def microseconds(call: Callable[..., object], *arguments: object) -> float:
    """Return the CPU time of one call."""
    start = time.thread_time()
    for _ in range(CALLS):
        call(*arguments)
    return (time.thread_time() - start) / CALLS * 1e6


def difference(ours: Callable[..., object], bare: Callable[..., object], *arguments: object) -> float:
    """Return the median of what our call takes longer than the bare one."""
    return statistics.median(
        microseconds(ours, *arguments) - microseconds(bare, *arguments) for _ in range(ROUNDS)
    )


def main() -> None:
    """Measure both, and print them."""
    with LocalFabric() as fabric:
        config = fabric.client_config()
        dxl_client: Any = DxlClient(config)
    event = Event(TOPIC)
    event.payload = b"{}"
    bare = Bare()
    dxl_client._client._on_message = lambda *_: None  # noqa: SLF001
    bare_hook = dxl_client._client._on_message  # noqa: SLF001
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(bare)
        [wrapper] = dxl_client._event_callbacks.callbacks_by_channel[TOPIC]  # noqa: SLF001
        message = SimpleNamespace(topic=TOPIC)
        hook = difference(dxl_client._client._on_message, bare_hook, dxl_client._client, None, message)  # noqa: SLF001
        wrapped = difference(wrapper.on_event, bare.on_event, event)
    dxl_client.destroy()
    print(f"Each event: hook {hook:.2f} µs, wrapper {wrapped:.2f} µs; together at most {BOUND:g} µs")
    sys.exit(hook + wrapped > BOUND)


if __name__ == "__main__":
    main()
