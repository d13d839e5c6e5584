"""``publish``, run as a process over a real fabric."""

import json
import os
import pty
import queue
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
import trustme
from dxlclient.client import DxlClient
from helpers.command_line import (
    PROGRAM,
    TIMEOUT,
    Command,
    clean_environment,
    copy_of_configuration,
    run,
    shown_on,
    without,
)
from helpers.misbehaving import server, tls_server

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC as TOPIC
from dxlthreateventclient.testing import LocalFabric

Received = Callable[[int], list[Any]]


@pytest.fixture(scope="module")
def received(fabric: LocalFabric) -> Iterator[Received]:
    """What returns the next so many events that arrive on any topic of the tests."""
    events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    with DxlClient(fabric.client_config()) as dxl_client, CommonThreatEventClient(dxl_client) as client:
        dxl_client.connect()
        for topic in (TOPIC, "/lab/topic"):
            client.add_threat_event_callback(lambda threat_event, _: events.put(threat_event), topic)

        def take(number: int) -> list[dict[str, Any]]:
            taken = [events.get(timeout=TIMEOUT) for _ in range(number)]
            assert events.empty()
            return taken

        yield take


def test_the_sample_event_is_sent_and_it_says_where_to(fabric: LocalFabric, received: Received) -> None:
    completed = run("publish", "-c", fabric.config_file)
    assert (completed.returncode, completed.stdout) == (0, "")
    assert completed.stderr == f"Sending 1 event to the broker 127.0.0.1:{fabric.port} on topic {TOPIC}\n"
    [event] = received(1)
    assert event["event"]["threatName"] == "ExP:Heap"


def test_everything_that_is_sent_arrives_in_order(
    fabric: LocalFabric, received: Received, tmp_path: Path
) -> None:
    documents = [{"number": number, "filling": "x" * 2000} for number in range(1000)]
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(map(json.dumps, documents)))
    assert run("publish", "-c", fabric.config_file, file, "--count", 2500).returncode == 0
    assert received(2500) == (documents * 3)[:2500]


def test_files_and_stdin_are_sent_one_after_the_other(
    fabric: LocalFabric, received: Received, tmp_path: Path
) -> None:
    (tmp_path / "one.json").write_text('{"n": 1}')
    (tmp_path / "array.json").write_text('[{"n": 2},\n{"n": 3}]')
    files = (tmp_path / "one.json", tmp_path / "array.json", "-")
    completed = run(
        "publish",
        "-c",
        fabric.config_file,
        "--topic",
        "/lab/topic",
        *files,
        stdin='{"n": 4}\n{"n": "\\ud800"}\n',
    )
    assert completed.returncode == 0
    assert "Sending 5 events" in completed.stderr
    assert "on topic /lab/topic" in completed.stderr
    assert [event["n"] for event in received(5)] == [1, 2, 3, 4, "\ud800"]


def test_a_bad_document_keeps_every_event_from_being_sent(
    fabric: LocalFabric, received: Received, tmp_path: Path
) -> None:
    (tmp_path / "good.json").write_text('{"n": 1}')
    (tmp_path / "bad.jsonl").write_text('{"n": 2}\n{"n": 3\n')
    completed = run("publish", "-c", fabric.config_file, tmp_path / "good.json", tmp_path / "bad.jsonl")
    assert completed.returncode == 2
    assert f"{tmp_path / 'bad.jsonl'}, line 2: this is not JSON" in completed.stderr
    assert completed.stderr.count("\n") == 1
    # What is sent next is the first to arrive.
    assert run("publish", "-c", fabric.config_file).returncode == 0
    assert "event" in received(1)[0]


def test_the_environment_variable_is_not_enough_to_name_a_fabric(
    fabric: LocalFabric, received: Received
) -> None:
    completed = run("publish", DXLCLIENT_CONFIG=str(fabric.config_file))
    assert completed.returncode == 2
    assert "required: -c/--config" in completed.stderr
    assert run("publish", "-c", fabric.config_file).returncode == 0
    received(1)


def test_ctrl_c_says_how_many_were_sent(fabric: LocalFabric, received: Received) -> None:
    with Command("publish", "-c", fabric.config_file, "--interval", 60, "--count", 3) as publish:
        publish.errors.wait_for("Sending 3 events")
        received(1)
        assert publish.end(signal.SIGINT) == 130
        assert publish.errors.all().splitlines()[1:] == ["Interrupted after 1 event of 3"]


