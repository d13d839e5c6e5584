"""The syslog sample, with Debian's rsyslogd and with a collector that hangs or disconnects."""

import json
import re
import signal
import socket
import ssl
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import trustme
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.samples import ROOT, Start, documented_command, publish, until_passed_on
from helpers.waiting import until
from samples.servers import Server

from dxlthreateventclient.formats import to_cef

PAGE = "syslogcefexample.rst"


class Rsyslogd(Server):
    """rsyslogd with the configuration on the page, listening on UDP and TCP."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "rsyslogd", "rsyslog")
        page = (ROOT / "docs" / PAGE).read_text(encoding="utf-8")
        block = page.partition(":caption: rsyslog.conf\n")[2].partition("\n.. ")[0]
        (directory / "rsyslog.conf").write_text(textwrap.dedent(block).replace("5514", str(self.port)))
        self.command += ["-n", "-f", str(directory / "rsyslog.conf"), "-i", str(directory / "pid")]

    def until_written(self, count: int) -> list[list[str]]:
        """Wait for ``count`` messages and return the parts of each, with the text last."""
        file = self.directory / "threat-events.log"
        until(lambda: file.exists() and file.read_bytes().count(b"\n") >= count, f"{count} are written")
        return [line.split(" ", 7) for line in file.read_text().split("\n")[:-1]]


@pytest.fixture
def collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rsyslogd]:
    monkeypatch.setenv("PWD", str(tmp_path))  # as the shell does
    server = Rsyslogd(tmp_path)
    yield server
    server.end()


def command_for(collector: Rsyslogd | socket.socket, options: str) -> list[str]:
    """Return the documented command with the collector's port."""
    port = collector.port if isinstance(collector, Rsyslogd) else collector.getsockname()[1]
    command = documented_command(PAGE, f"syslog_cef_example.py 127.0.0.1 5514{options}")
    return [str(port) if word == "5514" else word for word in command]


LOCAL0_WARNING = 16 * 8 + 4
UDP, TCP, OCTET_COUNTING = "", " --tcp", " --tcp --octet-counting"
TLS = " --tls --ca ca.crt"

FORGED = "<132>1 2026-01-01T00:00:00Z ceo-laptop app - - - CEF:0|"
HOSTILE: list[dict[str, Any]] = [
    {"threatName": "a|b\\c=d\r\n<13>1 - forged - - - -\nCEF:0|x\0"},
    {"threatName": "Ünïcode \U0001f642 \u2028\x85\x1b[31m", "eventDesc": "%s %d {} \ufeff"},
    {"threatName": "x" * 20_000, "eventDesc": None},
    {
        # rsyslogd would split a message longer than 8 KB in two.
        "source": {"url": f"http://x/{'y' * 8000}\n{FORGED}"},
        "target": {"fileName": f"C:\\{'z' * 8000} {FORGED}"},
        "threatName": "ü" * 5000,
        "threatType": "ü" * 5000,
    },
]


def cef(event: Event) -> str:
    """Return the line that the sample must send for an event."""
    return to_cef(json.loads(event.payload), event_id=event.message_id)


@pytest.mark.servers
class TestWithRsyslogd:
    @pytest.mark.parametrize("transport", [UDP, TCP, OCTET_COUNTING], ids=["udp", "tcp", "octet-counting"])
    def test_each_event_arrives_as_one_well_formed_message(
        self, dxl_client: DxlClient, collector: Rsyslogd, start: Start, transport: str
    ) -> None:
        collector.start()
        sample = start(command_for(collector, transport))
        published = [event for overrides in ({}, *HOSTILE) for event in publish(dxl_client, 1, **overrides)]
        messages = collector.until_written(len(published))
        sample.end()
        for (start_of, time, *header, text), event in zip(messages, published, strict=True):
            assert abs(datetime.now(timezone.utc) - datetime.fromisoformat(time)) < timedelta(minutes=5)
            host = socket.gethostname()
            assert header == [host, "dxlthreateventclient", "-", "threat-event", "-"]
            assert (start_of, text) == (f"<{LOCAL0_WARNING}>1", cef(event))

    def test_over_tcp_bursts_wait_for_the_collector_and_arrive(
        self, dxl_client: DxlClient, collector: Rsyslogd, start: Start
    ) -> None:
        sample = start(command_for(collector, TCP))
        published: list[Event] = []
        for number in (1, 2):
            published += publish(dxl_client, 250)
            until(lambda: sample.errors.count("Connection refused") >= number, "it logs that")  # noqa: B023
            collector.start()
            texts = [text for *_, text in collector.until_written(250 * number)]
            assert texts == [cef(event) for event in published]
            collector.end(signal.SIGTERM)
        sample.end()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A collector that reads only when the test requests data."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        yield server


