"""Tries a broker step by step as dxlclient does, and says what keeps it from working.

The steps: TCP or the proxy, TLS, perhaps WebSockets, and MQTT's CONNECT. Over TLS 1.3 only the answer to that
shows that the client certificate is accepted.
"""

import base64
import contextlib
import os
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import socks
from dxlclient.broker import Broker
from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient._certificates import why_untrusted, why_unusable
from dxlthreateventclient.exceptions import BrokerConnectionError

_CIPHER = "AES128-SHA256"  # all that dxlclient offers for TLS 1.2
_OFFER = f"{_CIPHER} with an RSA key over TLS 1.2"
_QUESTION = "is it the port of a DXL broker?"

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

_LONGEST_ANSWER = 10_000  # bytes, of HTTP

# How OpenSSL names the alerts with which a broker refuses a client certificate,
_REFUSALS = (
    "ACCESS_DENIED",
    "BAD_CERTIFICATE",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REQUIRED",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_UNKNOWN",
    "DECRYPT_ERROR",  # a signature that does not match, such as that of a CA made anew under the same name
    "UNKNOWN_CA",
    "UNSUPPORTED_CERTIFICATE",
)
# and what says that two sides have no version of TLS or no cipher in common.
_NOTHING_IN_COMMON = (
    "HANDSHAKE_FAILURE",
    "INSUFFICIENT_SECURITY",
    "NO_CIPHERS_AVAILABLE",
    "PROTOCOL_VERSION",
    "UNSUPPORTED_PROTOCOL",
)


