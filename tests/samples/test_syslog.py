"""The syslog sample, with Debian's rsyslogd as the collector, and with one of our own that misbehaves."""

import json
import re
import signal
import socket
import ssl
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import trustme
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.samples import ROOT, WAITING, Sample, documented_command, until_passed_on
from helpers.waiting import until
from samples.servers import Server

from dxlthreateventclient.formats import to_cef
from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event

PAGE = "syslogcefexample.rst"
LOCAL0_WARNING = 16 * 8 + 4

CONFIGURATION = """\
global(workDirectory="{directory}")
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


def publish(dxl_client: DxlClient, count: int) -> list[Event]:
    """Publish numbered events."""
    threat_events = [sample_threat_event(threatName=f"threat {number}") for number in range(count)]
    return [publish_threat_event(dxl_client, threat_event) for threat_event in threat_events]


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
        return Sample(tmp_path, fabric, command_for(collector.port, options))

    return started_sample


def command_for(port: int, options: str) -> list[str]:
    """Return the command on the page with another port."""
    command = documented_command(PAGE, f"syslog_cef_example.py 127.0.0.1 5514{options}")
    return [str(port) if word == "5514" else word for word in command]


UDP, TCP, OCTET_COUNTING = "", " --tcp", " --tcp --octet-counting"
TLS = " --tls --ca ca.crt"

HOSTILE: list[dict[str, Any]] = [
    {"threatName": "a|b\\c=d\r\n<13>1 - forged - - - -\nCEF:0|x\0"},
    {"threatName": "Ünïcode \U0001f642 \u2028\x85\x1b[31m", "eventDesc": "%s %d {} \ufeff"},
    {"threatName": "x" * 20_000, "eventDesc": None},
    {
        # With rsyslogd's limit of 8 KB, the end of a longer message would be a message of its own.
        "source": {
            "url": "http://x/" + "y" * 8000 + "\n<132>1 2026-01-01T00:00:00Z ceo-laptop app - - - CEF:0|"
        },
        "target": {
            "fileName": "C:\\" + "z" * 8000 + " <132>1 2026-01-01T00:00:00Z ceo-laptop app - - - CEF:0|"
        },
        "threatName": "ü" * 5000,
        "threatType": "ü" * 5000,
    },
]


def cef(event: Event) -> str:
    """Return the line that the sample has to send for an event."""
    return to_cef(json.loads(event.payload), event_id=event.message_id)


@pytest.mark.servers
class TestWithRsyslogd:
    @pytest.mark.parametrize("transport", [UDP, TCP, OCTET_COUNTING], ids=["udp", "tcp", "octet-counting"])
    def test_each_event_arrives_as_one_well_formed_message(
        self, dxl_client: DxlClient, collector: Rsyslogd, start: Callable[[str], Sample], transport: str
    ) -> None:
        collector.start()
        with start(transport) as sample:
            sample.until_printed(WAITING)
            published = [
                publish_threat_event(dxl_client, sample_threat_event(**overrides))
                for overrides in ({}, *HOSTILE)
            ]
            assert collector.until_written(5) == [cef(event) for event in published]
            sample.interrupt()
        assert len(collector.messages) == 5
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
        with start(TCP) as sample:
            sample.until_printed(WAITING)
            published = publish(dxl_client, 500)
            assert collector.until_written(500) == [cef(event) for event in published]

    def test_works_with_the_collector_on_its_page(
        self,
        tmp_path: Path,
        dxl_client: DxlClient,
        collector: Rsyslogd,
        start: Callable[[str], Sample],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        page = (ROOT / "docs" / PAGE).read_text(encoding="utf-8")
        block = page.partition(":caption: rsyslog.conf\n")[2].partition("\n.. ")[0]
        configuration = textwrap.dedent(block).replace("5514", str(collector.port))
        written = tmp_path / "threat-events.log"
        monkeypatch.setenv("PWD", str(tmp_path))  # as a shell in this directory does
        (tmp_path / "rsyslog.conf").write_text(configuration)
        collector.start()
        with start(TCP) as sample:
            sample.until_printed(WAITING)
            (event,) = publish(dxl_client, 1)
            until(lambda: written.exists() and written.read_text().endswith("\n"), "the message is written")
        assert f" threat-event - {cef(event)}\n" in written.read_text()


class Collector:
    """Takes one connection after the other, and reads from them only while a test asks it to."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(30)
        self.port: int = self._server.getsockname()[1]
        self.connection: socket.socket | None = None
        self.received = b""

    def accept(self) -> None:
        self.connection = self._server.accept()[0]
        self.connection.settimeout(30)
        if self._tls:
            self.connection = self._tls.wrap_socket(self.connection, server_side=True)

    def read_until(self, end: bytes) -> bytes:
        """Read until a text has come; return all that has."""
        assert self.connection
        while end not in self.received:
            received = self.connection.recv(65536)
            assert received, "the sample closed the connection"
            self.received += received
        return self.received

    def hang_up(self) -> None:
        assert self.connection
        self.connection.close()

    def has_other_connections(self) -> bool:
        self._server.settimeout(0)
        with suppress(BlockingIOError):
            self._server.accept()[0].close()
            return True
        return False

    def __enter__(self) -> "Collector":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        if self.connection:
            self.connection.close()


