"""Records the events that DxlClients and callbacks receive during broker restarts, and waits for recovery."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.receiving import Publisher, number_of
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient, Gap, ThreatEventStream


class Tap(EventCallback):
    """Records each event that reaches a DxlClient and the time of its first arrival."""

    def __init__(self, dxl_client: DxlClient, topic: str) -> None:
        super().__init__()
        self.numbers: list[int] = []
        self.times: dict[int, datetime] = {}
        dxl_client.add_event_callback(topic, self)

    def on_event(self, event: Event) -> None:
        number = number_of(json.loads(event.payload))
        self.numbers.append(number)
        self.times.setdefault(number, datetime.now(timezone.utc))

    @property
    def last(self) -> int:
        return self.numbers[-1] if self.numbers else 0


class Consumer:
    """A named callback or loop that handles the events on a topic and records the gaps.

    :param seconds: the time that the consumer spends on each event
    """

    def __init__(self, name: str, dxl_client: DxlClient, topic: str, seconds: float = 0.0) -> None:
        self.name, self.topic, self.seconds = name, topic, seconds
        self.handled: list[int] = []
        self.gaps: list[tuple[datetime, datetime]] = []
        self.client = CommonThreatEventClient(dxl_client, self._on_gap)

    def _handle(self, threat_event: dict[str, Any], _: Event) -> None:
        time.sleep(self.seconds)
        self.handled.append(number_of(threat_event))

    def _on_gap(self, gap: Gap) -> None:
        if gap.end is not None:
            self.gaps.append((gap.start, gap.end))

    @property
    def is_settled(self) -> bool:
        status = self.client.status()
        return status.gaps == len(self.gaps) and status.subscribed == (self.topic,)

    @contextmanager
    def listening(self) -> Iterator[None]:
        with self.client:
            if "callback" in self.name:
                self.client.add_threat_event_callback(self._handle, self.topic)
                yield
            else:
                with self.client.threat_events(self.topic) as events, looping(events, self._handle):
                    yield


@contextmanager
def looping(events: ThreatEventStream, handle: Callable[[dict[str, Any], Event], object]) -> Iterator[None]:
    """Loop over a stream on another thread. Before the loop ends, it handles all events that have arrived."""

    def loop() -> None:
        for threat_event, event in events:
            handle(threat_event, event)

    thread = threading.Thread(target=loop)
    thread.start()
    yield
    events.close()
    thread.join()


def until_settled(publisher: Publisher, taps: list[Tap], timeout: float = 30.0) -> None:
    """Wait until no client is reconnecting and events reach every tap."""
    settled = False
    while not settled:
        until(lambda: not reconnecting(), "all clients are connected", timeout)
        number = publisher.count + 1
        until(lambda: all(tap.last >= number for tap in taps), f"event {number} has arrived", timeout)  # noqa: B023
        # Wait again if a client has begun to reconnect since the last check.
        settled = not reconnecting()


def reconnecting() -> bool:
    """Return True if a dxlclient thread is connecting or disconnecting."""
    functions = ("_on_disconnect_run)", "_connect_thread_main)", "_on_connect_run)")
    threads = [thread for thread in threading.enumerate() if thread.name.endswith(functions)]
    return any(not _is_left_over(thread) for thread in threads)


def _is_left_over(thread: threading.Thread) -> bool:
    """Return True if a thread is stuck waiting on its queue because its client was destroyed."""
    arguments = vars(thread).get("_args", ())
    return any(isinstance(one, DxlClient) and vars(one)["_destroyed"] for one in arguments)
