"""Tries a broker as dxlclient would, and tells what keeps it from working.

dxlclient itself only says that it could not connect, and over TLS 1.3 not even that: there the refusal of a
client certificate arrives after the handshake.
"""

import socket
import ssl
from uuid import uuid4

from dxlclient.broker import Broker
from dxlclient.client_config import DxlClientConfig

_TIMEOUT = 5.0
_CONNECT = b"\x10\x32\x00\x04MQTT\x04\x02\x00\x3c\x00\x26{%s}"
_ACCEPTED = b"\x20\x02\x00\x00"
_DISCONNECT = b"\xe0\x00"

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


class BrokerError(Exception):
    """A broker cannot be used: what is wrong, and what to do.

    :param message: both, in one sentence
    :param is_final: whether trying again is of no use
    """

    def __init__(self, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.is_final = is_final


def address(broker: Broker) -> str:
    """Return how to name a broker to the user."""
    return f"{broker.host_name}:{broker.port}"


def through_proxy(config: DxlClientConfig) -> bool:
    """Tell whether the brokers are reached through a proxy, where they cannot be tried."""
    return config.use_websockets and None not in (config.proxy_addr, config.proxy_port)


def try_broker(config: DxlClientConfig, broker: Broker) -> str:
    """Connect to a broker with the client certificate, say hello and leave.

    :return: the version of TLS
    :raise BrokerError: if that is not possible
    """
    return try_tls(config, broker, try_tcp(broker))


def try_tcp(broker: Broker) -> socket.socket:
    """Open a TCP connection to a broker: to its host name, else to its IP address.

    :raise BrokerError: if that is not possible
    """
    hosts = dict.fromkeys(filter(None, (broker.host_name, broker.ip_address)))
    failures = []
    for host in hosts:
        try:
            return socket.create_connection((host, broker.port), timeout=_TIMEOUT)
        except (OSError, UnicodeError) as error:
            failures.append(f"cannot reach {host}:{broker.port}: {_reason(error)}")
    raise BrokerError(
        f"{', '.join(failures)}; is the broker running, and does a firewall let you through?",
        is_final=False,
    )


def try_tls(config: DxlClientConfig, broker: Broker, connection: socket.socket) -> str:
    """Do what :func:`try_broker` does, over a TCP connection, which is closed.

    Over WebSockets it ends with the TLS handshake.
    """
    with _context(config).wrap_socket(
        connection, server_hostname=broker.host_name, do_handshake_on_connect=False
    ) as tls:
        try:
            tls.do_handshake()
            if not config.use_websockets:
                _say_hello(broker, tls)
            return tls.version() or "TLS"
        except ssl.SSLCertVerificationError as error:
            raise BrokerError(
                f"the certificate of the broker {address(broker)} is not trusted: {error.verify_message};"
                f" BrokerCertChain ({config.broker_ca_bundle}) has to hold the CA certificates of this"
                " fabric, and the clock has to be right",
                is_final=True,
            ) from error
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError) as error:
            if tls.cipher():
                # It got as far as to look at the certificate, and not every broker sends an alert.
                raise _refused(config, broker, "it closed the connection") from error
            raise BrokerError(
                f"the broker {address(broker)} closed the connection when TLS began; is this the port of a"
                " DXL broker, and is it running?",
                is_final=False,
            ) from error
        except ssl.SSLError as error:
            if (error.reason or "").endswith(_REFUSALS):
                raise _refused(config, broker, _reason(error)) from error
            raise BrokerError(
                f"the broker {address(broker)} speaks no TLS that DXL uses: {_reason(error)}; is this the"
                " port of a DXL broker?",
                is_final=True,
            ) from error
        except OSError as error:
            raise BrokerError(
                f"the broker {address(broker)} accepts connections but does not answer: {_reason(error)};"
                " is this the port of a DXL broker?",
                is_final=False,
            ) from error


def _context(config: DxlClientConfig) -> ssl.SSLContext:
    # As dxlclient has it: one cipher for TLS 1.2, and no look at the name in the certificate.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.set_ciphers("AES128-SHA256")
    context.load_verify_locations(config.broker_ca_bundle)
    context.load_cert_chain(config.cert_file, config.private_key)
    return context


def _say_hello(broker: Broker, tls: ssl.SSLSocket) -> None:
    """Send the CONNECT of MQTT: only its answer shows that the client certificate was accepted."""
    tls.sendall(_CONNECT % str(uuid4()).encode())
    answer = tls.recv(len(_ACCEPTED))
    if not answer:
        raise ConnectionResetError
    if answer != _ACCEPTED:
        raise BrokerError(
            f"the broker {address(broker)} refuses this client (answer {answer.hex()}); see the broker's log",
            is_final=True,
        )
    tls.sendall(_DISCONNECT)


def _refused(config: DxlClientConfig, broker: Broker, reason: str) -> BrokerError:
    return BrokerError(
        f"the broker {address(broker)} refuses the client certificate {config.cert_file}: {reason};"
        " 'python -m dxlclient provisionconfig' gets one that the fabric trusts",
        is_final=True,
    )


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error)
