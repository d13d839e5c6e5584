"""Probes a broker by following the same steps as dxlclient, and explains any failure.

To connect, dxlclient opens a TCP connection (directly or through a proxy), performs a TLS handshake, switches
to WebSockets if configured, and sends an MQTT CONNECT packet. With TLS 1.3, only the response to CONNECT
shows whether the broker accepts the client certificate.
"""

import re
import socket
import ssl
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from typing import Any
from uuid import uuid4

import socks
from dxlclient.broker import Broker
from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient._setup.certificates import STRONG, UPDATE, WEAK, check_files, in_words
from dxlthreateventclient.exceptions import BrokerConnectionError

_CIPHER = "AES128-SHA256"  # the only cipher that dxlclient offers for TLS 1.2
_QUESTION = "is it the port of a DXL broker?"

# MQTT packets: a CONNECT with a 38-character client ID, and the first bytes of a CONNACK.
_CONNECT = b"\x10\x32\x00\x04MQTT\x04\x02\x00\x3c\x00\x26{%s}"
_CONNACK = b"\x20\x02\x00"
_ANSWERS = {3: "it is not available now", 4: "it needs a user name", 5: "it does not authorize this client"}
_UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "MDEyMzQ1Njc4OTAxMjM0NQ==",
    "Sec-WebSocket-Protocol": "mqtt",
}

# OpenSSL's names for the alerts that a broker sends to refuse a client certificate. DECRYPT_ERROR means that
# the signature does not match, for example because a CA was recreated under the same name.
_REFUSALS = re.compile("ALERT_.*(ACCESS_DENIED|CERTIFICATE|DECRYPT_ERROR|UNKNOWN_CA)")
# OpenSSL's names for the errors raised when the client and the broker share no TLS version or cipher.
_NOTHING_IN_COMMON = re.compile(
    "HANDSHAKE_FAILURE|INSUFFICIENT_SECURITY|NO_CIPHERS_AVAILABLE|PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL"
)
# The exceptions raised after the broker has closed the connection. If sending fails, the client may still be
# able to read a TLS alert from the broker.
_CLOSED = (ConnectionError, ssl.SSLEOFError)


