"""The subcommand ``publish``: sends threat events as ePO would."""

import argparse
from itertools import chain, cycle, islice

from dxlclient.exceptions import DxlException

from dxlthreateventclient import connect, load_configuration
from dxlthreateventclient._cli import arguments
from dxlthreateventclient._cli.broker import Echo, closing_client
from dxlthreateventclient._cli.documents import read_documents
from dxlthreateventclient._cli.signals import INTERRUPTED, pause
from dxlthreateventclient._cli.terminal import CommandError, show_progress, tell
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.connection import address
from dxlthreateventclient.testing import publish_threat_event, sample_threat_event

# How many events may be on their way; it also bounds what dxlclient queues in memory.
_BATCH = 500


def add_subcommands(subcommands: arguments.Subcommands) -> None:
    """Add the parser of ``publish``."""
    parser = arguments.add_subcommand(
        subcommands,
        "publish",
        run_publish,
        "Send threat events as ePO would: from files, or a sample event. All who listen take them for real"
        " ones, so the fabric has to be named.",
        (
            "--config my/dxlclient.config",
            "--config my/dxlclient.config threat-event.json --count 10 --interval 0.5",
            "--config my/dxlclient.config - < threat-events.ndjson",
        ),
    )
    parser.set_defaults(interrupted=INTERRUPTED)
    add = parser.add_argument
    what = "a JSON object, an array of them, or one in each line; '-' is stdin (default: a sample event)"
    add("files", nargs="*", metavar="FILE", help=what)
    what = "the configuration of the DXL client; required, so that nobody sends made-up threats by accident"
    add("-c", "--config", metavar="FILE", required=True, help=what)
    what = "how many events to send, starting over if there are fewer (default: each of them once)"
    add("--count", metavar="N", type=arguments.positive, help=what)
    what = "how long to wait between two events (default: %(default)s)"
    add("--interval", metavar="SECONDS", type=arguments.seconds, default=0.0, help=what)
    what = "the topic to send on (default: %(default)s)"
    add("--topic", type=arguments.topic, default=EPO_THREAT_EVENT_RESPONSE_TOPIC, help=what)


def run_publish(options: argparse.Namespace) -> int:
    """Send the events, and return when the broker has them all."""
    # All are read before the first is sent: a bad document keeps every event from being sent.
    documents = list(chain.from_iterable(map(read_documents, options.files)))
    total = options.count or len(documents) or 1
    threat_events = cycle(documents) if documents else iter(sample_threat_event, None)
    with closing_client(load_configuration(options.config)) as client:
        # A new connection would hide what was lost with the one before.
        client.config.reconnect_when_disconnected = False
        echo = Echo(client)
        connect(client, retries=0)
        broker = address(client.current_broker or client.config.brokers[0])
        tell(f"Sending {_events(total)} to the broker {broker} on topic {options.topic}")
        sent = 0
        try:
            for threat_event in islice(threat_events, total):
                if sent:
                    pause(options.interval)
                publish_threat_event(client, threat_event, options.topic)
                sent += 1
                # dxlclient only queues it, and drops its queue with the connection.
                if sent % _BATCH == 0 or sent == total:
                    echo.wait()
                if options.interval or sent % _BATCH == 0:
                    show_progress(f"{sent} of {_events(total)} sent")
            show_progress("")
        except DxlException as error:
            raise CommandError(
                f"{error}; {sent} of {_events(total)} had been sent, and the last {min(sent, _BATCH)}"
                " of these may be lost",
                status=1,
            ) from error
        except KeyboardInterrupt:
            tell(f"Interrupted after {_events(sent)} of {total}")
            raise
    return 0


def _events(number: int) -> str:
    return f"{number} event{'s' if number != 1 else ''}"
