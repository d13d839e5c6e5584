"""Simulated faulty brokers and unsuitable servers, each with keywords from the expected error message."""

import functools
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa
from helpers.broken_files import Spoil, edit, put
from helpers.certificates import Identity, broker, fabric_ca, foreign_ca, issue

Serve = Callable[[socket.socket], object]

V12 = ssl.TLSVersion.TLSv1_2
V13 = ssl.TLSVersion.TLSv1_3
ACCEPTED = b"\x20\x02\0\0"


def tls(
    identity: Callable[[], Identity] = broker,
    *,
    version: ssl.TLSVersion = V12,
    ciphers: str = "AES128-SHA256",
    clients_of: Callable[[], Identity] = fabric_ca,
    answer: bytes = ACCEPTED,
    silent: bool = False,
) -> Serve:
    """A TLS broker that answers the first packet, stays silent, or closes the connection immediately."""

    @functools.cache
    def context() -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.set_ciphers(ciphers)
        made.minimum_version = made.maximum_version = version
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(cadata=clients_of().pem)
        identity().configure(made)
        return made

    def serve(connection: socket.socket) -> None:
        with context().wrap_socket(connection, server_side=True) as stream:
            if answer:
                stream.recv(1000)
                stream.sendall(answer)
                stream.recv(1000)
            elif silent:
                while stream.recv(1000):
                    pass

    return serve


def plain(answer: bytes) -> Serve:
    """A server that answers the first packet without TLS."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(answer)

    return serve


def close_at_once(connection: socket.socket) -> None:
    """Close a connection without reading anything."""


def stay_silent(connection: socket.socket) -> None:
    """Read without ever answering."""
    while connection.recv(1000):
        pass


def trickle(connection: socket.socket) -> None:
    """Answer byte by byte, so that no single read takes long."""
    while True:
        connection.sendall(b"H")
        time.sleep(0.02)


def in_parts(connection: socket.socket) -> None:
    """Act as a proxy that sends its headers only after the client has read the status line."""
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    connection.sendall(connection.recv(1) and b"Proxy-Agent: x\r\n\r\n")  # TLS begins


def exchange(one: socket.socket, other: socket.socket) -> None:
    """Forward data in both directions until one side closes its connection."""
    while True:
        for ready in select.select([one, other], [], [])[0]:
            if not (data := ready.recv(10_000)):
                return
            (one if ready is other else other).sendall(data)


def relay(connection: socket.socket) -> None:
    """Act as an HTTP proxy that connects to the requested address."""
    host, _, port = connection.recv(1000).split()[1].decode().rpartition(":")
    with socket.create_connection((host, int(port))) as target:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        exchange(connection, target)


class Broken(NamedTuple):
    """One kind of unusable broker."""

    serve: Serve
    """How the server handles a connection."""

    words: str
    """Parts of the error message, separated by bars. {broker} and {address} name the broker."""

    is_final: bool = True
    """True if trying again cannot help."""

    change: Spoil = lambda _: None
    """The change to the configuration, with {port} for the server's port."""

    timeout: float = 15.0
    """The time limit of the attempt."""


def over_websockets(section: str = "") -> Spoil:
    """Switch the configuration to WebSockets, optionally through a proxy."""
    return edit(
        "[BrokersWebSockets]\n", f"[General]\nUseWebSockets = yes\n[BrokersWebSockets]\n{BROKER}{section}"
    )


BROKER = "one = one;{port};127.0.0.1\n"
_VIA = "[Proxy]\nAddress = 127.0.0.1\nPort = {port}\n"
PROXY = over_websockets(_VIA)
QUESTION = "is it the port of a DXL broker?"
REACH = "is the name right, is the broker running, and does a firewall let you through?"


def _answering(code: int) -> Serve:
    return tls(answer=ACCEPTED[:3] + bytes([code]))


