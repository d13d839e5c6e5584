"""Brokers and other servers as people really meet them, and the line with which each is reported."""

import functools
import select
import socket
import ssl
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from helpers.broken_files import Spoil, edit, put
from helpers.certificates import Identity, broker, client, fabric_ca, foreign_ca, issue, with_sha1

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
    """A broker over TLS that answers the first packet; without an answer it is silent, or closes at once."""

    @functools.cache
    def context() -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.set_ciphers(ciphers)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.1 is old
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
    """A server that answers the first packet in the clear."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(answer)

    return serve


def close_at_once(connection: socket.socket) -> None:
    """Close a connection without having read anything."""


def stay_silent(connection: socket.socket) -> None:
    """Read, and never answer."""
    while connection.recv(1000):
        pass


def trickle(connection: socket.socket) -> None:
    """Answer with a byte now and then: no single read takes long."""
    while True:
        connection.sendall(b"H")
        time.sleep(0.02)


def exchange(one: socket.socket, other: socket.socket) -> None:
    """Hand on what comes from either side, until one is closed."""
    while True:
        for ready in select.select([one, other], [], [])[0]:
            if not (data := ready.recv(10_000)):
                return
            (one if ready is other else other).sendall(data)


def relay(connection: socket.socket) -> None:
    """Be the HTTP proxy that connects to where it is asked to."""
    host, _, port = connection.recv(1000).split()[1].decode().rpartition(":")
    with socket.create_connection((host, int(port))) as target:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        exchange(connection, target)


class Broken(NamedTuple):
    """One kind of broker that cannot be used."""

    serve: Serve
    """What it does with a connection."""

    message: str
    """What the user reads: {broker} and {address} name it, {dir} is the directory of the configuration."""

    is_final: bool = True
    """Whether trying again is of no use."""

    change: Spoil = lambda _: None
    """What is special about the configuration; {port} in it is the port of the server."""

    timeout: float = 15.0
    """How long the try may take."""


def over_websockets(section: str = "") -> Spoil:
    """Use WebSockets, perhaps through a proxy."""
    return edit(
        "[BrokersWebSockets]\n", f"[General]\nUseWebSockets = yes\n[BrokersWebSockets]\n{BROKER}{section}"
    )


BROKER = "one = one;{port};127.0.0.1\n"
PROXY = over_websockets("[Proxy]\nAddress = 127.0.0.1\nPort = {port}\n")
QUESTION = "is it the port of a DXL broker?"
REACH = "is the broker running, and does a firewall let you through?"
RESOLVE = "is the name right, and does this machine use the right DNS server?"
UPDATE = "'python -m dxlclient updateconfig' gets the present CA certificates"
CHAIN = "BrokerCertChain ({dir}/ca.crt)"
REFUSES = "{broker} refuses the client certificate {dir}/client.crt: "
PROVISION = "; 'python -m dxlclient provisionconfig' gets one that the fabric trusts"
OFFER = "allow TLS 1.3 on the broker, or AES128-SHA256 with an RSA key over TLS 1.2"
POLICY = (
    "{broker} does not take TLS 1.3 (protocol version), and the crypto policy of this machine (security level"
    " 2, TLSv1_3 or newer) forbids what else dxlclient 5.7 offers, AES128-SHA256 with an RSA key over TLS"
    " 1.2: allow level 2 and TLS 1.2 there, or TLS 1.3 on the broker"
)
WEAK = "have it issued anew, with an RSA key of 2,048 bits or more and SHA-256"


def host(names: str) -> Spoil:
    """Name another host, or a host and its IP address."""
    return edit(";127.0.0.1\n", f";{names}\n")


def identity_of(make: Callable[[], Identity]) -> Spoil:
    """Use the certificate and key of another client."""

    def change(config_file: Path) -> None:
        put("client.crt", make().pem)(config_file)
        put("client.key", make().key_pem)(config_file)

    return change


@functools.cache
def _same_name() -> Identity:
    return issue("fabric", is_ca=True)


@functools.cache
def _old_client() -> Identity:
    return issue("client", fabric_ca(), begins=-9, ends=-2)


@functools.cache
def _early_client() -> Identity:
    return issue("client", fabric_ca(), begins=2)


def _untrusted(reason: str) -> str:
    return (
        f"the certificate of {{broker}} is not signed by a CA in {CHAIN} ({reason}): {UPDATE}; or is it not"
        " that of a DXL broker?"
    )


def _answers(code: int, why: str, *, is_final: bool = True) -> Broken:
    message = f"{{broker}} refuses this client: {why}; see the broker's log"
    return Broken(tls(answer=ACCEPTED[:3] + bytes([code])), message, is_final)


def _ec_broker() -> Identity:
    return issue("broker", fabric_ca(), key=ec.generate_private_key(ec.SECP256R1()))


def _small_key() -> Identity:
    return issue("broker", fabric_ca(), key=rsa.generate_private_key(65537, 1024))


def _http(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\n\r\n".encode()


KINDS: dict[str, Broken] = {
    # Where nothing is reached.
    "a port that nobody listens on": Broken(
        close_at_once, f"cannot reach 127.0.0.1:1: Connection refused; {REACH}", False, edit("{port}", "1")
    ),
    "a name that does not resolve": Broken(
        close_at_once,
        f"cannot resolve the name no-such-host.invalid: Name or service not known; {RESOLVE}",
        False,
        host("no-such-host.invalid"),
    ),
    "a name that cannot be one": Broken(
        close_at_once,
        f"cannot resolve the name one..two: not a host name; {RESOLVE}",
        False,
        host("one..two"),
    ),
    "a name and an address": Broken(
        close_at_once,
        "cannot resolve the name no-such-host.invalid: Name or service not known, cannot reach 127.0.0.1:1:"
        f" Connection refused; {REACH}",
        False,
        edit("{port};127.0.0.1", "1;no-such-host.invalid;127.0.0.1"),
    ),
    "an IPv6 address": Broken(
        close_at_once,
        f"cannot reach [::1]:1: Connection refused; {REACH}",
        False,
        edit("{port};127.0.0.1", "1;::1"),
    ),
    # What is not a broker.
    "closes at once": Broken(close_at_once, f"{{broker}} closed the connection: {QUESTION}", False),
    "closes after the first packet": Broken(
        plain(b""), f"{{broker}} closed the connection: {QUESTION}", False
    ),
    "SSH": Broken(
        plain(b"SSH-2.0-x\r\n"), f"{{broker}} does not speak TLS (wrong version number): {QUESTION}"
    ),
    "HTTP": Broken(
        plain(_http("400 Bad")), f"{{broker}} does not speak TLS (wrong version number): {QUESTION}"
    ),
    "silent": Broken(
        stay_silent,
        f"{{broker}} takes connections and stays silent (no answer within 0.5 s): {QUESTION}",
        False,
        timeout=1.5,
    ),
    "an alert without a meaning of its own": Broken(
        plain(b"\x15\x03\x03\0\x02\x02\x50"),
        "{broker} refuses the connection (internal error): see the broker's log",
        False,
    ),
    "HTTPS": Broken(
        tls(lambda: issue("www", foreign_ca())), _untrusted("unable to get local issuer certificate")
    ),
    "an HTTPS server of the same CA": Broken(
        tls(answer=_http("400 Bad")), f"{{broker}} does not speak MQTT: {QUESTION}"
    ),
    # Its TLS.
    "TLS 1.1 only": Broken(
        tls(version=ssl.TLSVersion.TLSv1_1, ciphers="ALL:@SECLEVEL=0"),
        f"{{broker}} refuses what dxlclient 5.7 offers (protocol version): {OFFER}",
    ),
    "forward secrecy only": Broken(
        tls(ciphers="ECDHE-RSA-AES256-GCM-SHA384"),
        "{broker} refuses what dxlclient 5.7 offers (handshake failure), and takes"
        f" ECDHE-RSA-AES256-GCM-SHA384: {OFFER}",
    ),
    "an elliptic curve key": Broken(
        tls(_ec_broker, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256"),
        "{broker} refuses what dxlclient 5.7 offers (handshake failure), and takes"
        f" ECDHE-ECDSA-AES128-GCM-SHA256: {OFFER}",
    ),
    # Its certificate.
    "another CA": Broken(
        tls(),
        _untrusted("self-signed certificate in certificate chain"),
        change=put("ca.crt", lambda: foreign_ca().pem),
    ),
    "another CA of the same name": Broken(
        tls(), _untrusted("certificate signature failure"), change=put("ca.crt", lambda: _same_name().pem)
    ),
    "a self-signed certificate": Broken(tls(lambda: issue("broker")), _untrusted("self-signed certificate")),
    "an end certificate as its CA": Broken(
        tls(),
        f"{CHAIN} holds no CA certificate, nor the certificate of {{broker}}: {UPDATE}",
        change=put("ca.crt", lambda: client().pem),
    ),
    "an expired certificate": Broken(
        tls(lambda: issue("broker", fabric_ca(), begins=-9, ends=-2)),
        "the certificate of {broker} has expired: have it renewed on the broker",
    ),
    "an expired CA beside a valid one": Broken(
        tls(),
        f"the certificate of {{broker}} has expired, or a CA certificate in {CHAIN} has: {UPDATE}",
        change=put(
            "ca.crt",
            lambda: (
                issue("fabric", is_ca=True, key=fabric_ca().key, ends=-2, begins=-9).pem + foreign_ca().pem
            ),
        ),
    ),
    "a certificate that is not valid yet": Broken(
        tls(lambda: issue("broker", fabric_ca(), begins=2)),
        "the certificate of {broker} is not valid yet, and the clock of this machine says <date>: set the"
        " clock",
    ),
    "an RSA key of 1,024 bits": Broken(
        tls(_small_key, ciphers="AES128-SHA256:@SECLEVEL=0"),
        "the certificate of {broker}, or that of its CA, is weak, and OpenSSL on this machine refuses it (EE"
        f" certificate key too weak): {WEAK}",
    ),
    "a signature with SHA-1": Broken(
        tls(lambda: with_sha1(broker(), fabric_ca()), ciphers="AES128-SHA256:@SECLEVEL=0"),
        "the certificate of {broker}, or that of its CA, is weak, and OpenSSL on this machine refuses it (CA"
        f" signature digest algorithm too weak): {WEAK}",
    ),
    # The client's certificate.
    "refuses the client": Broken(tls(clients_of=foreign_ca), f"{REFUSES}unknown ca{PROVISION}"),
    "refuses the client over TLS 1.3": Broken(
        tls(clients_of=foreign_ca, version=V13), f"{REFUSES}unknown ca{PROVISION}"
    ),
    "trusts another CA of the same name": Broken(
        tls(clients_of=_same_name), f"{REFUSES}decrypt error{PROVISION}"
    ),
    "an expired client": Broken(
        tls(), f"{REFUSES}certificate expired{PROVISION}", change=identity_of(_old_client)
    ),
    "an expired client over TLS 1.3": Broken(
        tls(version=V13), f"{REFUSES}certificate expired{PROVISION}", change=identity_of(_old_client)
    ),
    "a client that is not valid yet": Broken(
        tls(version=V13), f"{REFUSES}bad certificate{PROVISION}", change=identity_of(_early_client)
    ),
    "closes after TLS": Broken(
        tls(answer=b""),
        "{broker} closed the connection: does it trust the client certificate {dir}/client.crt, and"
        f" {QUESTION}",
        False,
    ),
    # Its MQTT.
    "silent after TLS": Broken(
        tls(answer=b"", silent=True),
        f"{{broker}} takes connections and stays silent (no answer within 0.5 s): {QUESTION}",
        False,
        timeout=1.5,
    ),
    "another MQTT": _answers(1, "it does not speak MQTT 3.1.1"),
    "refuses the id": _answers(2, "it refuses the client id"),
    "is not available": _answers(3, "it is not available now", is_final=False),
    "asks for a user": _answers(4, "it asks for a user and a password"),
    "does not authorize": _answers(5, "it does not authorize this client"),
    "an unknown code": _answers(9, "code 9"),
    # WebSockets and the proxy.
    "a web server": Broken(
        tls(answer=_http("404 Not Found")),
        f"{{broker}} does not take WebSockets: it answers 'HTTP/1.1 404 Not Found'; {QUESTION}",
        change=over_websockets(),
    ),
    "a proxy that is down": Broken(
        close_at_once,
        "cannot reach the proxy 127.0.0.1:1: Connection refused; is it running?",
        False,
        over_websockets("[Proxy]\nAddress = 127.0.0.1\nPort = 1\n"),
    ),
    "a proxy that asks for a password": Broken(
        plain(_http("407 Proxy Authentication Required")),
        "the proxy {address} refuses to connect to {address}: 407: Proxy Authentication Required",
        change=PROXY,
    ),
    "a proxy that forbids it": Broken(
        plain(_http("403 Forbidden")),
        "the proxy {address} refuses to connect to {address}: 403: Forbidden",
        change=PROXY,
    ),
    "a proxy that cannot reach it": Broken(
        plain(_http("502 Bad Gateway")),
        "the proxy {address} refuses to connect to {address}: 502: Bad Gateway",
        False,
        PROXY,
    ),
    "a proxy that is not one": Broken(
        plain(b"SSH-2.0-x\r\n"),
        "the proxy {address} does not connect to {address}: HTTP proxy server sent invalid response; is it an"
        " HTTP proxy?",
        False,
        PROXY,
    ),
    "a proxy that closes the connection": Broken(
        plain(b""),
        "the proxy {address} does not connect to {address}: Connection closed unexpectedly; is it an HTTP"
        " proxy?",
        False,
        PROXY,
    ),
    "a silent proxy": Broken(
        stay_silent,
        "the proxy {address} does not connect to {address}: no answer within 0.5 s; is it an HTTP proxy?",
        False,
        PROXY,
        1.5,
    ),
    "a proxy that sends byte by byte": Broken(
        trickle, "{broker} behind the proxy {address} does not answer in time", False, PROXY, 3.0
    ),
}
