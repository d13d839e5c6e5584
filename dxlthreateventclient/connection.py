"""Makes the first connection of a DXL client, or says why that is not possible.

``DxlClient.connect()`` says only that it could not connect, and some causes keep it busy forever. So all
brokers are tried first, with sockets of our own.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from dxlclient.broker import Broker
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient._feed.mqtt import why_dead
from dxlthreateventclient._setup import probe
from dxlthreateventclient._setup.certificates import in_words, valid_until
from dxlthreateventclient.exceptions import BrokerConnectionError

__all__ = ["address", "connect", "try_broker"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_TIMEOUT = 15.0  # seconds, for all steps of one try; one step has a third of it


def connect(dxl_client: DxlClient, *, retries: int = 5, seconds_per_try: float = _TIMEOUT) -> None:
    """Connect a ``DxlClient``, or raise an error that says why that is not possible and what to do.

    Each try takes all brokers at the same time. Before the next one it logs the reason as a warning, and
    waits as the configuration says: ``reconnect_delay`` (1 second), twice as long each time, up to
    ``reconnect_delay_max``. A client that is connected stays as it is. What is not a ``DxlClient``, such as a
    mock, gets its own ``connect()`` called.

    .. code-block:: python

        from dxlclient.client import DxlClient
        from dxlthreateventclient import connect

        with DxlClient(config) as dxl_client:
            connect(dxl_client)

    :param dxl_client: the client to connect
    :param retries: how often to try again after the first try; -1 tries forever
    :param seconds_per_try: how long each try may take; the waits between them are not included
    :raise BrokerConnectionError: if no broker can be used after all tries; at once if it is of no use to try
        again
    :raise RuntimeError: if the client was destroyed, or comes from a process that this one was forked from
    """
    # Not isinstance(): a mock whose specification is DxlClient passes that.
    if not issubclass(type(dxl_client), DxlClient):
        dxl_client.connect()
        return
    if why := why_dead(dxl_client):
        raise RuntimeError(f"cannot connect: {why}")
    config = dxl_client.config
    delay = config.reconnect_delay
    while True:
        try:
            _connect_once(dxl_client, config, seconds_per_try)
        except BrokerConnectionError as error:
            if error.is_final or retries == 0:
                raise
            logger.warning("%s; trying again in %g s", error, delay)
        else:
            return
        retries -= 1
        time.sleep(delay)
        delay = min(delay * config.reconnect_back_off_multiplier, config.reconnect_delay_max)


def try_broker(
    config: DxlClientConfig, broker: Broker, *, with_tls: bool = True, timeout: float = _TIMEOUT
) -> tuple[str, datetime | None]:
    """Connect to a broker as a ``DxlClient`` does, and leave again.

    :param config: the configuration of the client
    :param broker: one of its brokers
    :param with_tls: whether to go on after the TCP connection; that takes the certificates and the key
    :param timeout: how long it may take, in seconds
    :return: the version of TLS, and until when the broker's certificate is valid; without TLS ``"reachable"``
        and ``None``
    :raise BrokerConnectionError: if the broker cannot be used
    """
    tried = probe.Probe(config, broker, timeout / 3)
    step = tried.hello if with_tls else tried.reach
    _, (result, certificate) = _first(time.monotonic() + timeout, [(tried.name, step)])
    return result, valid_until([certificate], "")[0] if certificate else None


def address(broker: Broker) -> str:
    """Return how to name a broker to a user: ``broker.example.com:8883``, ``[2001:db8::1]:8883``."""
    return probe.address(broker.host_name, broker.port)


def _connect_once(dxl_client: DxlClient, config: DxlClientConfig, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    # dxlclient can hold the lock that this takes for minutes.
    _, is_connected = _first(deadline, [("the DxlClient", lambda: dxl_client.connected)])
    if is_connected:
        return
    brokers, retries = config.brokers, config.connect_retries
    if not brokers:
        raise BrokerConnectionError("the configuration names no broker", is_final=True)
    probes = [probe.Probe(config, broker, seconds / 3) for broker in brokers]
    usable, _ = _first(deadline, [(tried.name, tried.hello) for tried in probes])
    kind = "websocket_brokers" if config.use_websockets else "brokers"
    # dxlclient would try the others, too, and wait for a silent one until the keep-alive ends.
    setattr(config, kind, [brokers[usable]])
    config.connect_retries = 0
    try:
        _first(deadline, [(probes[usable].name, dxl_client.connect)])
    finally:
        setattr(config, kind, brokers)
        config.connect_retries = retries


def _first(deadline: float, calls: Sequence[tuple[str, Callable[[], T]]]) -> tuple[int, T]:
    """Call functions at the same time, and return the index of the first one that succeeds, and its result.

    They run in daemon threads: ``getaddrinfo()`` and a proxy that sends byte by byte know no time limit.

    :param deadline: until when to wait, by the monotonic clock
    :param calls: the functions, and whom each of them talks to
    :raise BrokerConnectionError: if none succeeds in time
    """
    ended: queue.SimpleQueue[tuple[int, T | Exception]] = queue.SimpleQueue()

    def run(index: int, call: Callable[[], T]) -> None:
        try:
            ended.put((index, call()))
        except Exception as error:  # noqa: BLE001 - dxlclient raises what it likes
            ended.put((index, error))

    for index, (_, call) in enumerate(calls):
        threading.Thread(target=run, args=[index, call], daemon=True).start()
    errors = [BrokerConnectionError(f"{name} does not answer in time") for name, _ in calls]
    with suppress(queue.Empty):
        for _ in calls:
            index, outcome = ended.get(timeout=max(0.0, deadline - time.monotonic()))
            if not isinstance(outcome, Exception):
                return index, outcome
            if not isinstance(outcome, BrokerConnectionError):
                outcome = BrokerConnectionError(f"cannot connect to {calls[index][0]}: {in_words(outcome)}")
            errors[index] = outcome
    # A broker that refuses for good is what has to be fixed, whatever becomes of the others.
    final = [error for error in errors if error.is_final]
    raise BrokerConnectionError("; ".join(map(str, final or errors)), is_final=bool(final))
