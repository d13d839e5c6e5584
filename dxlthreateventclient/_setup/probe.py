"""Probes a broker in the same steps as dxlclient connects, and explains failures.

The steps are TCP or the proxy, TLS, WebSockets if used, and MQTT's CONNECT. With TLS 1.3, only the answer to
CONNECT shows that the broker accepts the client certificate.
"""

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from typing import Any, BinaryIO
from uuid import uuid4

import socks
from dxlclient.broker import Broker
from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient._setup.certificates import STRONG, UPDATE, WEAK, check_files, in_words, valid_until
from dxlthreateventclient.exceptions import BrokerConnectionError, ConfigurationError

_CIPHER = "AES128-SHA256"  # the only cipher that dxlclient offers for TLS 1.2
_QUESTION = "is it the port of a DXL broker?"

# MQTT packets: CONNECT with a client id of 38 characters, the first bytes of CONNACK, and DISCONNECT.
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
_UPGRADE = (
    "GET /mqtt HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
    "\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)

# OpenSSL's names for alerts with which a broker refuses a client certificate. DECRYPT_ERROR means that the
# signature does not match, for example because a CA was recreated under the same name.
_REFUSALS = re.compile(
    "(ACCESS_DENIED|BAD_CERTIFICATE|CERTIFICATE_(EXPIRED|REQUIRED|REVOKED|UNKNOWN)|DECRYPT_ERROR|UNKNOWN_CA"
    "|UNSUPPORTED_CERTIFICATE)$"
)
# OpenSSL's names for errors when the two sides share no TLS version or no cipher.
_NOTHING_IN_COMMON = re.compile(
    "(HANDSHAKE_FAILURE|INSUFFICIENT_SECURITY|NO_CIPHERS_AVAILABLE|PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL)$"
)


def address(host: str, port: object) -> str:
    """Return a host and a port, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Probe:
    """One attempt to connect to a broker.

    :param config: the configuration of the client
    :param broker: one of its brokers
    :param timeout: the time limit of each step, in seconds
    """

    name: str
    """The broker's name for messages."""

    def __init__(self, config: DxlClientConfig, broker: Broker, timeout: float) -> None:
        self._config, self._broker, self._timeout = config, broker, timeout
        self._address = address(broker.host_name, broker.port)
        self.name = f"the broker {self._address}"
        self._proxy: dict[str, Any] = {}
        if config.use_websockets and None not in (config.proxy_addr, config.proxy_port):
            # dxlclient passes the same arguments to PySocks.
            names = [f"proxy_{name}" for name in ("type", "addr", "port", "rdns", "username", "password")]
            self._proxy = {name: getattr(config, name) for name in names}
            self._proxy["proxy_port"] = int(self._proxy["proxy_port"])
            self._proxy_name = f"the proxy {address(str(config.proxy_addr), config.proxy_port)}"
            self.name += f" behind {self._proxy_name}"

    def reach(self) -> tuple[str, bytes]:
        """Connect without TLS. Return ``"reachable"`` and no certificate."""
        self._open().close()
        return "reachable", b""

    def hello(self) -> tuple[str, bytes]:
        """Connect, up to and including MQTT. Return the version of TLS and the broker's certificate."""
        with self._tls(self._context()) as tls, tls.makefile("rb") as answers:
            if self._config.use_websockets:
                self._upgrade(tls, answers)
            self._send(tls, _CONNECT % str(uuid4()).encode())
            header = 2 if self._config.use_websockets else 0  # the header of a short frame
            answer = answers.read(header + len(_CONNACK) + 1)[header:]
            if len(answer) <= len(_CONNACK):
                raise ConnectionResetError
            if not answer.startswith(_CONNACK):
                raise _final(f"{self.name} does not speak MQTT: {_QUESTION}")
            if code := answer[-1]:
                why = f"refuses this client: {_ANSWERS.get(code, f'code {code}')}; see the broker's log"
                raise BrokerConnectionError(f"{self.name} {why}", is_final=code != 3)  # 3: not available now
            self._send(tls, _DISCONNECT)
            return tls.version() or "TLS", tls.getpeercert(binary_form=True) or b""

    def _open(self) -> socket.socket:
        failures, question = [], "is the name right, and does this machine use the right DNS server?"
        connect = socks.create_connection if self._proxy else socket.create_connection
        for host in dict.fromkeys(filter(None, (self._broker.host_name, self._broker.ip_address))):
            target = (host, self._broker.port)
            try:
                connection: socket.socket = connect(target, self._timeout, **self._proxy)
            except socks.ProxyError as error:
                raise self._why_no_tunnel(error) from error
            except (socket.gaierror, UnicodeError) as error:
                name = self._config.proxy_addr if self._proxy else host
                failures.append(f"cannot resolve the name {name}: {in_words(error)}")
            except OSError as error:
                failures.append(f"cannot reach {address(*target)}: {in_words(error)}")
                question = "is the broker running, and does a firewall let you through?"
            else:
                connection.settimeout(self._timeout)
                return connection
        raise BrokerConnectionError(f"{', '.join(failures)}; {question}")

    def _context(self) -> ssl.SSLContext:
        """Return a context like dxlclient's: one cipher for TLS 1.2, and no check of the host name."""
        config, context = self._config, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        try:
            context.set_ciphers(_CIPHER)
            context.load_verify_locations(config.broker_ca_bundle)
            context.load_cert_chain(config.cert_file, config.private_key, password="")
        except OSError as error:
            found = [
                str(result) for _, result in check_files(config) if isinstance(result, ConfigurationError)
            ]
            raise _final("; ".join(found) or in_words(error)) from error
        return context

    @contextmanager
    def _tls(self, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
        name = self._broker.host_name
        with (
            self._open() as connection,
            context.wrap_socket(connection, server_hostname=name, do_handshake_on_connect=False) as tls,
        ):
            try:
                tls.do_handshake()
                yield tls
            except BrokerConnectionError:
                raise
            except OSError as error:
                raise self._why(error, context, is_encrypted=tls.cipher() is not None) from error

    def _upgrade(self, tls: ssl.SSLSocket, answers: BinaryIO) -> None:
        """Switch from HTTP to WebSockets."""
        self._send(tls, (_UPGRADE % self._address).encode(), is_frame=False)
        lines = [answers.readline(1000)]
        while lines[-1].strip() and len(lines) < 100:
            lines.append(answers.readline(1000))
        status = lines[0].decode(errors="replace").strip()
        if status and status.split(" ")[1:2] != ["101"]:
            raise _final(f"{self.name} does not take WebSockets: it answers {status!r}; {_QUESTION}")

    def _send(self, tls: ssl.SSLSocket, packet: bytes, *, is_frame: bool = True) -> None:
        if is_frame and self._config.use_websockets:
            # A WebSocket frame must be masked; a mask of zeros changes nothing.
            packet = b"\x82" + bytes([0x80 | len(packet)]) + bytes(4) + packet
        # Even if the broker has closed the connection, there may be an unread alert.
        with suppress(ConnectionError, ssl.SSLEOFError):
            tls.sendall(packet)

    def _why_no_tunnel(self, error: socks.ProxyError) -> BrokerConnectionError:
        cause = error.socket_err or error
        reason = in_words(cause).partition("\n")[0]
        if isinstance(error, socks.ProxyConnectionError):
            return BrokerConnectionError(f"cannot reach {self._proxy_name}: {reason}; is it running?")
        if isinstance(cause, socks.HTTPError):
            what, is_final = f"refuses to connect to {self._address}: {reason}", reason.startswith("4")
            if reason.startswith("407"):
                what += self._why_no_access()
        else:
            what, is_final = f"does not connect to {self._address}: {reason}; is it an HTTP proxy?", False
        return BrokerConnectionError(f"{self._proxy_name} {what}", is_final)

    def _why_no_access(self) -> str:
        """Describe the authentication that the proxy requires. PySocks does not report it."""
        user, password = self._proxy["proxy_username"], self._proxy["proxy_password"]
        sent = "User and Password" if user and password else "no user: [Proxy] must have User and Password"
        schemes: list[str] = []
        proxy = HTTPConnection(self._proxy["proxy_addr"], self._proxy["proxy_port"], self._timeout)
        with closing(proxy), suppress(OSError, HTTPException):
            proxy.request("CONNECT", self._address)
            for challenge in proxy.getresponse().headers.get_all("Proxy-Authenticate", []):
                schemes += re.findall(r"(?:^|, *)(\w+)(?= [\w-]+=|,|$)", challenge)
        wanted = " or ".join(schemes) or "an unknown scheme"
        return f"; it asks for {wanted}, dxlclient knows only Basic and sent {sent}"

    def _why(self, error: OSError, context: ssl.SSLContext, *, is_encrypted: bool) -> BrokerConnectionError:
        """Explain an error during TLS or later."""
        reason, certificate = in_words(error), f"the client certificate {self._config.cert_file}"
        code = (error.reason if isinstance(error, ssl.SSLError) else "") or ""
        if isinstance(error, ssl.SSLCertVerificationError):
            return _final(self._why_untrusted(error, context))
        if _REFUSALS.search(code):
            remedy = "'python -m dxlclient provisionconfig' gets one that the fabric trusts"
            return _final(f"{self.name} refuses {certificate}: {reason}; {remedy}")
        if _NOTHING_IN_COMMON.search(code):
            return _final(f"{self.name} {self._why_no_tls(reason, context)}")
        if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)):
            # Some brokers refuse a client without giving a reason.
            trust = f"does it trust {certificate}, and " if is_encrypted else ""
            return BrokerConnectionError(f"{self.name} closed the connection: {trust}{_QUESTION}")
        what, is_final = f"takes connections and stays silent ({reason}): {_QUESTION}", False
        if "_ALERT_" in code:
            what = f"refuses the connection ({reason}): see the broker's log"
        elif code:
            what, is_final = f"does not speak TLS ({reason}): {_QUESTION}", True
            if self._proxy:
                what += " Or does the proxy answer in several parts? dxlclient reads only the first."
        return BrokerConnectionError(f"{self.name} {what}", is_final)

    def _why_untrusted(self, error: ssl.SSLCertVerificationError, context: ssl.SSLContext) -> str:
        """Explain why the broker's certificate is not trusted."""
        certificate = f"the certificate of {self.name}"
        chain = f"BrokerCertChain ({self._config.broker_ca_bundle})"
        if error.verify_code in (9, 10):  # not valid yet, expired
            context.verify_mode = ssl.CERT_NONE  # otherwise the certificate is not available
            try:
                with self._tls(context) as tls:
                    valid_until([tls.getpeercert(binary_form=True) or b""], "have it renewed on the broker")
            except ValueError as reason:
                return f"{certificate} {reason}"
            return f"a CA certificate in {chain}, or one that {self.name} sends, is not valid now: {UPDATE}"
        if error.verify_code in WEAK:
            what = "is weak, and OpenSSL on this machine refuses it"
            return f"{certificate}, or that of its CA, {what} ({error.verify_message}): {STRONG}"
        if not context.get_ca_certs():
            return f"{chain} holds no CA certificate, nor {certificate}: {UPDATE}"
        what = f"is not signed by a CA in {chain} ({error.verify_message}): {UPDATE}"
        return f"{certificate} {what}; or is it not that of a DXL broker?"

    def _why_no_tls(self, reason: str, context: ssl.SSLContext) -> str:
        """Explain why this machine and the broker cannot agree on TLS settings."""
        level, version = context.security_level, context.minimum_version
        because, remedy = "", f"{_CIPHER} with an RSA key over TLS 1.2"
        if level > 2 or version > ssl.TLSVersion.TLSv1_2:
            policy = f"(security level {level}, {version.name} or newer)"
            because = f", and the crypto policy of this machine {policy} forbids {remedy}"
            remedy = "level 2 and TLS 1.2 here"
        else:
            context.set_ciphers("DEFAULT")
            with suppress(OSError), self._open() as connection, context.wrap_socket(connection) as tls:
                because = f", and takes {(tls.cipher() or ('another cipher',))[0]}"
        return (
            f"refuses what dxlclient 5.7 offers ({reason}){because}: allow TLS 1.3 on the broker, or {remedy}"
        )


def _final(reason: str) -> BrokerConnectionError:
    return BrokerConnectionError(reason, is_final=True)