def lines(received: bytes) -> list[bytes]:
    """Take messages apart that end in a line feed."""
    return received.splitlines()


def counted(received: bytes) -> list[bytes]:
    """Take messages apart that have their length in front, as RFC 6587 has it."""
    messages = []
    while received:
        length, _, received = received.partition(b" ")
        messages.append(received[: int(length)])
        received = received[int(length) :]
    return messages


class TestConnection:
    @pytest.fixture
    def tls(self, tmp_path: Path) -> ssl.SSLContext:
        """The settings of a collector that asks for a certificate."""
        ca = trustme.CA()
        ca.cert_pem.write_to_path(tmp_path / "ca.crt")
        ca.issue_cert("sample@localhost").private_key_and_cert_chain_pem.write_to_path(
            tmp_path / "client.pem"
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ca.issue_cert("127.0.0.1").configure_cert(context)
        ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    @pytest.mark.parametrize(
        ("options", "taken_apart"),
        [(TCP, lines), (OCTET_COUNTING, counted), (TLS, counted)],
        ids=["tcp", "octet-counting", "tls"],
    )
    def test_one_connection_carries_all_messages(
        self,
        *,
        tmp_path: Path,
        fabric: LocalFabric,
        dxl_client: DxlClient,
        tls: ssl.SSLContext,
        options: str,
        taken_apart: Callable[[bytes], list[bytes]],
    ) -> None:
        with Collector(tls if options == TLS else None) as collector:
            certificate = ["--certificate", "client.pem"] if options == TLS else []
            with Sample(tmp_path, fabric, [*command_for(collector.port, options), *certificate]) as sample:
                sample.until_printed(WAITING)
                published = publish(dxl_client, 20)
                collector.accept()
                messages = taken_apart(collector.read_until(cef(published[-1]).encode()))
                sample.end(signal.SIGTERM)
            assert not collector.has_other_connections()
        assert [message.partition(b" threat-event - ")[2].decode() for message in messages] == [
            cef(event) for event in published
        ]

    @pytest.mark.parametrize(
        ("is_known", "reason"), [(False, "certificate verify failed"), (True, "certificate required")]
    )
    def test_a_refusal_is_seen_before_a_message_counts_as_sent(
        self,
        *,
        tmp_path: Path,
        fabric: LocalFabric,
        dxl_client: DxlClient,
        tls: ssl.SSLContext,
        is_known: bool,
        reason: str,
    ) -> None:
        """By the sample, of the collector's certificate; or by the collector, since the sample has none."""
        if not is_known:
            trustme.CA().cert_pem.write_to_path(tmp_path / "ca.crt")
        with Collector(tls) as collector:
            with Sample(tmp_path, fabric, command_for(collector.port, TLS)) as sample:
                sample.until_printed(WAITING)
                publish(dxl_client, 1)
                for number in range(1, 6):  # which of the two is faster differs
                    with suppress(OSError):
                        collector.accept()
                    until(lambda: sample.errors.count(reason) >= number, "it says why")  # noqa: B023
            assert not sample.lines("Sent ")

    def test_a_collector_that_ends_is_noticed_before_the_next_send(
        self, tmp_path: Path, fabric: LocalFabric, dxl_client: DxlClient
    ) -> None:
        with Collector() as collector, Sample(tmp_path, fabric, command_for(collector.port, TCP)) as sample:
            sample.until_printed(WAITING)
            for _ in range(3):
                (event,) = publish(dxl_client, 1)
                collector.accept()
                collector.read_until(cef(event).encode())
                collector.hang_up()
            sample.end(signal.SIGTERM)
            assert len(sample.lines("Sent ")) == 3
            assert sample.errors.count("lost after 1 messages: the last of them may not have arrived") == 2

    @pytest.mark.parametrize(
        "ends",
        [pytest.param(False, id="goes-on"), pytest.param(True, id="ends-first", marks=pytest.mark.slow)],
    )
    def test_a_collector_that_hangs_is_waited_for(
        self, tmp_path: Path, fabric: LocalFabric, dxl_client: DxlClient, ends: bool
    ) -> None:
        """While it hangs, the system takes messages for it until its buffers are full."""
        with Collector() as collector, Sample(tmp_path, fabric, command_for(collector.port, TCP)) as sample:
            sample.until_printed(WAITING)
            filler = {"otherData": {}, "eventDesc": "x" * 1000, "source": {"url": "y" * 1000}}
            published: list[Event] = []

            def is_waiting() -> bool:
                published.append(publish_threat_event(dxl_client, sample_threat_event(**filler)))
                return len(sample.lines("Sent ")) < len(published) - 200

            until(is_waiting, "the sample waits for the collector")
            until_passed_on(dxl_client)
            collector.accept()
            if ends:
                sample.process.send_signal(signal.SIGTERM)
                assert sample.process.wait(timeout=30) == 1
                assert len(sample.lines("Sent ")) + sample.reported() == len(published)
            else:
                received = collector.read_until(cef(published[-1]).encode())
                ids = [re.search(rb"externalId=(\S+)", line) for line in lines(received)]
                assert [match[1].decode() for match in ids if match] == [
                    event.message_id for event in published
                ]
