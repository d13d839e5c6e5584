"""A bare socket that acts as a fabric client."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient.testing import LocalFabric


@contextmanager
def tls_socket(fabric: LocalFabric, config: DxlClientConfig | None = None) -> Iterator[ssl.SSLSocket]:
    """A TLS connection on which no MQTT packet has been sent."""
    config = config or fabric.client_config()
    context = ssl.create_default_context(cafile=config.broker_ca_bundle)
    context.load_cert_chain(config.cert_file, config.private_key)
    context.set_ciphers("AES128-SHA256")
    with (
        socket.create_connection(("127.0.0.1", fabric.port), timeout=10) as connection,
        context.wrap_socket(connection, server_hostname="127.0.0.1") as tls,
    ):
        yield tls


@contextmanager
def connected_socket(fabric: LocalFabric, config: DxlClientConfig | None = None) -> Iterator[ssl.SSLSocket]:
    """A TLS connection on which MQTT CONNECT and CONNACK packets have been exchanged."""
    with tls_socket(fabric, config) as tls:
        tls.sendall(hello("a"))
        assert tls.recv(4) == b"\x20\x02\0\0"
        yield tls


def hello(client_id: str) -> bytes:
    """Return the CONNECT packet for a client with a one-letter ID."""
    return b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01" + client_id.encode()


def ping(tls: ssl.SSLSocket) -> bytes:
    """Send a ping and return the broker's response, normally ``PONG``."""
    tls.sendall(b"\xc0\0")
    return tls.recv(2)


PONG = b"\xd0\0"
