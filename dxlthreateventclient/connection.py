"""Connects a DXL client for the first time, or raises an error that explains the failure.

``DxlClient.connect()`` does not explain its failures and may block forever, so this module's ``connect()``
first probes all brokers over its own sockets.
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

from dxlthreateventclient._feed.hooks import why_dead
from dxlthreateventclient._setup import probe
from dxlthreateventclient._setup.certificates import in_words, valid_until
from dxlthreateventclient.exceptions import BrokerConnectionError

__all__ = ["address", "connect", "try_broker"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_TIMEOUT = 15.0  # time limit per attempt, in seconds; each step gets one third


def connect(dxl_client: DxlClient, *, retries: int = 5, seconds_per_try: float = _TIMEOUT) -> None:
    """Connect a ``DxlClient``, or raise an error that explains the cause and the remedy.

    Each attempt probes all brokers in parallel. Before each new attempt, the function logs the previous
    failure as a warning and waits. By default, the delay starts at 1 second (``reconnect_delay``) and doubles
    after each attempt, up to ``reconnect_delay_max``. A connected client stays connected. For an object that
    is not a ``DxlClient``, such as a mock, the function calls the object's own ``connect()``.

    .. code-block:: python

        from dxlclient.client import DxlClient
        from dxlthreateventclient import connect

        with DxlClient(config) as dxl_client:
            connect(dxl_client)

    :param dxl_client: the client to connect
    :param retries: the number of attempts after the first one; -1 means no limit
    :param seconds_per_try: the time limit of each attempt, excluding the wait before the next one
    :raise BrokerConnectionError: if no broker can be used after all attempts, or immediately if another
        attempt cannot help
    :raise RuntimeError: if the client was destroyed, or was created before this process was forked
    """
    # Do not use isinstance(), which accepts a mock whose spec is DxlClient.
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
    """Connect to a broker as a ``DxlClient`` would, then disconnect.

    :param config: the configuration of the client
    :param broker: one of its brokers
    :param with_tls: if False, stop after the TCP connection, which needs no certificates and no key
    :param timeout: the time limit, in seconds
    :return: the version of TLS and the expiry date of the broker's certificate, or ``"reachable"`` and
        ``None`` without TLS
    :raise BrokerConnectionError: if the broker cannot be used
    """
    tried = probe.Probe(config, broker, timeout / 3)
    step = tried.hello if with_tls else tried.reach
    _, (result, certificate) = _first(time.monotonic() + timeout, [(tried.name, step)])
    return result, valid_until([certificate], "")[0] if certificate else None


def address(broker: Broker) -> str:
    """Return a broker's address for display, such as ``example.com:8883`` or ``[2001:db8::1]:8883``."""
    return probe.address(broker.host_name, broker.port)


def _connect_once(dxl_client: DxlClient, config: DxlClientConfig, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    # dxlclient can hold the ``connected`` property's lock for minutes.
    _, is_connected = _first(deadline, [("the DxlClient", lambda: dxl_client.connected)])
    if is_connected:
        return
    brokers, retries = config.brokers, config.connect_retries
    if not brokers:
        raise BrokerConnectionError("the configuration contains no broker", is_final=True)
    probes = [probe.Probe(config, broker, seconds / 3) for broker in brokers]
    usable, _ = _first(deadline, [(tried.name, tried.hello) for tried in probes])
    kind = "websocket_brokers" if config.use_websockets else "brokers"
    # Give dxlclient only the usable broker, because dxlclient may otherwise wait for a silent broker until
    # the keep-alive interval ends.
    setattr(config, kind, [brokers[usable]])
    config.connect_retries = 0
    try:
        _first(deadline, [(probes[usable].name, dxl_client.connect)])
    finally:
        setattr(config, kind, brokers)
        config.connect_retries = retries


def _first(deadline: float, calls: Sequence[tuple[str, Callable[[], T]]]) -> tuple[int, T]:
    """Call functions in parallel and return the index and result of the first one to succeed.

    Each function runs in a daemon thread, because ``getaddrinfo()`` has no time limit, and a proxy can
    circumvent a socket's time limit by sending one byte at a time.

    :param deadline: the time limit, by the monotonic clock
    :param calls: for each call, the name of the peer and the function
    :raise BrokerConnectionError: if no function succeeds in time
    """
    ended: queue.SimpleQueue[tuple[int, T | Exception]] = queue.SimpleQueue()

    def run(index: int, call: Callable[[], T]) -> None:
        try:
            ended.put((index, call()))
        except Exception as error:  # noqa: BLE001 - dxlclient raises various exceptions
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
    # If any errors are permanent, report only those, because the user must fix them first.
    final = [error for error in errors if error.is_final]
    raise BrokerConnectionError("; ".join(map(str, final or errors)), is_final=bool(final))