def test_a_broker_that_restarts_meanwhile_is_an_error_since_events_may_be_lost() -> None:
    with (
        LocalFabric() as fabric,
        Command("publish", "-c", fabric.config_file, "--interval", 1.6, "--count", 2) as publish,
    ):
        publish.errors.wait_for("Sending 2 events")
        fabric.stop()
        fabric.start()
        assert publish.process.wait(TIMEOUT) == 1
        *_, last = publish.errors.all().splitlines()
        assert "1 of 2 events had been sent, and the last 1 of these may be lost" in last
        assert "Traceback" not in publish.errors.all()


def test_a_broker_that_stops_answering_is_an_error_since_events_may_be_lost(tmp_path: Path) -> None:
    impatient = (
        "import sys; from dxlthreateventclient._cli import echo, main; echo._TIMEOUT = 0.5; sys.exit(main())"
    )
    config_file = tmp_path / "fabric" / "dxlclient.config"
    with Command("fabric", "--directory", config_file.parent) as fabric:
        fabric.output.wait_for("publish")
        arguments = ("publish", "-c", config_file, "--count", 2, "--interval", 1)
        with Command(*arguments, program=[sys.executable, "-c", impatient]) as publish:
            publish.errors.wait_for("Sending 2 events")
            fabric.process.send_signal(signal.SIGSTOP)
            assert publish.process.wait(TIMEOUT) == 1
            assert "the last 2 of these may be lost" in publish.errors.all()


def test_an_unreachable_broker_is_reported_at_once_with_1(fabric: LocalFabric, tmp_path: Path) -> None:
    completed = run("publish", "-c", copy_of_configuration(fabric, tmp_path, port=";1;"))
    assert (completed.returncode, completed.stdout) == (1, "")
    assert completed.stderr.count("\n") == 1
    assert "cannot reach 127.0.0.1:1: Connection refused" in completed.stderr


@pytest.mark.parametrize("has_rich", [True, False])
def test_a_terminal_shows_progress_if_it_takes_more_than_a_second(
    fabric: LocalFabric, received: Received, has_rich: bool
) -> None:
    terminal, end = pty.openpty()
    program = PROGRAM if has_rich else without("rich")
    with subprocess.Popen(
        [*program, "publish", "-c", fabric.config_file, "--count", "3", "--interval", "0.6"],
        env=clean_environment() | {"TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=end,
        stderr=end,
    ) as process:
        os.close(end)
        shown = shown_on(terminal)
        assert process.wait(TIMEOUT) == 0
    assert ("%" in shown) is has_rich
    received(3)


def test_a_broker_that_refuses_over_tls_1_3_when_dxlclient_comes_is_told_in_one_line(tmp_path: Path) -> None:
    # The certificate is accepted when the broker is tried, and no longer a moment later. Threads of dxlclient
    # then end with a traceback.
    ca, other_ca = trustme.CA(key_type=trustme.KeyType.RSA), trustme.CA(key_type=trustme.KeyType.RSA)
    version = ssl.TLSVersion.TLSv1_3
    servers = chain([tls_server(ca, version)], repeat(tls_server(ca, version, clients_of=other_ca)))

    def serve(connection: socket.socket) -> None:
        next(servers)(connection)

    client = ca.issue_cert("client", key_type=trustme.KeyType.RSA)
    client.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    ca.cert_pem.write_to_path(tmp_path / "ca.crt")
    impatient = (
        "import sys; from dxlclient.client import DxlClient; DxlClient._DEFAULT_CONNECT_WAIT = 0.3;"
        " from dxlthreateventclient._cli import main; sys.exit(main())"
    )
    with server(serve) as port:
        (tmp_path / "dxlclient.config").write_text(
            "[Certs]\nBrokerCertChain = ca.crt\nCertFile = client.pem\nPrivateKey = client.pem\n"
            f"[Brokers]\nbroker = broker;{port};127.0.0.1\n[BrokersWebSockets]\n"
        )
        completed = run(
            "publish", "-c", tmp_path / "dxlclient.config", program=[sys.executable, "-c", impatient]
        )
    assert completed.returncode == 1
    assert "cannot connect to 127.0.0.1" in completed.stderr
    assert completed.stderr.count("\n") == 1, completed.stderr
