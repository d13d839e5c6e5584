"""The syslog sample, with Debian's rsyslogd as the collector."""

import json
import signal
import socket
import textwrap
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from dxlclient.client import DxlClient
from helpers.advanced_sample import ROOT, WAITING, Sample, documented_command
from helpers.waiting import until
from samples.servers import Server

from dxlthreateventclient.formats import to_cef
from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event

pytestmark = pytest.mark.servers

LOCAL0_WARNING = 16 * 8 + 4

CONFIGURATION = """\
global(workDirectory="{directory}" maxMessageSize="64k")
module(load="imudp")
module(load="imtcp")
# Each part of a message, as rsyslogd parsed it, in JSON.
template(name="parts" type="list" option.jsonf="on") {{
    property(outname="priority" name="pri" format="jsonf")
    property(outname="version" name="protocol-version" format="jsonf")
    property(outname="time" name="timestamp" dateformat="rfc3339" format="jsonf")
    property(outname="host" name="hostname" format="jsonf")
    property(outname="application" name="app-name" format="jsonf")
    property(outname="process" name="procid" format="jsonf")
    property(outname="kind" name="msgid" format="jsonf")
    property(outname="data" name="structured-data" format="jsonf")
    property(outname="message" name="msg" format="jsonf")
}}
ruleset(name="write") {{ action(type="omfile" file="{directory}/messages" template="parts") }}
input(type="imudp" address="127.0.0.1" port="{port}" ruleset="write")
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="write")
"""


class Rsyslogd(Server):
    """An rsyslogd that listens on UDP and TCP, and writes the parts of each message as JSON."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "rsyslogd", "rsyslog")
        (directory / "rsyslog.conf").write_text(CONFIGURATION.format(directory=directory, port=self.port))

    def arguments(self) -> list[str]:
        return ["-n", "-f", "rsyslog.conf", "-i", str(self.directory / "pid")]

    def stop(self) -> None:
        """End it after it has written all messages."""
        self.end(signal.SIGTERM)

    @property
    def messages(self) -> list[dict[str, str]]:
        """The messages that it has written so far."""
        file = self.directory / "messages"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def until_written(self, count: int) -> list[str]:
        """Return the texts of the messages once it has written that many."""
        until(lambda: len(self.messages) >= count, f"{count} messages are written")
        return [message["message"] for message in self.messages]


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Rsyslogd]:
    server = Rsyslogd(tmp_path)
    with server:
        yield server


@pytest.fixture
def start(tmp_path: Path, fabric: LocalFabric, collector: Rsyslogd) -> Callable[[str], Sample]:
    """Starts the sample with the command on its page, for UDP or TCP, and the test's collector."""

    def started_sample(options: str) -> Sample:
        command = documented_command("syslogcefexample.rst", f"syslog_cef_example.py 127.0.0.1 5514{options}")
        port = command.index("5514")
        return Sample(tmp_path, fabric, [*command[:port], str(collector.port), *command[port + 1 :]])

    return started_sample


UDP, TCP = "", " --tcp"

HOSTILE: list[dict[str, Any]] = [
    {"threatName": "a|b\\c=d\r\n<13>1 - forged - - - -\nCEF:0|x\0"},
    {"threatName": "Ünïcode \U0001f642 \u2028\x85\x1b[31m", "eventDesc": "%s %d {} \ufeff"},
    {"threatName": "x" * 20_000, "eventDesc": None},
]


class TestSyslogSample:
    @pytest.mark.parametrize("transport", [UDP, TCP], ids=["udp", "tcp"])
    def test_each_event_arrives_as_one_well_formed_message(
        self, dxl_client: DxlClient, collector: Rsyslogd, start: Callable[[str], Sample], transport: str
    ) -> None:
        collector.start()
        threat_events = [sample_threat_event(**overrides) for overrides in ({}, *HOSTILE)]
        with start(transport) as sample:
            sample.until_printed(WAITING)
            for threat_event in threat_events:
                publish_threat_event(dxl_client, threat_event)
            assert collector.until_written(4) == [to_cef(threat_event) for threat_event in threat_events]
            sample.interrupt()
        for message in collector.messages:
            time = datetime.fromisoformat(message.pop("time"))
            assert abs(datetime.now(timezone.utc) - time) < timedelta(minutes=5)
            del message["message"]
            assert message == {
                "priority": str(LOCAL0_WARNING),
                "version": "1",
                "host": socket.gethostname(),
                "application": "dxlthreateventclient",
                "process": "-",
                "kind": "threat-event",
                "data": "-",
            }

    def test_over_tcp_events_wait_for_the_collector(
        self, dxl_client: DxlClient, collector: Rsyslogd, start: Callable[[str], Sample]
    ) -> None:
        with start(TCP) as sample:
            sample.until_printed(WAITING)
            for number in (1, 2):
                for _ in range(5):
                    publish_threat_event(dxl_client, sample_threat_event())
                until(lambda: sample.errors.count("Connection refused") >= number, "it logs that")  # noqa: B023
                collector.start()
                collector.until_written(5 * number)
                collector.stop()
            sample.interrupt()
        assert len(collector.messages) == 10

    def test_over_tcp_a_burst_arrives_complete_and_in_order(
        self, dxl_client: DxlClient, collector: Rsyslogd, start: Callable[[str], Sample]
    ) -> None:
        collector.start()
        threat_events = [sample_threat_event(threatName=f"threat {number}") for number in range(500)]
        with start(TCP) as sample:
            sample.until_printed(WAITING)
            for threat_event in threat_events:
                publish_threat_event(dxl_client, threat_event)
            assert collector.until_written(500) == [to_cef(threat_event) for threat_event in threat_events]

    def test_an_event_too_large_for_udp_is_named_and_skipped(
        self, dxl_client: DxlClient, collector: Rsyslogd, start: Callable[[str], Sample]
    ) -> None:
        collector.start()
        with start(UDP) as sample:
            sample.until_printed(WAITING)
            large = publish_threat_event(dxl_client, sample_threat_event(threatName="x" * 70_000))
            small = publish_threat_event(dxl_client, sample_threat_event())
            sample.until_printed(f"Sent {small.message_id!r}")
            assert len(collector.until_written(1)) == 1
        assert f"Message {large.message_id} was not sent" in sample.errors
        assert "Message too long" in sample.errors

    def test_works_with_the_collector_on_its_page(
        self,
        tmp_path: Path,
        dxl_client: DxlClient,
        collector: Rsyslogd,
        start: Callable[[str], Sample],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        page = (ROOT / "docs" / "syslogcefexample.rst").read_text(encoding="utf-8")
        block = page.partition(":caption: rsyslog.conf\n")[2].partition("\n.. ")[0]
        configuration = textwrap.dedent(block).replace("5514", str(collector.port))
        written = tmp_path / "threat-events.log"
        monkeypatch.setenv("PWD", str(tmp_path))  # as a shell in this directory does
        (tmp_path / "rsyslog.conf").write_text(configuration)
        collector.start()
        threat_event = sample_threat_event()
        with start(TCP) as sample:
            sample.until_printed(WAITING)
            publish_threat_event(dxl_client, threat_event)
            until(lambda: written.exists() and written.read_text().endswith("\n"), "the message is written")
        assert f" threat-event - {to_cef(threat_event)}\n" in written.read_text()
