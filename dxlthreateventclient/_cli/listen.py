"""The subcommand ``listen``: prints the threat events that arrive."""

import argparse
import math
import os
import queue
import select
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dxlclient.client import DxlClient

from dxlthreateventclient._cli.arguments import (
    add_config,
    add_format,
    add_subcommand,
    positive,
    retries,
    severity,
    topic_filter,
)
from dxlthreateventclient._cli.connection import connect, connection_told, dxl_client
from dxlthreateventclient._cli.messages import tell
from dxlthreateventclient._cli.output import FORMATS, write
from dxlthreateventclient._cli.rejects import OnReject, rejects
from dxlthreateventclient._cli.signals import on_signals
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC, CommonThreatEventClient
from dxlthreateventclient.exceptions import ThreatEventDecodeError
from dxlthreateventclient.formats._values import integer
from dxlthreateventclient.stream import ThreatEventStream

# How many seconds after a signal writing has to stop, and the process has to end.
_WRITE_WITHIN = 0.5
_END_WITHIN = 0.7


def add_subcommands(subcommands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parser of ``listen``."""
    parser = add_subcommand(
        subcommands,
        "listen",
        summary="print the threat events that arrive",
        description="Print the threat events that arrive on stdout, until Ctrl-C. All else goes to stderr.",
        examples=("", "-c my/dxlclient.config --severity 3", "--format ecs >> threat-events.ndjson"),
    )
    add_config(parser)
    parser.add_argument(
        "--topic",
        metavar="TOPIC",
        type=topic_filter,
        action="append",
        dest="topics",
        help="a topic to listen on, or a filter that ends in '/#'; may be given several times"
        f" (default: {EPO_THREAT_EVENT_RESPONSE_TOPIC})",
    )
    add_format(parser, default="text")
    parser.add_argument(
        "--severity",
        metavar="N",
        type=severity,
        help="only events of the severities 1 (the most severe) to N, and those whose severity is no number",
    )
    parser.add_argument("--count", metavar="N", type=positive, help="end after so many events")
    parser.add_argument(
        "--retries",
        metavar="N",
        type=retries,
        default=5,
        help="how often to try again, waiting longer each time, while no broker can be reached at the start;"
        " -1 is for ever (default: %(default)s). A connection that is lost later is always made again.",
    )
    parser.add_argument(
        "--reject-file",
        metavar="FILE",
        type=Path,
        help="append payloads that are no threat events to this file, each as a line of JSON",
    )
    parser.set_defaults(run=run_listen)


def run_listen(options: argparse.Namespace) -> int:
    """Print events until Ctrl-C, or as many as were asked for."""
    topics = _without_covered(options.topics or [EPO_THREAT_EVENT_RESPONSE_TOPIC])
    on_reject = rejects(options.reject_file)
    with (
        dxl_client(options.config) as client,
        _stream(client, topics, on_reject) as stream,
    ):
        connect(client, retries=options.retries)
        ending = _Ending(stream)
        on_signals(ending.begin)
        tell(f"Waiting for threat events on {', '.join(topics)}...")
        with connection_told(client):
            for number, text in enumerate(_texts(stream, options, on_reject), start=1):
                write(text)
                if number == options.count or ending.is_overdue():
                    break
        ending.is_written = True
    return 0


@contextmanager
def _stream(client: DxlClient, topics: Sequence[str], on_reject: OnReject) -> Iterator[ThreatEventStream]:
    threat_events = CommonThreatEventClient(client)
    with threat_events, threat_events.threat_events(topics[0], on_error=on_reject) as stream:
        for topic in topics[1:]:
            threat_events.add_threat_event_callback(stream, topic)
        yield stream


def _texts(stream: ThreatEventStream, options: argparse.Namespace, on_reject: OnReject) -> Iterator[str]:
    make_text = FORMATS[options.format]()
    for threat_event, event in stream:
        if options.severity and not _is_severe(threat_event, options.severity):
            continue
        try:
            text = make_text(threat_event, event.destination_topic)
        except RecursionError:
            on_reject(ThreatEventDecodeError("payload is nested too deeply", event.payload), event)
        else:
            yield text


def _is_severe(threat_event: Mapping[str, Any], least: int) -> bool:
    """Tell whether an event is as severe as asked for. One that does not say is never passed over."""
    event = threat_event.get("event")
    number = integer(event.get("threatSeverity")) if isinstance(event, dict) else None
    return number is None or number <= least


def _without_covered(topics: Sequence[str]) -> list[str]:
    """Return the topics without those that a filter among them covers: their events would arrive twice."""
    filters = [topic for topic in topics if topic.endswith("#")]
    return [
        topic
        for topic in dict.fromkeys(topics)
        if not any(topic.startswith(other[:-1]) for other in filters if other != topic)
    ]


class _Ending:
    """What a signal does: the stream ends, what it holds is written, and the process ends in time."""

    def __init__(self, stream: ThreatEventStream) -> None:
        self._stream = stream
        self._deadline = math.inf
        self.is_written = False
        # A signal handler can do no more than this: starting a thread or setting an Event takes a lock, which
        # the code that it interrupts may hold.
        self._begun: queue.SimpleQueue[None] = queue.SimpleQueue()
        threading.Thread(target=self._end_in_time, daemon=True).start()

    def is_overdue(self) -> bool:
        """Tell whether writing has to stop. The stream logs how many events it then leaves."""
        return time.monotonic() > self._deadline

    def begin(self, *_: object) -> None:
        """Begin to end. Called by signals."""
        self._deadline = time.monotonic() + _WRITE_WITHIN
        self._stream.close()
        self._begun.put(None)

    def _end_in_time(self) -> None:
        self._begun.get()
        time.sleep(_END_WITHIN)
        # Nobody reads the pipe, or the broker does not answer: nothing else would end this.
        try:
            if not self.is_written and select.select([], [sys.stderr], [], 0)[1]:
                tell("Ended while nobody took what was written: events that had arrived are lost")
        finally:
            os._exit(0)
