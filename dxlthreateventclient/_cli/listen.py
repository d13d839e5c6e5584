"""The ``listen`` subcommand, which prints incoming threat events or appends them to a file."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from dxlclient.client import DxlClient

from dxlthreateventclient import (
    CommonThreatEventClient,
    ThreatEventDecodeError,
    connect,
    load_configuration,
)
from dxlthreateventclient._cli import arguments
from dxlthreateventclient._cli.broker import close_in_time, closing_client
from dxlthreateventclient._cli.filters import add_filters, wanted
from dxlthreateventclient._cli.health import Health, notify
from dxlthreateventclient._cli.output import LineFile, PatientFile, Rejects, open_lines
from dxlthreateventclient._cli.signals import Ending
from dxlthreateventclient._cli.terminal import CommandError, tell, text_of, write
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC

# The maximum number of events buffered while a file cannot be written. The stream has room for 2 * _KEPT
# events, because a full stream blocks dxlclient, which can then lose its connection.
_KEPT = 10_000

# The time limit for unsubscribing, in seconds.
_LEAVE_WITHIN = 1.0


def add_subcommands(subcommands: arguments.Subcommands) -> None:
    """Add the parser of ``listen``."""
    parser = arguments.add_subcommand(
        subcommands,
        "listen",
        run_listen,
        "Print incoming threat events until Ctrl-C. Events go to stdout, and everything else to stderr.",
        ("", "-c my/dxlclient.config --severity 3", "--format ecs --output events-%Y-%m-%d.ndjson"),
    )
    arguments.add_config(parser)
    arguments.add_format(parser, default="text")
    add = parser.add_argument
    what = f"a topic, or a filter that ends in '/#'; repeatable (default: {EPO_THREAT_EVENT_RESPONSE_TOPIC})"
    add("--topic", type=arguments.topic_filter, action="append", help=what)
    add_filters(parser)
    add("--count", metavar="N", type=arguments.positive, help="end after N events")
    what = "number of retries if no broker can be reached at the start; -1: no limit (default: %(default)s)"
    add("--retries", metavar="N", type=arguments.retries, default=5, help=what)
    what = (
        "append events to this file instead of stdout; fields such as %%Y-%%m-%%d stand for the time in UTC;"
        " if the file was moved, a new one is created; if the disk is full, events wait in memory"
    )
    add("--output", metavar="FILE", type=Path, help=what)
    what = "append payloads that are not threat events to this file, each as a line of JSON"
    add("--reject-file", metavar="FILE", type=Path, help=what)
    what = "write the state of the feed to this file, as JSON, when it changes and every 10 seconds"
    add("--health-file", metavar="FILE", type=Path, help=what)
    what = "how long to write remaining events after the first Ctrl-C or SIGTERM (default: %(default)s)"
    add("--drain-seconds", metavar="N", type=arguments.seconds, default=80.0, help=what)


def run_listen(options: argparse.Namespace) -> int:
    """Write events until Ctrl-C is pressed or the requested number has been written."""
    topics = _without_covered(options.topic or [EPO_THREAT_EVENT_RESPONSE_TOPIC])
    if options.health_file:
        others = [os.path.realpath(file) for file in (options.output, options.reject_file) if file]
        if not options.health_file.name or os.path.realpath(options.health_file) in others:
            raise CommandError("--health-file must be a file of its own", status=2)
    rejects = Rejects(options.reject_file)
    output = open_lines(options.output, "output") if options.output else None
    with closing_client(load_configuration(options.config)) as client:
        return _Listening(options, client, topics, rejects, output).run()


class _Listening:
    """Runs the ``listen`` subcommand and counts the events."""

    def __init__(
        self,
        options: argparse.Namespace,
        dxl_client: DxlClient,
        topics: Sequence[str],
        rejects: Rejects,
        output: LineFile | None,
    ) -> None:
        self._options = options
        self._dxl_client = dxl_client
        self._topics = topics
        self._rejects = rejects
        self._output = PatientFile(output, self._may_wait) if output else None
        self._taken = self._written = self._too_deep = self._dropped = 0
        self._ending: Ending | None = None
        self._leaving = ExitStack()
        self._client = self._leaving.enter_context(CommonThreatEventClient(dxl_client))
        where = wanted(options)
        self._stream = self._leaving.enter_context(
            self._client.threat_events(topics[0], on_error=rejects, where=where, max_buffered=2 * _KEPT)
        )
        for topic in topics[1:]:
            self._client.add_threat_event_callback(self._stream, topic, where=where)

    def run(self) -> int:
        """Write events and return the exit status."""
        if self._output and hasattr(signal, "SIGHUP"):
            # Many services reopen their files on SIGHUP. This program ignores SIGHUP, because it detects
            # moved files without a signal.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        notify("STATUS=Connecting")
        Health(self._options.health_file, self._client.status, self._counts, self._progress)
        try:
            connect(self._dxl_client, retries=self._options.retries)
            self._ending = Ending(self._stream.drain, self._options.drain_seconds, self._last_line)
            tell(f"Waiting for threat events on {', '.join(self._topics)}...")
            notify("READY=1\nSTATUS=Waiting for threat events")
            self._write_events(self._ending)
            reason = ""
        except KeyboardInterrupt:
            reason = ""
        except (BrokenPipeError, CommandError) as error:
            if isinstance(error, BrokenPipeError) and sys.stderr and sys.stderr.isatty():
                return 0  # the reader closed the pipe, as "head -1" does
            what = "the reader has closed stdout" if isinstance(error, BrokenPipeError) else error
            reason = f"{arguments.PROGRAM}: {what}: "
        finally:
            close_in_time(self._leaving.close, _LEAVE_WITHIN)
        return self._end(reason)

    def _end(self, reason: str) -> int:
        is_complete = self._written == self._options.count or not self._not_written()
        status = 1 if reason or self._rejects.not_kept or not is_complete else 0
        if self._ending:
            self._ending.status = status
            tell(reason + self._last_line())
        return status

    def _write_events(self, ending: Ending) -> None:
        append = self._output.write if self._output else _print
        for threat_event, event in self._stream:
            self._taken += 1
            try:
                text = text_of(threat_event, event, self._options.format, is_painted=self._output is None)
            except RecursionError:
                self._too_deep += 1
                self._rejects(ThreatEventDecodeError("payload is nested too deeply", event.payload), event)
            else:
                if append(text):
                    self._written += 1
                else:
                    self._dropped += 1
            if self._written == self._options.count or ending.is_overdue():
                break

    def _may_wait(self) -> bool:
        return self._stream.buffered < _KEPT and not (self._ending and self._ending.is_overdue())

    def _progress(self) -> object:
        return self._taken, self._rejects.count, self._output and self._output.tries

    def _counts(self) -> dict[str, int]:
        return {"written": self._written, "rejected": self._rejects.count, "dropped": self._dropped}

    def _last_line(self) -> str:
        """Close the stream if necessary and return a summary of all events that arrived."""
        close_in_time(self._leaving.close, _LEAVE_WITHIN)
        dropped, filtered = self._not_written(), self._client.status().filtered
        received = self._written + self._rejects.count + filtered + dropped
        line = (
            f"Received {received}, written {self._written}, rejected {self._rejects.count},"
            f" filtered {filtered}, dropped {dropped}"
        )
        if self._rejects.not_kept:
            line += f"; not in the reject file: {self._rejects.not_kept}"
        return line

    def _not_written(self) -> int:
        """Return the number of dropped events. Call this method only after closing the stream."""
        left = max(self._client.status().dropped, self._stream.buffered)
        return self._taken - self._written - self._too_deep + left


def _print(text: str) -> bool:
    write(text)
    return True


def _without_covered(topics: Sequence[str]) -> list[str]:
    """Omit each topic covered by another filter in ``topics``, so that no event arrives twice."""
    filters = [topic for topic in topics if topic.endswith("#")]
    return [
        topic
        for topic in dict.fromkeys(topics)
        if not any(f"{topic}/".startswith(other[:-1]) for other in filters if other != topic)
    ]
