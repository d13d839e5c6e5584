"""The subcommand ``listen``: prints the threat events that arrive."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dxlclient.client import DxlClient

from dxlthreateventclient import CommonThreatEventClient, ThreatEventStream, connect, load_configuration
from dxlthreateventclient._cli import arguments
from dxlthreateventclient._cli.broker import closing_client
from dxlthreateventclient._cli.events import OnReject, rejects, texts
from dxlthreateventclient._cli.signals import Ending
from dxlthreateventclient._cli.terminal import tell, write
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC


def add_subcommands(subcommands: arguments.Subcommands) -> None:
    """Add the parser of ``listen``."""
    parser = arguments.add_subcommand(
        subcommands,
        "listen",
        run_listen,
        "Print the threat events that arrive, until Ctrl-C. Only they go to stdout; all else goes to stderr.",
        ("", "-c my/dxlclient.config --severity 3", "--format ecs >> threat-events.ndjson"),
    )
    arguments.add_config(parser)
    arguments.add_format(parser, default="text")
    add = parser.add_argument
    what = f"a topic, or a filter that ends in '/#'; repeatable (default: {EPO_THREAT_EVENT_RESPONSE_TOPIC})"
    add("--topic", type=arguments.topic_filter, action="append", help=what)
    what = "only events of the severities 1 (the most severe) to N, and those without a severity"
    add("--severity", metavar="N", type=arguments.severity, help=what)
    add("--count", metavar="N", type=arguments.positive, help="end after so many events")
    what = (
        "how often to try again if no broker can be reached at the start; -1: no limit (default: %(default)s)"
    )
    add("--retries", metavar="N", type=arguments.retries, default=5, help=what)
    what = "append payloads that are not threat events to this file, each as a line of JSON"
    add("--reject-file", metavar="FILE", type=Path, help=what)


def run_listen(options: argparse.Namespace) -> int:
    """Print events until Ctrl-C, or as many as were asked for."""
    topics = _without_covered(options.topic or [EPO_THREAT_EVENT_RESPONSE_TOPIC])
    on_reject = rejects(options.reject_file)
    with (
        closing_client(load_configuration(options.config)) as client,
        _stream(client, topics, on_reject) as stream,
    ):
        connect(client, retries=options.retries)
        ending = Ending(stream.close)
        tell(f"Waiting for threat events on {', '.join(topics)}...")
        for number, text in enumerate(texts(stream, options, on_reject), start=1):
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


def _without_covered(topics: Sequence[str]) -> list[str]:
    """Return the topics without those that a filter among them covers: their events would arrive twice."""
    filters = [topic for topic in topics if topic.endswith("#")]
    return [
        topic
        for topic in dict.fromkeys(topics)
        if not any(topic.startswith(other[:-1]) for other in filters if other != topic)
    ]