def address(host: str, port: object) -> str:
    """Join a host and a port, adding brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Probe:
    """One attempt to connect to a broker.

    :param config: the configuration of the client
    :param broker: one of its brokers
    :param timeout: the time limit of each step, in seconds
    """

    def __init__(self, config: DxlClientConfig, broker: Broker, timeout: float) -> None:
        self._config, self._broker, self._timeout = config, broker, timeout
        self._address = address(broker.host_name, broker.port)
        self.name = f"the broker {self._address}"
        """The broker's name for messages."""
        self._proxy: dict[str, Any] = {}
        if config.use_websockets and None not in (config.proxy_addr, config.proxy_port):
            # The arguments that dxlclient passes to PySocks to connect through a proxy.
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
        """Perform all connection steps.

        :return: the TLS version and the broker's certificate
        """
        context, name = self._context(), self._broker.host_name
        with (
            self._open() as connection,
            context.wrap_socket(connection, server_hostname=name, do_handshake_on_connect=False) as tls,
        ):
            try:
                tls.do_handshake()
                if self._config.use_websockets:
                    self._upgrade(tls)
                self._speak_mqtt(tls)
                return tls.version() or "TLS", tls.getpeercert(binary_form=True) or b""
            except BrokerConnectionError:
                raise
            except OSError as error:
                what, is_final = self._why(error, context)
                raise BrokerConnectionError(f"{self.name} {what}", is_final) from error

    def _open(self) -> socket.socket:
        failures = []
        connect = socks.create_connection if self._proxy else socket.create_connection
        for host in dict.fromkeys(filter(None, (self._broker.host_name, self._broker.ip_address))):
            try:
                connection: socket.socket = connect((host, self._broker.port), self._timeout, **self._proxy)
            except socks.ProxyError as error:
                raise self._why_no_tunnel(error) from error
            except OSError as error:
                failures.append(f"cannot reach {address(host, self._broker.port)}: {in_words(error)}")
            else:
                return connection
        question = "is the name right, is the broker running, and does a firewall let you through?"
        raise BrokerConnectionError(f"{', '.join(failures)}; {question}")

    def _context(self) -> ssl.SSLContext:
        """Return a TLS context with dxlclient's settings: one cipher for TLS 1.2, and no host name check."""
        config, context = self._config, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        try:
            context.set_ciphers(_CIPHER)
            context.load_verify_locations(config.broker_ca_bundle)
            context.load_cert_chain(config.cert_file, config.private_key, password="")
        except OSError as error:
            reasons = [str(step.error) for step in check_files(config) if step.error]
            raise BrokerConnectionError("; ".join(reasons) or in_words(error), is_final=True) from error
        return context

    def _upgrade(self, tls: ssl.SSLSocket) -> None:
        """Switch from HTTP to WebSockets."""
        http = HTTPConnection(self._address)
        http.sock = tls
        with suppress(*_CLOSED):
            http.request("GET", "/mqtt", headers=_UPGRADE)
        with http.getresponse() as response:
            if response.status != 101:
                what = f"does not take WebSockets: it answers {response.status} {response.reason!r}"
                raise BrokerConnectionError(f"{self.name} {what}; {_QUESTION}", is_final=True)

    def _speak_mqtt(self, tls: ssl.SSLSocket) -> None:
        """Exchange CONNECT and CONNACK packets, then disconnect."""
        self._send(tls, _CONNECT % str(uuid4()).encode())
        header = 2 if self._config.use_websockets else 0  # the header length of a short WebSocket frame
        with tls.makefile("rb") as answers:
            answer = answers.read(header + len(_CONNACK) + 1)[header:]
        if len(answer) <= len(_CONNACK):
            raise ConnectionResetError("no answer to CONNECT")
        if not answer.startswith(_CONNACK):
            raise BrokerConnectionError(f"{self.name} does not speak MQTT: {_QUESTION}", is_final=True)
        if code := answer[-1]:
            why = f"refuses this client: {_ANSWERS.get(code, f'code {code}')}; see the broker's log"
            raise BrokerConnectionError(f"{self.name} {why}", is_final=code != 3)  # 3: not available now
        self._send(tls, b"\xe0\x00")  # DISCONNECT

    def _send(self, tls: ssl.SSLSocket, packet: bytes) -> None:
        if self._config.use_websockets:
            # A client must mask its WebSocket frames. A mask of zeros leaves the data unchanged.
            packet = b"\x82" + bytes([0x80 | len(packet)]) + bytes(4) + packet
        with suppress(*_CLOSED):
            tls.sendall(packet)

    def _why_no_tunnel(self, error: socks.ProxyError) -> BrokerConnectionError:
        cause = error.socket_err or error
        reason = in_words(cause).partition("\n")[0]
        if isinstance(error, socks.ProxyConnectionError):
            return BrokerConnectionError(f"cannot reach {self._proxy_name}: {reason}; is it running?")
        what = f"{self._proxy_name} refuses to connect to {self._address}: {reason}"
        if reason.startswith("407"):
            what += self._wanted_by_proxy()
        elif not isinstance(cause, socks.HTTPError):
            what += "; is it an HTTP proxy?"
        return BrokerConnectionError(what, is_final=reason.startswith("4"))

    def _wanted_by_proxy(self) -> str:
        """Describe the authentication that the proxy requires, because PySocks does not report it."""
        proxy = HTTPConnection(self._proxy["proxy_addr"], self._proxy["proxy_port"], self._timeout)
        schemes: list[str] = []
        with closing(proxy), suppress(OSError, HTTPException):
            proxy.request("CONNECT", self._address)
            schemes = proxy.getresponse().headers.get_all("Proxy-Authenticate", [])
        known = "dxlclient knows only Basic, with User and Password in [Proxy]"
        return f"; it asks for {' or '.join(map(repr, schemes)) or 'an unknown scheme'}; {known}"

    def _why(self, error: OSError, context: ssl.SSLContext) -> tuple[str, bool]:
        """Explain an error that occurred during or after the TLS handshake.

        :return: the reason, and whether the error is final
        """
        reason, code = in_words(error), getattr(error, "reason", None) or ""
        certificate = f"the client certificate {self._config.cert_file}"
        if isinstance(error, ssl.SSLCertVerificationError):
            return self._why_untrusted(error), True
        if _REFUSALS.search(code):
            remedy = "'python -m dxlclient provisionconfig' gets one that the fabric trusts"
            return f"refuses {certificate}: {reason}; {remedy}", True
        if _NOTHING_IN_COMMON.search(code):
            policy = f"(security level {context.security_level}, {context.minimum_version.name} or newer)"
            offer = f"{_CIPHER} with an RSA key over TLS 1.2 there and in the crypto policy of this machine"
            remedy = f"allow TLS 1.3 on the broker, or {offer} {policy}"
            return f"refuses what dxlclient 5.7 offers ({reason}): {remedy}", True
        if "_ALERT_" in code or isinstance(error, (ssl.SSLZeroReturnError, *_CLOSED)):
            # Some brokers refuse a client without giving a reason.
            return f"closed the connection ({reason}): does it trust {certificate}, and {_QUESTION}", False
        if not code:
            return f"accepts connections but does not answer ({reason}): {_QUESTION}", False
        proxy = " Or does the proxy answer in several parts? dxlclient reads only the first."
        return f"does not speak TLS ({reason}): {_QUESTION}{proxy if self._proxy else ''}", True

    def _why_untrusted(self, error: ssl.SSLCertVerificationError) -> str:
        """Explain why the broker's certificate is not trusted."""
        chain = f"BrokerCertChain ({self._config.broker_ca_bundle})"
        problem, remedy = f"is not signed by a CA in {chain}", f"{UPDATE}; or is it not that of a DXL broker?"
        if error.verify_code in (9, 10):  # not valid yet, expired
            problem = "or one of its CAs is not valid now"
            remedy = f"set the clock of this machine, have it renewed on the broker, or {UPDATE}"
        elif error.verify_code in WEAK:
            problem, remedy = "or one of its CAs is weak, and OpenSSL on this machine refuses it", STRONG
        return f"has a certificate that cannot be trusted: it {problem} ({error.verify_message}): {remedy}"