def accepted(listener: socket.socket, tls: ssl.SSLContext | None = None) -> socket.socket:
    connection = listener.accept()[0]
    connection.settimeout(30)
    return tls.wrap_socket(connection, server_side=True) if tls else connection


def read_until(connection: socket.socket, end: str) -> bytes:
    """Read until the given text arrives, and return all the data received."""
    received = b""
    while end.encode() not in received:
        part = connection.recv(65536)
        assert part, "the sample closed the connection"
        received += part
    return received


def counted(received: bytes) -> list[bytes]:
    """Split data into messages, each of which starts with its length (RFC 6587)."""
    messages = []
    while received:
        length, _, received = received.partition(b" ")
        messages.append(received[: int(length)])
        received = received[int(length) :]
    return messages


class TestConnection:
    @pytest.fixture
    def tls(self, tmp_path: Path) -> ssl.SSLContext:
        """The TLS context of a collector that requests a client certificate."""
        ca = trustme.CA()
        ca.cert_pem.write_to_path(tmp_path / "ca.crt")
        client = ca.issue_cert("sample@localhost")
        client.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ca.issue_cert("127.0.0.1").configure_cert(context)
        ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def test_one_tls_connection_carries_all_messages(
        self, dxl_client: DxlClient, listener: socket.socket, start: Start, tls: ssl.SSLContext
    ) -> None:
        sample = start(command_for(listener, TLS), "--certificate", "client.pem")
        published = publish(dxl_client, 20)
        with accepted(listener, tls) as connection:
            messages = counted(read_until(connection, cef(published[-1])))
            sample.end(signal.SIGTERM)
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
        texts = [message.partition(b" threat-event - ")[2].decode() for message in messages]
        assert texts == [cef(event) for event in published]

    @pytest.mark.parametrize("reason", ["certificate verify failed", "certificate required"])
    def test_a_refusal_is_seen_before_a_message_counts_as_sent(
        self,
        *,
        tmp_path: Path,
        dxl_client: DxlClient,
        listener: socket.socket,
        start: Start,
        tls: ssl.SSLContext,
        reason: str,
    ) -> None:
        """The sample rejects the collector's certificate or lacks a required client certificate."""
        if reason == "certificate verify failed":
            trustme.CA().cert_pem.write_to_path(tmp_path / "ca.crt")
        sample = start(command_for(listener, TLS))
        publish(dxl_client, 1)
        for number in range(1, 6):  # either side may be faster
            with suppress(OSError):
                accepted(listener, tls)
            until(lambda: sample.errors.count(reason) >= number, "it says why")  # noqa: B023
        assert not sample.lines("Sent ")

    def test_a_collector_that_ends_is_noticed_before_the_next_send(
        self, dxl_client: DxlClient, listener: socket.socket, start: Start
    ) -> None:
        sample = start(command_for(listener, TCP))
        for _ in range(3):
            (event,) = publish(dxl_client, 1)
            with accepted(listener) as connection:
                read_until(connection, cef(event))
        sample.end(signal.SIGTERM)
        assert len(sample.lines("Sent ")) == 3
        assert sample.errors.count("lost after 1 messages: the last messages may not have arrived") == 2

    def test_a_collector_that_hangs_is_waited_for(
        self, dxl_client: DxlClient, listener: socket.socket, start: Start
    ) -> None:
        """While the collector hangs, the operating system accepts messages until its buffers are full."""
        sample = start(command_for(listener, TCP))
        published: list[Event] = []

        def is_waiting() -> bool:
            filler = {"otherData": {}, "eventDesc": "x" * 1000, "source": {"url": "y" * 1000}}
            published.extend(publish(dxl_client, 1, **filler))
            return len(sample.lines("Sent ")) < len(published) - 200

        until(is_waiting, "the sample waits for the collector")
        until_passed_on(dxl_client)
        with accepted(listener) as connection:
            received = read_until(connection, cef(published[-1]))
        found = re.findall(r"externalId=(\S+)", received.decode())
        assert found == [event.message_id for event in published]
