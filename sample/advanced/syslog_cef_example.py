"""Sends each ePO threat event as CEF over syslog (RFC 5424) to a collector, by UDP or TCP."""

import argparse
import errno
import logging
import socket
import sys
from datetime import datetime, timezone
from pathlib import Path

from dxlclient.client import DxlClient

from dxlthreateventclient import CommonThreatEventClient, connect, load_configuration
from dxlthreateventclient.formats import to_cef

sys.path.append(str(Path(__file__).parents[1]))
from common import CONFIG_FILE, missing_extra, positive, run

try:
    import tenacity
except ModuleNotFoundError as error:
    sys.exit(missing_extra(error))

# Facility local0 (16), severity warning (4). The severity of the event is in the CEF text.
PRIORITY = 16 * 8 + 4
logger = logging.getLogger(__name__)


def syslog_message(text: str) -> bytes:
    """Return a text with the header of RFC 5424."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    header = f"<{PRIORITY}>1 {now} {socket.gethostname()} dxlthreateventclient - threat-event -"
    return f"{header} {text}".encode()


def can_be_sent_later(error: BaseException) -> bool:
    """Return whether to try again: an error of the network, but not a message that is too long for UDP."""
    return isinstance(error, OSError) and error.errno != errno.EMSGSIZE


@tenacity.retry(
    retry=tenacity.retry_if_exception(can_be_sent_later),
    wait=tenacity.wait_exponential(multiplier=0.1, max=10),
    before_sleep=tenacity.before_sleep_log(logger, logging.WARNING),
)
def send(host: str, port: int, tcp: bool, message: bytes) -> None:
    """Send a message; try again until the network accepts it."""
    if tcp:
        with socket.create_connection((host, port), timeout=10) as connection:
            connection.sendall(message + b"\n")  # over TCP, a line end separates messages
    else:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as udp:
            udp.sendto(message, address)


def main() -> None:
    """Send each event that arrives, until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", help="the collector's name or IP address")
    parser.add_argument("port", type=positive, help="its port, usually 514 for UDP, and 601 or 514 for TCP")
    parser.add_argument("--tcp", action="store_true", help="use TCP instead of UDP")
    options = parser.parse_args()
    if options.port > 65535:
        parser.error(f"port must be at most 65535, got {options.port}")

    with DxlClient(load_configuration(CONFIG_FILE)) as dxl_client:
        connect(dxl_client)
        with CommonThreatEventClient(dxl_client) as client, client.threat_events() as events:
            print("Waiting for threat events...", flush=True)
            for threat_event, original_event in events:
                try:
                    send(options.host, options.port, options.tcp, syslog_message(to_cef(threat_event)))
                except OSError:
                    logger.exception("Message %s was not sent", original_event.message_id)
                else:
                    print(f"Sent {original_event.message_id!r}", flush=True)


if __name__ == "__main__":
    run(main)
