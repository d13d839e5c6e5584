"""The subcommand ``publish``: sends threat events as ePO would."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, cycle, islice
from pathlib import Path

from dxlclient.exceptions import DxlException

from dxlthreateventclient._cli.arguments import add_subcommand, positive, seconds, topic
from dxlthreateventclient._cli.connection import connect, dxl_client
from dxlthreateventclient._cli.documents import read_documents
from dxlthreateventclient._cli.echo import Echo
from dxlthreateventclient._cli.errors import CommandError
from dxlthreateventclient._cli.messages import tell
from dxlthreateventclient._cli.probe import address
from dxlthreateventclient._cli.signals import INTERRUPTED, pause
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.testing.events import publish_threat_event, sample_threat_event

# How many events may be on their way; it also bounds what dxlclient queues in memory.
_BATCH = 500
_SHOWN_AFTER = 1.0  # in seconds


def add_subcommands(subcommands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parser of ``publish``."""
    parser = add_subcommand(
        subcommands,
        "publish",
        summary="send threat events as ePO would",
        description="Send threat events as ePO would: from files, or a sample event. Whoever listens takes"
        " them for real, so that the fabric has to be named.",
        examples=(
            "--config my/dxlclient.config",
            "--config my/dxlclient.config threat-event.json --count 10 --interval 0.5",
            "--config my/dxlclient.config - < threat-events.ndjson",
        ),
    )
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="a file with a JSON object, an array of them, or one in each line; '-' is stdin"
        " (default: a sample event)",
    )
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        type=Path,
        required=True,
        help="the configuration of the DXL client. It has no default, and the environment variable"
        " DXLCLIENT_CONFIG does not count: nobody is to send made-up threats by accident",
    )
    parser.add_argument(
        "--count",
        metavar="N",
        type=positive,
        help="how many events to send in all, going through them again if there are fewer"
        " (default: each of them once)",
    )
    parser.add_argument(
        "--interval",
        metavar="SECONDS",
        type=seconds,
        default=0.0,
        help="how long to wait between two events (default: %(default)s)",
    )
    parser.add_argument(
        "--topic",
        metavar="TOPIC",
        type=topic,
        default=EPO_THREAT_EVENT_RESPONSE_TOPIC,
        help="the topic to send on (default: %(default)s)",
    )
    parser.set_defaults(run=run_publish, interrupted=INTERRUPTED)


def run_publish(options: argparse.Namespace) -> int:
    """Send the events, and return when the broker has them all."""
    # All are read before the first is sent: a bad document keeps every event from being sent.
    documents = list(chain.from_iterable(map(read_documents, options.files)))
    total = options.count or len(documents) or 1
    threat_events = cycle(documents) if documents else iter(sample_threat_event, None)
    with dxl_client(options.config) as client:
        # A new connection would hide what was lost with the one before.
        client.config.reconnect_when_disconnected = False
        echo = Echo(client)
        connect(client, retries=0)
        broker = address(client.current_broker or client.config.brokers[0])
        tell(f"Sending {_events(total)} to the broker {broker} on topic {options.topic}")
        sent = 0
        try:
            with _progress(total) as advance:
                for threat_event in islice(threat_events, total):
                    if sent:
                        pause(options.interval)
                    publish_threat_event(client, threat_event, options.topic)
                    sent += 1
                    # dxlclient only queues it, and drops its queue with the connection.
                    if sent % _BATCH == 0 or sent == total:
                        echo.wait()
                    advance()
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


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """Show how far it is, on a terminal, if it takes long. Yields what to call after each event."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    try:
        from rich.console import Console  # noqa: PLC0415 - from an extra
        from rich.progress import Progress  # noqa: PLC0415
    except ModuleNotFoundError:
        yield lambda: None
        return
    progress = Progress(console=Console(stderr=True), transient=True)
    task = progress.add_task("Sending", total=total)
    shown_from = time.monotonic() + _SHOWN_AFTER

    def advance() -> None:
        progress.advance(task)
        if time.monotonic() >= shown_from:
            progress.start()

    try:
        yield advance
    finally:
        progress.stop()


def _events(number: int) -> str:
    return f"{number} event{'s' if number != 1 else ''}"
