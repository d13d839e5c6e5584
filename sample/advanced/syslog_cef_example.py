"""Sends each ePO threat event as CEF over syslog (RFC 5424) to a collector, by UDP or TCP."""

import argparse
import errno
import logging
import socket
import sys
from contextlib import closing
from datetime import datetime, timezone
from logging.handlers import SysLogHandler
from pathlib import Path

from dxlclient.client import DxlClient

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.formats import to_cef

sys.path.append(str(Path(__file__).parents[1]))
from common import client_config, missing_extra, positive

try:
    import tenacity
except ModuleNotFoundError as error:
    sys.exit(missing_extra(error))

logger = logging.getLogger(__name__)


class Collector(SysLogHandler):
    """Python's handler, which here raises its errors instead of printing them."""

    append_nul = False
    socket = socket.socket()  # in Python 3.10 one that cannot connect has none, and fails to close it at exit

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Raise the error that is being handled."""
        raise  # noqa: PLE0704


@tenacity.retry(
    retry=tenacity.retry_if_exception(lambda e: isinstance(e, OSError) and e.errno != errno.EMSGSIZE),
    wait=tenacity.wait_exponential(multiplier=0.1, max=10),
    before_sleep=tenacity.before_sleep_log(logger, logging.WARNING),
)
def send(address: tuple[str, int], tcp: bool, message: str) -> None:
    """Send a message with the header of RFC 5424. With TCP it has a connection, and a line, of its own."""
    socket_type, end = (socket.SOCK_STREAM, "\n") if tcp else (socket.SOCK_DGRAM, "")
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    line = f"1 {now} {socket.gethostname()} dxlthreateventclient - threat-event - {message}{end}"
    with closing(Collector(address, SysLogHandler.LOG_LOCAL0, socket_type)) as collector:
        collector.handle(logging.makeLogRecord({"msg": line, "levelname": "WARNING"}))


def main() -> None:
    """Send what arrives, until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", help="the collector's name or IP address")
    parser.add_argument("port", type=positive, help="its port, most often 514 for UDP and 601 or 514 for TCP")
    parser.add_argument("--tcp", action="store_true", help="use TCP instead of UDP")
    options = parser.parse_args()
    if options.port > 65535:
        parser.error(f"{options.port} is no port: the last one is 65535")
    with DxlClient(client_config()) as dxl_client:
        dxl_client.connect()
        with CommonThreatEventClient(dxl_client) as client, client.threat_events() as events:
            print("Waiting for threat events...", flush=True)
            for threat_event, original_event in events:
                try:
                    send((options.host, options.port), options.tcp, to_cef(threat_event))
                    print(f"Sent {original_event.message_id!r}", flush=True)
                except OSError:
                    logger.exception("Message %s was not sent", original_event.message_id)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
