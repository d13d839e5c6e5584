"""Makes the first connection of a DXL client, or says why that is not possible.

What happens when a connection is lost later is in ``_feed``.

``DxlClient.connect()`` says only that it could not connect, and some causes keep it busy forever. So all
brokers are tried first, with sockets of our own.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import TypeVar

from dxlclient.broker import Broker
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient import _probe
from dxlthreateventclient._feed.mqtt import why_dead
from dxlthreateventclient.exceptions import BrokerConnectionError

__all__ = ["address", "broker_certificate", "connect", "try_broker"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_TIMEOUT = 15.0  # seconds, for all steps of one try; one step has a third of it


def connect(dxl_client: DxlClient, *, retries: int = 5, timeout: float = _TIMEOUT) -> None:
    """Connect a ``DxlClient``, or raise an error that says why that is not possible and what to do.

    Before it tries again it logs the reason as a warning, and waits as the configuration says:
    ``reconnect_delay`` (1 second), twice as long each time, up to ``reconnect_delay_max``. A client that is
    connected stays as it is. What is not a ``DxlClient``, such as a mock, gets its own ``connect()`` called.

    .. code-block:: python

        from dxlclient.client import DxlClient
        from dxlthreateventclient import connect

        with DxlClient(config) as dxl_client:
            connect(dxl_client)

    :param dxl_client: the client to connect
    :param retries: how often to try again if no broker can be used; -1 tries forever
    :param timeout: how long one try may take, in seconds
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
    for attempt in count():
        try:
            _connect_once(dxl_client, config, timeout)
        except BrokerConnectionError as error:
            if error.is_final or attempt == retries:
                raise
            logger.warning("%s; trying again in %g s", error, delay)
        else:
            return
        time.sleep(delay)
        delay = min(delay * config.reconnect_back_off_multiplier, config.reconnect_delay_max)


def try_broker(
    config: DxlClientConfig, broker: Broker, *, with_tls: bool = True, timeout: float = _TIMEOUT
) -> str:
    """Connect to a broker as a ``DxlClient`` does, and leave again.

    :param config: the configuration of the client
    :param broker: one of its brokers
    :param with_tls: whether to go on after the TCP connection; that takes the certificates and the key
    :param timeout: how long it may take, in seconds
    :return: the version of TLS, or ``"reachable"`` without TLS
    :raise BrokerConnectionError: if the broker cannot be used
    """
    probe = _probe.Probe(config, broker, timeout / 3)
    return _within(timeout, probe.hello if with_tls else probe.reach, probe.name)


def broker_certificate(config: DxlClientConfig, broker: Broker, *, timeout: float = _TIMEOUT) -> bytes:
    """Return the certificate that a broker shows, in DER format, whether it can be trusted or not.

    :param config: the configuration of the client
    :param broker: one of its brokers
    :param timeout: how long it may take, in seconds
    :raise BrokerConnectionError: if the broker shows none
    """
    probe = _probe.Probe(config, broker, timeout / 3)
    return _within(timeout, probe.certificate, probe.name)


def address(broker: Broker) -> str:
    """Return how to name a broker to a user: ``broker.example.com:8883``, ``[2001:db8::1]:8883``."""
    return _probe.address(broker.host_name, broker.port)


def _connect_once(dxl_client: DxlClient, config: DxlClientConfig, timeout: float) -> None:
    # dxlclient can hold the lock that this takes for minutes.
    if _within(timeout, lambda: dxl_client.connected, "the DxlClient"):
        return
    broker = _first_usable(config, timeout)
    brokers, retries = config.brokers, config.connect_retries
    # dxlclient would try the others, too, and wait for a silent one until the keep-alive ends.
    _use(config, [broker])
    config.connect_retries = 0
    try:
        _within(timeout, dxl_client.connect, f"the broker {address(broker)}")
    finally:
        _use(config, brokers)
        config.connect_retries = retries


def _use(config: DxlClientConfig, brokers: list[Broker]) -> None:
    if config.use_websockets:
        config.websocket_brokers = brokers
    else:
        config.brokers = brokers


def _first_usable(config: DxlClientConfig, timeout: float) -> Broker:
    """Try all brokers at the same time, and return the first that can be used."""
    brokers = config.brokers
    if not brokers:
        raise BrokerConnectionError("the configuration names no broker", is_final=True)
    probes = [_probe.Probe(config, broker, timeout / 3) for broker in brokers]
    errors = [_silence(probe.name) for probe in probes]
    for index, outcome in _in_parallel([probe.hello for probe in probes], timeout):
        if not isinstance(outcome, Exception):
            return brokers[index]
        errors[index] = _as_broker_error(outcome, probes[index].name)
    # A broker that refuses for good is what has to be fixed, whatever becomes of the others.
    final = [error for error in errors if error.is_final]
    raise BrokerConnectionError("; ".join(map(str, final or errors)), is_final=bool(final))


def _within(timeout: float, call: Callable[[], T], what: str) -> T:
    """Return what a function returns, or raise an error about ``what`` if it fails or takes too long."""
    for _, outcome in _in_parallel([call], timeout):
        if isinstance(outcome, Exception):
            raise _as_broker_error(outcome, what)
        return outcome
    raise _silence(what)


def _in_parallel(calls: Sequence[Callable[[], T]], timeout: float) -> Iterator[tuple[int, T | Exception]]:
    """Call functions at the same time, and yield what each returns or raises, if it ends in time.

    They run in daemon threads: ``getaddrinfo()`` and a proxy that sends byte by byte know no time limit.
    """
    ended: queue.SimpleQueue[tuple[int, T | Exception]] = queue.SimpleQueue()

    def run(index: int, call: Callable[[], T]) -> None:
        try:
            ended.put((index, call()))
        except Exception as error:  # noqa: BLE001 - handed over
            ended.put((index, error))

    for index, call in enumerate(calls):
        threading.Thread(target=run, args=[index, call], daemon=True).start()
    deadline = time.monotonic() + timeout
    for _ in calls:
        try:
            yield ended.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return


def _silence(what: str) -> BrokerConnectionError:
    return BrokerConnectionError(f"{what} does not answer in time")


def _as_broker_error(error: Exception, what: str) -> BrokerConnectionError:
    # dxlclient raises what it likes.
    if isinstance(error, BrokerConnectionError):
        return error
    return BrokerConnectionError(f"cannot connect to {what}: {error or type(error).__name__}")
