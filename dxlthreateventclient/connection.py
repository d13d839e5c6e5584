"""Connects a DXL client, or says why that is not possible.

``DxlClient.connect()`` only says that it could not connect, and some causes keep it busy forever. So the
brokers are tried first, step by step as it does: TCP or the proxy, TLS, perhaps WebSockets, and MQTT's
CONNECT. Over TLS 1.3 only the answer to that shows that the client certificate is accepted.
"""

import base64
import logging
import os
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any, TypeVar
from uuid import uuid4

import socks
from dxlclient.broker import Broker
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient.configuration import file_steps
from dxlthreateventclient.exceptions import BrokerConnectionError

__all__ = ["BrokerConnectionError", "address", "broker_certificate", "connect", "try_broker"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_TIMEOUT = 15.0  # seconds, for all steps of one try; a single step has a third of it
_CIPHER = "AES128-SHA256"  # all that dxlclient offers for TLS 1.2

# Of MQTT: CONNECT with a client id of 38 characters, the first bytes of CONNACK, and DISCONNECT.
_CONNECT = b"\x10\x32\x00\x04MQTT\x04\x02\x00\x3c\x00\x26{%s}"
_CONNACK = b"\x20\x02\x00"
_DISCONNECT = b"\xe0\x00"
_ANSWERS = {
    1: "it does not speak MQTT 3.1.1",
    2: "it refuses the client id",
    3: "it is not available now",
    4: "it asks for a user and a password",
    5: "it does not authorize this client",
}
_UNAVAILABLE = 3

# How OpenSSL names the alerts with which a broker refuses a client certificate.
_REFUSALS = (
    "ACCESS_DENIED",
    "BAD_CERTIFICATE",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REQUIRED",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_UNKNOWN",
    "UNKNOWN_CA",
    "UNSUPPORTED_CERTIFICATE",
)
# OpenSSL's codes for a broker's certificate that is refused (X509_V_ERR_…).
_NOT_YET_VALID = 9
_EXPIRED = 10
_WEAK = {66, 67, 68}


def connect(dxl_client: DxlClient, *, retries: int = 5, timeout: float = _TIMEOUT) -> None:
    """Connect a ``DxlClient``, or raise an error that says why that is not possible and what to do.

    Before it tries again it logs the reason as a warning, and waits as the configuration says:
    ``reconnect_delay`` (1 second), twice as long each time, up to ``reconnect_delay_max``. A client that is
    connected stays as it is. What is not a ``DxlClient``, such as a mock, gets its own ``connect()`` called.

    .. code-block:: python

        with DxlClient(load_configuration()) as dxl_client:
            connect(dxl_client)

    :param dxl_client: the client to connect
    :param retries: how often to try again if no broker can be used; -1 tries forever
    :param timeout: how long one try may take, in seconds
    :raise BrokerConnectionError: if no broker can be used after all tries; at once if it is of no use to try
        again
    :raise RuntimeError: if the client was destroyed
    """
    # Not isinstance(): a mock whose specification is DxlClient passes that.
    if not issubclass(type(dxl_client), DxlClient):
        dxl_client.connect()
        return
    config = dxl_client.config
    if config is None:
        raise RuntimeError("the DxlClient was destroyed: make a new one")
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
    return _within(
        timeout,
        partial(_try, config, broker, timeout / 3, with_tls=with_tls),
        broker,
        _silent(config, broker),
    )


def broker_certificate(config: DxlClientConfig, broker: Broker, *, timeout: float = _TIMEOUT) -> bytes:
    """Return the certificate that a broker shows, in DER format, whether it can be trusted or not.

    :raise BrokerConnectionError: if the broker shows none
    """

    def fetch() -> bytes:
        context = _context(config)
        context.verify_mode = ssl.CERT_NONE
        with _open(config, broker, timeout / 3) as connection, _wrap(context, connection, broker) as tls:
            try:
                tls.do_handshake()
            except OSError as error:
                raise BrokerConnectionError(
                    f"the broker {address(broker)} shows no certificate: {_reason(error)}"
                ) from error
            return tls.getpeercert(binary_form=True) or b""

    return _within(timeout, fetch, broker, _silent(config, broker))


def address(broker: Broker) -> str:
    """Return how to name a broker to a user: ``broker.example.com:8883``, ``[2001:db8::1]:8883``."""
    return _address(broker.host_name, broker.port)


def _address(host: str, port: object) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _connect_once(dxl_client: DxlClient, config: DxlClientConfig, timeout: float) -> None:
    if dxl_client.connected:
        return
    usable = _first_usable(config, timeout)
    brokers, retries = config.brokers, config.connect_retries
    # dxlclient would try the others, too, and wait for a silent one until the keep-alive ends.
    _use(config, [usable])
    config.connect_retries = 0
    try:
        _within(timeout, dxl_client.connect, usable, _silent(config, usable))
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
    errors = [_silent(config, broker) for broker in brokers]
    calls = [partial(_try, config, broker, timeout / 3) for broker in brokers]
    for index, outcome in _in_parallel(calls, timeout):
        if not isinstance(outcome, Exception):
            return brokers[index]
        errors[index] = _as_broker_error(outcome, brokers[index])
    # A broker that refuses for good is what has to be fixed, whatever becomes of the others.
    final = [error for error in errors if error.is_final]
    raise BrokerConnectionError("; ".join(map(str, final or errors)), is_final=bool(final))


def _within(timeout: float, call: Callable[[], T], broker: Broker, silent: BrokerConnectionError) -> T:
    """Return what a function returns, or raise ``silent`` if it does not return in time."""
    for _, outcome in _in_parallel([call], timeout):
        if isinstance(outcome, Exception):
            raise _as_broker_error(outcome, broker)
        return outcome
    raise silent


def _in_parallel(calls: Sequence[Callable[[], T]], timeout: float) -> Iterator[tuple[int, T | Exception]]:
    """Call functions at the same time, and yield what each returns or raises, if it ends in time.

    In daemon threads, since ``getaddrinfo()`` and the parts of a proxy's answer know no limit of time.
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


def _as_broker_error(error: Exception, broker: Broker) -> BrokerConnectionError:
    if isinstance(error, BrokerConnectionError):
        return error
    # dxlclient raises what it likes.
    return BrokerConnectionError(f"cannot connect to the broker {address(broker)}: {_reason(error)}")


def _silent(config: DxlClientConfig, broker: Broker) -> BrokerConnectionError:
    proxy = _proxy(config)
    through = f" through the proxy {_address(proxy['proxy_addr'], proxy['proxy_port'])}" if proxy else ""
    return BrokerConnectionError(f"the broker {address(broker)} does not answer in time{through}")


def _try(config: DxlClientConfig, broker: Broker, timeout: float, *, with_tls: bool = True) -> str:
    connection = _open(config, broker, timeout)
    with connection:
        if not with_tls:
            return "reachable"
        context = _context(config)
        with _wrap(context, connection, broker) as tls:
            try:
                tls.do_handshake()
                _say_hello(config, broker, tls)
                return tls.version() or "TLS"
            except OSError as error:
                if isinstance(error, BrokerConnectionError):
                    raise
                raise _explain(config, broker, error, is_late=tls.cipher() is not None) from error


def _proxy(config: DxlClientConfig) -> dict[str, Any]:
    """Return the arguments with which dxlclient calls PySocks."""
    if not config.use_websockets or config.proxy_addr is None or config.proxy_port is None:
        return {}
    return {
        "proxy_type": config.proxy_type,
        "proxy_addr": config.proxy_addr,
        "proxy_port": int(config.proxy_port),
        "proxy_rdns": config.proxy_rdns,
        "proxy_username": config.proxy_username,
        "proxy_password": config.proxy_password,
    }


def _open(config: DxlClientConfig, broker: Broker, timeout: float) -> socket.socket:
    """Open a TCP connection to the host name of a broker, else to its IP address."""
    failures = []
    proxy = _proxy(config)
    for host in dict.fromkeys(filter(None, (broker.host_name, broker.ip_address))):
        try:
            if proxy:
                connection = socks.create_connection((host, broker.port), timeout=timeout, **proxy)
                connection.settimeout(timeout)
                return connection  # type: ignore[no-any-return]
            return socket.create_connection((host, broker.port), timeout=timeout)
        except socks.ProxyError as error:
            raise _explain_proxy(config, broker, error) from error
        except (OSError, UnicodeError) as error:
            failures.append(f"cannot reach {_address(host, broker.port)}: {_reason(error)}")
    raise BrokerConnectionError(
        f"{', '.join(failures)}; is the broker running, and does a firewall let you through?"
    )


def _explain_proxy(config: DxlClientConfig, broker: Broker, error: socks.ProxyError) -> BrokerConnectionError:
    proxy = f"the proxy {_address(str(config.proxy_addr), config.proxy_port)}"
    cause = error.socket_err or error
    if isinstance(error, socks.ProxyConnectionError):
        return BrokerConnectionError(f"cannot reach {proxy}: {_reason(cause)}")
    reason = _reason(cause).partition("\n")[0]
    if isinstance(cause, socks.HTTPError):
        return BrokerConnectionError(
            f"{proxy} refuses to connect to the broker {address(broker)}: {reason}",
            is_final=reason.startswith("4"),
        )
    return BrokerConnectionError(f"{proxy} does not answer as an HTTP proxy: {reason}")


def _context(config: DxlClientConfig) -> ssl.SSLContext:
    """Return what dxlclient uses: one cipher for TLS 1.2, and no look at the name in the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    try:
        context.set_ciphers(_CIPHER)
        context.load_verify_locations(config.broker_ca_bundle)
        context.load_cert_chain(config.cert_file, config.private_key, password="")
    except OSError as error:
        for step in file_steps(config):
            if step.error:
                raise BrokerConnectionError(str(step.error), is_final=True) from error
        raise BrokerConnectionError(f"cannot use TLS as DXL does: {_reason(error)}", is_final=True) from error
    return context


def _wrap(context: ssl.SSLContext, connection: socket.socket, broker: Broker) -> ssl.SSLSocket:
    return context.wrap_socket(connection, server_hostname=broker.host_name, do_handshake_on_connect=False)


def _say_hello(config: DxlClientConfig, broker: Broker, tls: ssl.SSLSocket) -> None:
    """Send the CONNECT of MQTT, check the answer, and say goodbye."""

    def send(packet: bytes) -> None:
        # A WebSocket frame must be masked; a mask of zeros changes nothing.
        tls.sendall(
            b"\x82" + bytes([0x80 | len(packet)]) + bytes(4) + packet if config.use_websockets else packet
        )

    if config.use_websockets:
        _upgrade(broker, tls)
    send(_CONNECT % str(uuid4()).encode())
    if config.use_websockets:
        _read(tls, 2)  # the header of a short frame
    answer = _read(tls, len(_CONNACK) + 1)
    if not answer.startswith(_CONNACK):
        raise BrokerConnectionError(
            f"what answers at {address(broker)} does not speak MQTT: is it the port of a DXL broker?",
            is_final=True,
        )
    if code := answer[-1]:
        raise BrokerConnectionError(
            f"the broker {address(broker)} refuses this client: {_ANSWERS.get(code, f'code {code}')}",
            is_final=code != _UNAVAILABLE,
        )
    send(_DISCONNECT)


def _upgrade(broker: Broker, tls: ssl.SSLSocket) -> None:
    """Change over from HTTP to WebSockets."""
    lines = (
        "GET /mqtt HTTP/1.1",
        f"Host: {address(broker)}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: mqtt",
        "\r\n",
    )
    tls.sendall("\r\n".join(lines).encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += _read(tls, 1)
    status = answer.splitlines()[0].decode(errors="replace")
    if " 101 " not in f"{status} ":
        raise BrokerConnectionError(
            f"what answers at {address(broker)} refuses WebSockets with {status!r}: is it the port of a DXL"
            " broker?",
            is_final=True,
        )


def _read(tls: ssl.SSLSocket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = tls.recv(size - len(received))
        if not part:
            raise ConnectionResetError
        received += part
    return received


def _explain(
    config: DxlClientConfig, broker: Broker, error: OSError, *, is_late: bool
) -> BrokerConnectionError:
    """Say what an error during TLS or later means."""
    name = f"the broker {address(broker)}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return BrokerConnectionError(
            f"the certificate of {name} is not trusted: {error.verify_message};"
            f" BrokerCertChain ({config.broker_ca_bundle}) must hold the CA certificates of this fabric",
            is_final=True,
        )
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)):
        if is_late:
            # It got as far as to look at the certificate, and not every broker sends an alert.
            return _refused(config, name, "it closed the connection")
        return BrokerConnectionError(
            f"{name} closed the connection when TLS began: is this the port of a DXL broker, and is it running?"
        )
    if isinstance(error, ssl.SSLError):
        if (error.reason or "").endswith(_REFUSALS):
            return _refused(config, name, _reason(error))
        return BrokerConnectionError(
            f"{name} speaks no TLS that DXL uses: {_reason(error)}; is it the port of a DXL broker?",
            is_final=True,
        )
    return BrokerConnectionError(
        f"{name} accepts connections, but does not answer: {_reason(error)}; is it a DXL broker?"
    )


def _refused(config: DxlClientConfig, name: str, reason: str) -> BrokerConnectionError:
    return BrokerConnectionError(
        f"{name} refuses the client certificate {config.cert_file}: {reason};"
        " 'python -m dxlclient provisionconfig' gets one that the fabric trusts",
        is_final=True,
    )


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error)