def _http(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\n\r\n".encode()


def _small_key() -> Identity:
    return issue("broker", fabric_ca(), key=rsa.generate_private_key(65537, 1024))


def _expired() -> Identity:
    return issue("broker", fabric_ca(), begins=-9, ends=-2)


KINDS: dict[str, Broken] = {
    # Unreachable addresses.
    "a wrong name and nobody at the address": Broken(
        close_at_once,
        f"reach no-such-host.invalid:1: Name | cannot reach 127.0.0.1:1: Connection refused; {REACH}",
        False,
        edit("{port};127.0.0.1", "1;no-such-host.invalid;127.0.0.1"),
    ),
    # Servers that are not brokers.
    "closes at once": Broken(close_at_once, f"{{broker}} closed the connection | and {QUESTION}", False),
    "SSH": Broken(
        plain(b"SSH-2.0-x\r\n"), f"{{broker}} does not speak TLS (wrong version number): {QUESTION}"
    ),
    "silent": Broken(
        stay_silent,
        f"accepts connections but does not answer | (no answer in time): {QUESTION}",
        False,
        timeout=1.5,
    ),
    "an alert without a meaning of its own": Broken(
        plain(b"\x15\x03\x03\0\x02\x02\x50"),
        "closed the connection (internal error): does it trust the client certificate",
        False,
    ),
    "an HTTPS server of the same CA": Broken(
        tls(answer=_http("400 Bad")), f"does not speak MQTT: {QUESTION}"
    ),
    # The broker's TLS and certificate.
    "forward secrecy only": Broken(
        tls(ciphers="ECDHE-RSA-AES256-GCM-SHA384"),
        "refuses what dxlclient 5.7 offers (handshake failure): | in the crypto policy of this machine (sec",
    ),
    "another CA": Broken(
        tls(),
        "{broker} has a certificate | is not signed by a CA in BrokerCertChain | updateconfig' gets the"
        " current CA certificates; or is it not that of a DXL broker?",
        change=put("ca.crt", lambda: foreign_ca().pem),
    ),
    "an expired certificate": Broken(
        tls(_expired),
        "{broker} has a certificate | not valid now (certificate has expired) | have it renewed",
    ),
    "an RSA key of 1,024 bits": Broken(
        tls(_small_key, ciphers="AES128-SHA256:@SECLEVEL=0"),
        "or one of its CAs is weak, and OpenSSL on this machine refuses it | RSA key of at least 2,048 bits",
    ),
    # The client's certificate and MQTT.
    "refuses the client": Broken(
        tls(clients_of=foreign_ca, version=V13),
        "{broker} refuses the client certificate | unknown ca; 'python -m dxlclient provisionconfig' gets",
    ),
    "closes after TLS": Broken(
        tls(answer=b""),
        "{broker} closed the connection | does it trust the client certificate",
        False,
    ),
    "is not available": Broken(_answering(3), "refuses this client: it is not available now; see the", False),
    "an unknown code": Broken(_answering(9), "refuses this client: code 9; see the broker's log"),
    # WebSockets and the proxy.
    "a web server": Broken(
        tls(answer=_http("404 Not Found")),
        f"{{broker}} does not take WebSockets: it answers 404 'Not Found'; {QUESTION}",
        change=over_websockets(),
    ),
    "a proxy that is down": Broken(
        close_at_once,
        "cannot reach the proxy 127.0.0.1:1: Connection refused; is it running?",
        False,
        over_websockets("[Proxy]\nAddress = 127.0.0.1\nPort = 1\n"),
    ),
    "a proxy that forbids it": Broken(
        plain(_http("403 Forbidden")),
        "the proxy {address} refuses to connect to {address}: 403",
        change=PROXY,
    ),
    "a proxy that asks for NTLM": Broken(
        plain(
            _http('407 No\r\nProxy-Authenticate: Negotiate, NTLM\r\nProxy-Authenticate: Digest realm="a, b"')
        ),
        "it asks for 'Negotiate, NTLM' or 'Digest | ; dxlclient knows only Basic, with User and Password in",
        change=over_websockets(f"{_VIA}User = u\nPassword = p\n"),
    ),
    "a proxy that answers in several parts": Broken(
        in_parts,
        "{broker} behind the proxy {address} does not speak TLS | does the proxy answer in several parts?",
        change=PROXY,
    ),
    "a proxy that is not one": Broken(
        plain(b"SSH-2.0-x\r\n"),
        "the proxy {address} refuses to connect to {address} | is it an HTTP",
        False,
        PROXY,
    ),
    "a proxy that sends byte by byte": Broken(
        trickle, "{broker} behind the proxy {address} does not answer in time", False, PROXY, 3.0
    ),
}
