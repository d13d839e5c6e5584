"""Connected clients for tests."""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from amqtt.broker import Broker
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig
from helpers.waiting import until

Connect = Callable[..., DxlClient]


@contextmanager
def clients(new_config: Callable[[], DxlClientConfig]) -> Iterator[Connect]:
    """A function that takes configuration settings as keyword arguments and returns a new connected client.

    On exit, all clients are destroyed in parallel.
    """
    connected: list[DxlClient] = []

    def connect(**settings: Any) -> DxlClient:
        config = new_config()
        for name, value in {"reconnect_delay": 0.1, **settings}.items():
            setattr(config, name, value)
        dxl_client = DxlClient(config)
        connected.append(dxl_client)
        dxl_client.connect()
        return dxl_client

    try:
        yield connect
    finally:
        # Use daemon threads and a time limit, because destroy() never returns if the client's only worker
        # has died.
        threads = [threading.Thread(target=client.destroy, daemon=True) for client in connected]
        for thread in threads:
            thread.start()
        until(lambda: not any(map(_is_ending, connected, threads)), "each client is destroyed")


def _is_ending(dxl_client: Any, thread: threading.Thread) -> bool:
    with suppress(AttributeError, OSError):  # the client may have ended.
        # Wake the MQTT client, which otherwise checks only once per second whether to stop.
        dxl_client._client._sockpairW.send(b"0")
    return thread.is_alive()


def queue_is_full(dxl_client: DxlClient) -> bool:
    """Return True if dxlclient's incoming-message queue is full (no public API reports this)."""
    full: bool = dxl_client._thread_pool._tasks.full()  # type: ignore[attr-defined]
    return full


def queue_length(dxl_client: DxlClient) -> int:
    """Return the number of messages in dxlclient's queue (no public API reports it)."""
    length: int = dxl_client._thread_pool._tasks.qsize()  # type: ignore[attr-defined]
    return length


def is_subscribed(topic: str) -> bool:
    """Return True if a LocalFabric in this process has the given subscription (no public API reports it)."""
    return any(topic in found.subscriptions for found in gc.get_objects() if type(found) is Broker)