def address(host: str, port: object) -> str:
    """Return a host and a port, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Probe:
    """One try of a broker.

    :param config: the configuration of the client
    :param broker: one of its brokers
    :param timeout: how long a step may take, in seconds
    """

    name: str
    """How to name the broker to the user."""

    def __init__(self, config: DxlClientConfig, broker: Broker, timeout: float) -> None:
        self._config = config
        self._broker = broker
        self._timeout = timeout
        self._address = address(broker.host_name, broker.port)
        self.name = f"the broker {self._address}"
        self._proxy: dict[str, Any] = {}
        if config.use_websockets and None not in (config.proxy_addr, config.proxy_port):
            # As dxlclient hands it to PySocks.
            self._proxy = {
                "proxy_type": config.proxy_type,
                "proxy_addr": config.proxy_addr,
                "proxy_port": int(config.proxy_port or 0),
                "proxy_rdns": config.proxy_rdns,
                "proxy_username": config.proxy_username,
                "proxy_password": config.proxy_password,
            }
            self._proxy_name = f"the proxy {address(str(config.proxy_addr), config.proxy_port)}"
            self.name += f" behind {self._proxy_name}"

    def reach(self) -> str:
        """Connect without TLS."""
        self._open().close()
        return "reachable"

    def hello(self) -> str:
        """Connect, send CONNECT, check the answer, and return the version of TLS."""
        context = self._context()
        with self._tls(context) as tls:
            try:
                tls.do_handshake()
                self._say_hello(tls)
                return tls.version() or "TLS"
            except BrokerConnectionError:
                raise
            except OSError as error:
                raise self._why(error, context, got_certificate=tls.cipher() is not None) from error

    def certificate(self) -> bytes:
        """Return the certificate of the broker in DER format, whether it can be trusted or not."""
        context = self._context()
        context.verify_mode = ssl.CERT_NONE
        with self._tls(context) as tls:
            try:
                tls.do_handshake()
            except OSError as error:
                raise self._why(error, context, got_certificate=True) from error
            return tls.getpeercert(binary_form=True) or b""

    def _open(self) -> socket.socket:
        failures = []
        question = "is the name right, and does this machine use the right DNS server?"
        for host in dict.fromkeys(filter(None, (self._broker.host_name, self._broker.ip_address))):
            target = (host, self._broker.port)
            try:
                if not self._proxy:
                    return socket.create_connection(target, self._timeout)
                tunnel: socket.socket = socks.create_connection(target, self._timeout, **self._proxy)
            except socks.ProxyError as error:
                raise self._why_proxy(error) from error
            except (socket.gaierror, UnicodeError) as error:
                name = self._config.proxy_addr if self._proxy else host
                failures.append(f"cannot resolve the name {name}: {self._reason(error)}")
            except OSError as error:
                failures.append(f"cannot reach {address(*target)}: {self._reason(error)}")
                question = "is the broker running, and does a firewall let you through?"
            else:
                tunnel.settimeout(self._timeout)
                return tunnel
        raise BrokerConnectionError(f"{', '.join(failures)}; {question}")

    def _why_proxy(self, error: socks.ProxyError) -> BrokerConnectionError:
        cause = error.socket_err or error
        reason = self._reason(cause).partition("\n")[0]
        if isinstance(error, socks.ProxyConnectionError):
            return BrokerConnectionError(f"cannot reach {self._proxy_name}: {reason}; is it running?")
        if isinstance(cause, socks.HTTPError):
            return BrokerConnectionError(
                f"{self._proxy_name} refuses to connect to {self._address}: {reason}", reason.startswith("4")
            )
        return BrokerConnectionError(
            f"{self._proxy_name} does not connect to {self._address}: {reason}; is it an HTTP proxy?"
        )

    def _context(self) -> ssl.SSLContext:
        """Return what dxlclient uses: one cipher for TLS 1.2, and no look at the name in the certificate."""
        config = self._config
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        try:
            context.set_ciphers(_CIPHER)
            context.load_verify_locations(config.broker_ca_bundle)
            context.load_cert_chain(config.cert_file, config.private_key, password="")
        except OSError as error:
            raise _final(why_unusable(config) or self._reason(error)) from error
        return context

    @contextlib.contextmanager
    def _tls(self, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
        with self._open() as connection:
            host = self._broker.host_name
            tls = context.wrap_socket(connection, server_hostname=host, do_handshake_on_connect=False)
            with tls:
                yield tls

    def _say_hello(self, tls: ssl.SSLSocket) -> None:
        is_websocket = self._config.use_websockets

        def send(packet: bytes) -> None:
            # A WebSocket frame must be masked; a mask of zeros changes nothing.
            frame = b"\x82" + bytes([0x80 | len(packet)]) + bytes(4) + packet
            # If the broker has closed the connection, an alert may be left to be read.
            with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
                tls.sendall(frame if is_websocket else packet)

        if is_websocket:
            self._upgrade(tls)
        send(_CONNECT % str(uuid4()).encode())
        if is_websocket:
            _read(tls, 2)  # the header of a short frame
        answer = _read(tls, len(_CONNACK) + 1)
        if not answer.startswith(_CONNACK):
            raise _final(f"{self.name} does not speak MQTT: {_QUESTION}")
        if code := answer[-1]:
            why = _ANSWERS.get(code, f"code {code}")
            raise BrokerConnectionError(
                f"{self.name} refuses this client: {why}; see the broker's log", code != _UNAVAILABLE
            )
        send(_DISCONNECT)

    def _upgrade(self, tls: ssl.SSLSocket) -> None:
        """Change over from HTTP to WebSockets."""
        lines = (
            "GET /mqtt HTTP/1.1",
            f"Host: {self._address}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: mqtt",
            "\r\n",
        )
        with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
            tls.sendall("\r\n".join(lines).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n") and len(answer) < _LONGEST_ANSWER:
            answer += _read(tls, 1)
        status = answer.splitlines()[0].decode(errors="replace")
        if status.split(" ")[1:2] != ["101"]:
            raise _final(f"{self.name} does not take WebSockets: it answers {status!r}; {_QUESTION}")

    def _why(
        self, error: OSError, context: ssl.SSLContext, *, got_certificate: bool
    ) -> BrokerConnectionError:
        """Say what an error during TLS or later means."""
        reason = self._reason(error)
        code = error.reason or "" if isinstance(error, ssl.SSLError) else ""
        certificate = f"the client certificate {self._config.cert_file}"
        if isinstance(error, ssl.SSLCertVerificationError):
            return _final(why_untrusted(error, context, self.name, self._config.broker_ca_bundle))
        if code.endswith(_REFUSALS):
            return _final(
                f"{self.name} refuses {certificate}: {reason}; 'python -m dxlclient provisionconfig' gets one"
                " that the fabric trusts"
            )
        if code.endswith(_NOTHING_IN_COMMON):
            return _final(self._why_no_tls(reason, context))
        if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)):
            # Not every broker says why it refuses a client.
            trust = f"does it trust {certificate}, and " if got_certificate else ""
            return BrokerConnectionError(f"{self.name} closed the connection: {trust}{_QUESTION}")
        if code and "_ALERT_" not in code:
            return _final(f"{self.name} does not speak TLS ({reason}): {_QUESTION}")
        what = f"refuses the connection ({reason}): see the broker's log"
        if not code:
            what = f"takes connections and stays silent ({reason}): {_QUESTION}"
        return BrokerConnectionError(f"{self.name} {what}")

    def _why_no_tls(self, reason: str, context: ssl.SSLContext) -> str:
        """Say whose settings keep this machine and the broker from agreeing on TLS."""
        level, version = context.security_level, context.minimum_version
        if level > 2 or version > ssl.TLSVersion.TLSv1_2:
            return (
                f"{self.name} does not take TLS 1.3 ({reason}), and the crypto policy of this machine"
                f" (security level {level}, {version.name} or newer) forbids what else dxlclient 5.7 offers,"
                f" {_OFFER}: allow level 2 and TLS 1.2 there, or TLS 1.3 on the broker"
            )
        other = self._context()
        other.set_ciphers("DEFAULT")
        taken = ""
        with contextlib.suppress(OSError), self._tls(other) as tls:
            tls.do_handshake()
            taken = f", and takes {(tls.cipher() or ('another cipher',))[0]}"
        return (
            f"{self.name} refuses what dxlclient 5.7 offers ({reason}){taken}: allow TLS 1.3 on the broker,"
            f" or {_OFFER}"
        )

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer within {self._timeout:g} s"
        if isinstance(error, UnicodeError):
            return "not a host name"
        if isinstance(error, ssl.SSLError) and error.reason:
            return re.sub(r"^(SSLV3|TLSV1|TLSV13)_ALERT_", "", error.reason).lower().replace("_", " ")
        return getattr(error, "strerror", None) or str(error)


def _final(reason: str) -> BrokerConnectionError:
    return BrokerConnectionError(reason, is_final=True)


def _read(tls: ssl.SSLSocket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = tls.recv(size - len(received))
        if not part:
            raise ConnectionResetError
        received += part
    return received
