"""What shows which events a DxlClient received while its broker restarted, and when all is well again."""

import json
import threading

from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.receiving import Publisher, number_of
from helpers.waiting import until


class Tap(EventCallback):
    """Notes, on dxlclient's worker and at once, which events reached a DxlClient."""

    def __init__(self, dxl_client: DxlClient, topic: str) -> None:
        super().__init__()
        self.numbers: list[int] = []
        dxl_client.add_event_callback(topic, self)

    def on_event(self, event: Event) -> None:
        self.numbers.append(number_of(json.loads(event.payload)))

    @property
    def last(self) -> int:
        return self.numbers[-1] if self.numbers else 0


def until_settled(publisher: Publisher, taps: list[Tap], timeout: float = 30.0) -> None:
    """Return when no client is reconnecting any more and events reach each tap."""
    settled = False
    while not settled:
        until(lambda: not reconnecting(), "all clients are connected", timeout)
        number = publisher.count + 1
        until(lambda: all(tap.last >= number for tap in taps), f"event {number} has arrived", timeout)  # noqa: B023
        # A client that tore down its connection meanwhile has to be waited for again.
        settled = not reconnecting()


def reconnecting(*functions: str) -> bool:
    """Return whether a thread of dxlclient is at work on a connection: Python names each by its function."""
    functions = functions or ("_on_disconnect_run", "_connect_thread_main", "_on_connect_run")
    return any(
        thread.name.partition("(")[2].rstrip(")") in functions and not _is_left_over(thread)
        for thread in threading.enumerate()
    )


def _is_left_over(thread: threading.Thread) -> bool:
    """Return whether its client was destroyed: one that clears up waits forever for that client's queue."""
    arguments = vars(thread).get("_args", ())
    return any(isinstance(one, DxlClient) and vars(one)["_destroyed"] for one in arguments)
