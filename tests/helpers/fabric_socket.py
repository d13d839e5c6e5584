"""A client of a fabric that is no more than a socket."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient.testing import LocalFabric


@contextmanager
def tls_socket(fabric: LocalFabric, config: DxlClientConfig | None = None) -> Iterator[ssl.SSLSocket]:
    """A connection over TLS on which nothing has been said."""
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
    """A connection over TLS that has said hello in MQTT and heard the answer."""
    with tls_socket(fabric, config) as tls:
        tls.sendall(hello("a"))
        assert tls.recv(4) == b"\x20\x02\0\0"
        yield tls


def hello(client_id: str) -> bytes:
    """MQTT's CONNECT packet of a client with an ID of one letter."""
    return b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01" + client_id.encode()


def ping(tls: ssl.SSLSocket) -> bytes:
    """Return the broker's answer to a ping: ``PONG``."""
    tls.sendall(b"\xc0\0")
    return tls.recv(2)


PONG = b"\xd0\0"
