"""The ``publish`` subcommand, which sends threat events as ePO would."""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

from dxlclient.exceptions import DxlException

from dxlthreateventclient import ThreatEventDecodeError, connect, load_configuration
from dxlthreateventclient._cli import arguments
from dxlthreateventclient._cli.broker import Echo, closing_client
from dxlthreateventclient._cli.signals import INTERRUPTED, pause
from dxlthreateventclient._cli.terminal import CommandError, show_progress, tell
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.connection import address
from dxlthreateventclient.payload import decode_threat_event
from dxlthreateventclient.testing import publish_threat_event, sample_threat_event

# The maximum number of events in transit, which also limits dxlclient's in-memory queue.
_BATCH = 500

# A DXL broker accepts messages of up to 1 MiB, including a small envelope around the payload.
_LARGEST = 2**20 - 2**10
_TOO_DEEP = "it is nested too deeply"
_BETWEEN = re.compile(r"[\s,]*")
_decoder = json.JSONDecoder()


def add_subcommands(subcommands: arguments.Subcommands) -> None:
    """Add the parser of ``publish``."""
    parser = arguments.add_subcommand(
        subcommands,
        "publish",
        run_publish,
        "Send threat events as ePO would: from files, or a sample event. All listeners treat them as real,"
        " so the fabric must be named.",
        (
            "--config my/dxlclient.config",
            "--config my/dxlclient.config threat-event.json --count 10 --interval 0.5",
            "--config my/dxlclient.config - < threat-events.ndjson",
        ),
    )
    parser.set_defaults(interrupted=INTERRUPTED)
    add = parser.add_argument
    what = "a JSON object, an array of objects, or one per line; '-' is stdin (default: a sample event)"
    add("files", nargs="*", metavar="FILE", help=what)
    what = "the configuration of the DXL client; required, to prevent sending false threats by accident"
    add("-c", "--config", metavar="FILE", required=True, help=what)
    what = "how many events to send, repeating them if there are fewer (default: each of them once)"
    add("--count", metavar="N", type=arguments.positive, help=what)
    what = "how long to wait between two events (default: %(default)s)"
    add("--interval", metavar="SECONDS", type=arguments.seconds, default=0.0, help=what)
    what = "the topic to send on (default: %(default)s)"
    add("--topic", type=arguments.topic, default=EPO_THREAT_EVENT_RESPONSE_TOPIC, help=what)


def run_publish(options: argparse.Namespace) -> int:
    """Send the events and return when the broker has received all of them."""
    # Read all documents before sending the first event. If any document is invalid, nothing is sent.
    documents = list(chain.from_iterable(map(read_documents, options.files)))
    total = options.count or len(documents) or 1
    threat_events = cycle(documents) if documents else iter(sample_threat_event, None)
    with closing_client(load_configuration(options.config)) as client:
        # Do not reconnect, because a new connection would hide the loss of events on the previous one.
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
                # dxlclient only queues the event. If the connection is lost, dxlclient discards all queued
                # events.
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


def read_documents(file: str) -> list[dict[str, Any]]:
    """Read threat events from a file that contains a sequence or an array of JSON objects.

    :param file: the path of the file; ``-`` is stdin
    :return: the threat events, at least one
    :raise CommandError: if the file contains anything but threat events that a client could receive
    """
    name = "stdin" if file == "-" else file
    documents = []
    for line, value in _values(name, _read(name, file)):
        try:
            payload = json.dumps(value).encode()
            # Decode the payload as a receiver would.
            documents.append(decode_threat_event(payload))
        except (RecursionError, ThreatEventDecodeError) as error:
            reason = getattr(error, "reason", _TOO_DEEP)
            raise _error(name, line, reason.replace("payload", "this", 1)) from error
        if len(payload) > _LARGEST:
            what = f"this event has {len(payload)} bytes, but a DXL message can contain at most {_LARGEST}"
            raise _error(name, line, what)
    if not documents:
        raise CommandError(f"{name} contains no threat event", status=2)
    return documents


def _read(name: str, file: str) -> str:
    if file == "-" and sys.stdin is None:
        raise CommandError("cannot read stdin: it is closed", status=2)
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return content.decode("utf-8-sig").rstrip("\0 \t\n\r\v\f")
    except OSError as error:
        raise CommandError(f"cannot read {name}: {error.strerror}", status=2) from error
    except UnicodeDecodeError as error:
        raise _error(name, content.count(b"\n", 0, error.start) + 1, "this is not UTF-8") from error


def _values(name: str, text: str) -> Iterator[tuple[int, Any]]:
    """Yield each JSON value in the text, with its line number. An array yields its items."""
    is_array = text.lstrip().startswith("[") and text.endswith("]")
    position, end = (text.index("[") + 1, len(text) - 1) if is_array else (0, len(text))
    line, counted = 1, 0
    while (position := _BETWEEN.match(text, position, end).end()) < end:  # type: ignore[union-attr] # it matches
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = _decoder.raw_decode(text, position)
        except (RecursionError, ValueError) as error:
            reason = _TOO_DEEP if isinstance(error, RecursionError) else error
            raise _error(name, line, f"invalid JSON begins here: {reason}") from error
        yield line, value


def _error(name: str, line: int, reason: str) -> CommandError:
    return CommandError(f"{name}, line {line}: {reason}; nothing was sent", status=2)
