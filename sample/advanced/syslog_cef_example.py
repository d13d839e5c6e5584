"""Sends each ePO threat event as CEF to a syslog (RFC 5424) collector over UDP, TCP or TLS."""

import argparse
import logging
import socket
import ssl
import sys
from datetime import datetime, timezone
from pathlib import Path

from dxlclient.client import DxlClient

from dxlthreateventclient import CommonThreatEventClient, connect, load_configuration
from dxlthreateventclient.formats import to_cef

sys.path.append(str(Path(__file__).parents[1]))
from common import CONFIG_FILE, handling, missing_extra, on_stop, positive, run

try:
    import tenacity
except ModuleNotFoundError as error:
    sys.exit(missing_extra(error))

# Facility local0 (16), severity warning (4). The CEF text contains the event's severity.
PRIORITY = 16 * 8 + 4
logger = logging.getLogger(__name__)


def syslog_message(text: str, now: datetime) -> bytes:
    """Return a syslog message that consists of an RFC 5424 header and the text."""
    time = now.isoformat(timespec="milliseconds")
    header = f"<{PRIORITY}>1 {time} {socket.gethostname()} dxlthreateventclient - threat-event -"
    return f"{header} {text}".encode()


class Collector:
    """Sends messages to a syslog collector and reconnects whenever the connection is lost.

    :param host: the collector's name or IP address
    :param port: the collector's port
    :param tcp: True for TCP, False for UDP
    :param octet_counting: True to send the length before each message (RFC 6587), False to send a line end
        after it
    :param tls: the settings for TLS over TCP (RFC 5425)
    """

    def __init__(
        self, host: str, port: int, *, tcp: bool, octet_counting: bool, tls: ssl.SSLContext | None
    ) -> None:
        self._address = host, port
        self._tcp, self._octet_counting, self._tls = tcp, octet_counting, tls
        self._connection: socket.socket | None = None
        self._sent = 0

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(OSError),
        wait=tenacity.wait_exponential(multiplier=0.1, max=10),
        before_sleep=tenacity.before_sleep_log(logger, logging.WARNING),
    )
    def send(self, message: bytes) -> None:
        """Send a message. Retry until the network accepts the message."""
        if self._octet_counting:
            message = b"%d %b" % (len(message), message)
        elif self._tcp:
            message += b"\n"
        try:
            if self._connection is None:
                self._connection = self._connect()
            self._raise_if_closed(self._connection)
            # Set no time limit. Reconnecting would not help, because an unresponsive collector's operating
            # system still accepts connections.
            self._connection.sendall(message)
        except OSError:
            self._close()
            raise
        self._sent += 1

    def _connect(self) -> socket.socket:
        if not self._tcp:
            family, kind, protocol, _, address = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
            udp = socket.socket(family, kind, protocol)
            udp.connect(address)
            return udp
        connection = socket.create_connection(self._address, timeout=10)
        # Firewalls drop idle connections. A small send buffer limits the number of messages lost if the
        # collector fails.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_hostname=self._address[0])
            # With TLS 1.3, a collector refuses an invalid or missing client certificate only after the
            # handshake.
            self._raise_if_closed(connection, within=1)
        return connection

    def _raise_if_closed(self, connection: socket.socket, within: float = 0) -> None:
        """Raise an error if the collector has closed the connection.

        Without this check, TCP would accept one more message and lose it.
        """
        connection.settimeout(within)
        try:
            if connection.recv(1) == b"":
                raise ConnectionResetError("the collector closed the connection")
        except (BlockingIOError, TimeoutError, ssl.SSLWantReadError):
            pass  # the connection is still open, and the collector has sent no data
        connection.settimeout(None)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            logger.warning(
                "Connection lost after %d messages: the last messages may not have arrived", self._sent
            )
        self._sent = 0


def main() -> None:
    """Send incoming events until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", help="the collector's name or IP address")
    parser.add_argument("port", type=positive, help="usually 514 for UDP, 601 or 514 for TCP, 6514 for TLS")
    transport = parser.add_mutually_exclusive_group()
    transport.add_argument("--tcp", action="store_true", help="use TCP instead of UDP")
    transport.add_argument("--tls", action="store_true", help="use TLS over TCP")
    parser.add_argument("--ca", metavar="FILE", help="the CA of the collector (default: the system's CAs)")
    parser.add_argument("--certificate", metavar="FILE", help="your certificate and key for the collector")
    parser.add_argument(
        "--octet-counting", action="store_true", help="with --tcp: send the length of each message"
    )
    options = parser.parse_args()
    if options.port > 65535:
        parser.error(f"port must be at most 65535, got {options.port}")
    if options.octet_counting and not options.tcp:
        parser.error("--octet-counting needs --tcp; TLS always has it")
    tls = None
    if options.tls:
        try:
            tls = ssl.create_default_context(cafile=options.ca)
            if options.certificate:
                tls.load_cert_chain(options.certificate)
        except OSError as error:
            parser.error(f"cannot use {options.ca or ''} {options.certificate or ''}: {error}")
    collector = Collector(
        options.host,
        options.port,
        tcp=options.tcp or options.tls,
        octet_counting=options.octet_counting or options.tls,
        tls=tls,
    )

    with DxlClient(load_configuration(CONFIG_FILE)) as dxl_client:
        connect(dxl_client)
        with CommonThreatEventClient(dxl_client) as client, client.threat_events() as events:
            on_stop(events.drain)
            print("Waiting for threat events...", flush=True)
            for threat_event, original_event in events:
                now = datetime.now(timezone.utc)
                text = to_cef(threat_event, event_id=original_event.message_id, arrived=now)
                with handling(original_event):
                    collector.send(syslog_message(text, now))
                print(f"Sent {original_event.message_id!r}", flush=True)


if __name__ == "__main__":
    run(main)
