"""``listen``, run as a process over a real fabric."""

import base64
import json
import os
import pty
import queue
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.command_line import (
    PROGRAM,
    TIMEOUT,
    Command,
    clean_environment,
    copy_of_configuration,
    make_foreign_certificates,
    run,
    shown_on,
    without,
)

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC as TOPIC
from dxlthreateventclient.formats import to_cef, to_ecs
from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event

WAITING = "Waiting for threat events"
ESCAPE = "\x1b"

# Everything that could steer a terminal or break a line, and a lone surrogate.
HOSTILE = sample_threat_event(
    threatName="\x1b[2Jgone\r\nnext\u2028\x9b\x7f\u202e[bold]x\ud800", threatActionTaken="a\tb\nc\0"
)


def send_payload(client: DxlClient, payload: Any, topic: str = TOPIC) -> Event:
    event = Event(topic)
    event.payload = payload
    client.send_event(event)
    return event


@pytest.fixture(scope="module")
def epo(fabric: LocalFabric) -> Iterator[DxlClient]:
    with DxlClient(fabric.client_config()) as client:
        client.connect()
        yield client


def listened(fabric: LocalFabric, epo: DxlClient, events: list[dict[str, Any]], *arguments: object) -> str:
    """What ``listen`` writes about these events."""
    with Command("listen", "-c", fabric.config_file, *arguments) as listen:
        listen.errors.wait_for(WAITING)
        for threat_event in events:
            publish_threat_event(epo, threat_event)
        publish_threat_event(epo, sample_threat_event(threatName="LAST"))
        listen.output.wait_for("LAST")
        assert listen.end() == 0
        assert listen.errors.all().startswith(WAITING)
        assert listen.errors.all().count("\n") == 1
        return listen.output.all()


def test_jsonl_is_the_event_in_one_line(fabric: LocalFabric, epo: DxlClient) -> None:
    sent = sample_threat_event(threatName="Ünïcode")
    first, *_ = listened(fabric, epo, [sent, HOSTILE], "--format", "jsonl").splitlines()
    assert json.loads(first) == sent


def test_json_is_what_the_basic_sample_prints(fabric: LocalFabric, epo: DxlClient) -> None:
    sent = sample_threat_event()
    output = listened(fabric, epo, [sent], "--format", "json")
    document = json.dumps(sent, sort_keys=True, indent=4)
    assert output.startswith(f"Threat event on topic: {TOPIC}\n{document}\nThreat event on topic: ")


def test_ecs_and_cef_are_one_line_for_each_event(fabric: LocalFabric, epo: DxlClient) -> None:
    sent = sample_threat_event()
    ecs = listened(fabric, epo, [sent, HOSTILE], "--format", "ecs").splitlines()
    assert [json.loads(line) for line in ecs[:2]] == [to_ecs(sent), to_ecs(HOSTILE)]
    assert "sc_evtFileMd5" not in ecs[0]
    cef = listened(fabric, epo, [sent, HOSTILE], "--format", "cef").splitlines()
    assert cef[:2] == [to_cef(sent), to_cef(HOSTILE)]
    assert len(cef) == len(ecs) == 3


def test_text_is_one_aligned_line_and_keeps_a_pipe_free_of_colours(
    fabric: LocalFabric, epo: DxlClient
) -> None:
    sent = sample_threat_event(
        analyzer={"detectedUTC": "2026-01-02T03:04:05.678Z", "hostName": "WS-1"},
        threatName="EICAR",
        otherData={"threatSeverityString": "As the server names it"},
    )
    lines = listened(fabric, epo, [sent, HOSTILE]).splitlines()
    assert re.split(" {2,}", lines[0]) == [
        "2026-01-02T03:04:05.678Z",
        "As the server names it",
        "WS-1",
        "EICAR",
        "blocked",
    ]
    assert len(lines) == 3
    assert ESCAPE not in "".join(lines)


def test_severity_keeps_the_more_severe_and_those_that_do_not_say(
    fabric: LocalFabric, epo: DxlClient
) -> None:
    severities: list[Any] = [1, "2", 3, 4, "7", None, "high", 3.0]
    events = [
        sample_threat_event(threatName=f"<{severity}>", threatSeverity=severity) for severity in severities
    ]
    output = listened(fabric, epo, events, "--severity", 3)
    assert re.findall("<(.*)>", output) == ["1", "2", "3", "None", "high", "3.0"]


def test_count_ends_it_and_counts_what_is_written(fabric: LocalFabric, epo: DxlClient) -> None:
    arguments = ("-c", fabric.config_file, "--count", 2, "--severity", 2, "--format", "jsonl")
    with Command("listen", *arguments) as listen:
        listen.errors.wait_for(WAITING)
        for severity in (1, 5, 2):
            publish_threat_event(epo, sample_threat_event(threatSeverity=severity))
        assert listen.process.wait(TIMEOUT) == 0
        assert [json.loads(line)["event"]["threatSeverity"] for line in listen.output.all().splitlines()] == [
            1,
            2,
        ]


def test_several_topics_and_filters_are_heard_and_no_event_twice(fabric: LocalFabric, epo: DxlClient) -> None:
    topics = ("--topic", "/lab/one", "--topic", "/lab/two/#", "--topic", "/lab/two/x", "--topic", "/lab/one")
    with Command("listen", "-c", fabric.config_file, "--format", "jsonl", *topics) as listen:
        assert "/lab/one, /lab/two/#" in listen.errors.wait_for(WAITING)
        for topic in ("/lab/other", "/lab/one", "/lab/two/x", "/lab/two/y"):
            publish_threat_event(epo, sample_threat_event(threatName=topic), topic)
        listen.output.wait_for("/lab/two/y")
        assert listen.end() == 0
        names = [json.loads(line)["event"]["threatName"] for line in listen.output.all().splitlines()]
        assert names == ["/lab/one", "/lab/two/x", "/lab/two/y"]


def test_a_topic_cannot_steer_a_terminal_either(fabric: LocalFabric, epo: DxlClient) -> None:
    with Command("listen", "-c", fabric.config_file, "--format", "json", "--topic", "/lab/#") as listen:
        listen.errors.wait_for(WAITING)
        publish_threat_event(epo, sample_threat_event(), "/lab/\x1b[2J")
        send_payload(epo, b"junk", "/lab/\x1b[3J")
        output, errors = listen.output.wait_for("\n}\n"), listen.errors.wait_for("is not JSON")
    assert ESCAPE not in output + errors


def test_payloads_that_are_no_threat_events_are_kept_in_the_reject_file(
    fabric: LocalFabric, epo: DxlClient, tmp_path: Path
) -> None:
    rejects = tmp_path / "rejects.jsonl"
    rejects.write_text("kept\n")
    with Command("listen", "-c", fabric.config_file, "--format", "jsonl", "--reject-file", rejects) as listen:
        listen.errors.wait_for(WAITING)
        sent = [send_payload(epo, payload) for payload in (b"\xff\0junk", b"", [1, {"a": 2}], 7)]
        publish_threat_event(epo, sample_threat_event())
        listen.output.wait_for("\n")
        # Each is there at once, not at the end.
        kept, *lines = rejects.read_text().splitlines()
        assert listen.errors.wait_for("was not handled", times=len(sent)).count("Traceback") == 0
        assert listen.end() == 0
    documents = [json.loads(line) for line in lines]
    assert kept == "kept"
    assert [document["message_id"] for document in documents] == [event.message_id for event in sent]
    assert {document["topic"] for document in documents} == {TOPIC}
    payloads = [base64.b64decode(document["base64"]) for document in documents]
    assert payloads == [b"\xff\0junk", b"", b"[1, {b'a': 2}]", b"7"]
    assert documents[0]["reason"].startswith("payload is not UTF-8")
    assert documents[1]["reason"] == "payload is empty"
    assert documents[2]["reason"] == "payload is of type list, not bytes"


def test_an_event_that_is_nested_too_deeply_to_be_written_is_rejected_and_ends_nothing(
    fabric: LocalFabric, epo: DxlClient, tmp_path: Path
) -> None:
    rejects = tmp_path / "rejects.jsonl"
    # From Python 3.12 on the decoder takes more than the encoder, which gives up at about 1000.
    depths = (300, 1500, 2500, 10_000)
    with Command("listen", "-c", fabric.config_file, "--format", "json", "--reject-file", rejects) as listen:
        listen.errors.wait_for(WAITING)
        for depth in depths:
            send_payload(epo, b'{"a":' * depth + b'"deepest"' + b"}" * depth)
        publish_threat_event(epo, sample_threat_event(threatName="LAST"))
        written = listen.output.wait_for("LAST").count("deepest")
        assert listen.end() == 0
    reasons = [json.loads(line)["reason"] for line in rejects.read_text().splitlines()]
    assert written + len(reasons) == len(depths)
    assert set(reasons) <= {"payload is nested too deeply"}


def test_without_a_reject_file_such_payloads_are_reported(fabric: LocalFabric, epo: DxlClient) -> None:
    with Command("listen", "-c", fabric.config_file) as listen:
        listen.errors.wait_for(WAITING)
        sent = send_payload(epo, b"junk\x1b")
        errors = listen.errors.wait_for("was not handled")
    assert sent.message_id in errors
    assert TOPIC in errors


def test_a_reject_file_that_cannot_be_written_is_an_error_before_connecting(
    fabric: LocalFabric, tmp_path: Path
) -> None:
    completed = run("listen", "-c", fabric.config_file, "--reject-file", tmp_path / "missing" / "file")
    assert (completed.returncode, completed.stdout) == (2, "")
    assert re.fullmatch(
        r".*: cannot write the reject file .*file: No such file or directory\n", completed.stderr
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_within_a_second_with_0_after_writing_what_was_received(
    fabric: LocalFabric, epo: DxlClient, number: int
) -> None:
    with Command("listen", "-c", fabric.config_file, "--format", "jsonl") as listen:
        listen.errors.wait_for(WAITING)
        for _ in range(100):
            publish_threat_event(epo, sample_threat_event())
        listen.output.wait_for("\n")
        started = time.monotonic()
        assert listen.end(number) == 0
        assert time.monotonic() - started < 1
        output, errors = listen.output.all(), listen.errors.all()
    assert all(json.loads(line) for line in output.splitlines())
    assert "Traceback" not in errors


def publish_until_all_have_them(epo: DxlClient, number: int) -> None:
    """Publish numbered events. Return when they are back, and so, most likely, with everybody else."""
    received: queue.SimpleQueue[object] = queue.SimpleQueue()
    with CommonThreatEventClient(epo) as client:
        client.add_epo_threat_event_response_callback(lambda threat_event, _: received.put(threat_event))
        for count in range(number):
            publish_threat_event(epo, sample_threat_event(id=count))
        for _ in range(number):
            received.get(timeout=TIMEOUT)


@pytest.mark.parametrize("environment", [{}, {"PYTHONUNBUFFERED": "1"}])
def test_what_is_buffered_when_a_signal_comes_is_written(
    fabric: LocalFabric, epo: DxlClient, environment: dict[str, str]
) -> None:
    reader, writer = os.pipe()
    arguments = ("listen", "-c", fabric.config_file, "--format", "jsonl")
    with Command(*arguments, stdout=writer, **environment) as listen:
        os.close(writer)
        listen.errors.wait_for(WAITING)
        publish_until_all_have_them(epo, 300)
        # Nobody has read so far, and a pipe holds about 40 of them.
        listen.process.send_signal(signal.SIGTERM)
        with os.fdopen(reader, encoding="utf-8") as pipe:
            numbers = [json.loads(line)["event"]["id"] for line in pipe]
        assert listen.process.wait(TIMEOUT) == 0
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 100


def test_it_ends_within_a_second_when_the_broker_does_not_answer(tmp_path: Path) -> None:
    with Command("fabric", "--directory", tmp_path / "fabric") as fabric:
        fabric.output.wait_for("publish")
        with Command("listen", "-c", tmp_path / "fabric" / "dxlclient.config") as listen:
            listen.errors.wait_for(WAITING)
            fabric.process.send_signal(signal.SIGSTOP)
            started = time.monotonic()
            assert listen.end() == 0
            assert time.monotonic() - started < 1
            assert listen.errors.all().count("\n") == 1


def test_it_ends_within_a_second_when_nobody_reads_what_it_writes(
    fabric: LocalFabric, epo: DxlClient
) -> None:
    reader, writer = os.pipe()
    with Command("listen", "-c", fabric.config_file, "--format", "jsonl", stdout=writer) as listen:
        os.close(writer)
        listen.errors.wait_for(WAITING)
        publish_until_all_have_them(epo, 100)  # a pipe holds about 40 of them
        started = time.monotonic()
        assert listen.end() == 0
        assert time.monotonic() - started < 1
        assert listen.errors.all().splitlines()[1:] == [
            "Ended while nobody took what was written: events that had arrived are lost"
        ]
    os.close(reader)


def test_a_signal_while_it_tries_to_connect_ends_it_with_0(fabric: LocalFabric, tmp_path: Path) -> None:
    config_file = copy_of_configuration(fabric, tmp_path, port=";1;")
    with Command("listen", "-c", config_file, "--retries", -1) as listen:
        listen.errors.wait_for("Trying again")
        assert listen.end(signal.SIGINT) == 0
        assert "Traceback" not in listen.errors.all()


def test_a_second_ctrl_c_ends_it_without_a_traceback(fabric: LocalFabric) -> None:
    with Command("listen", "-c", fabric.config_file) as listen:
        listen.errors.wait_for(WAITING)
        listen.process.send_signal(signal.SIGINT)
        listen.process.send_signal(signal.SIGINT)
        assert listen.process.wait(TIMEOUT) == 0
        assert listen.errors.all().count("\n") == 1


def test_a_closed_pipe_is_no_error(fabric: LocalFabric, epo: DxlClient) -> None:
    reader, writer = os.pipe()
    with Command("listen", "-c", fabric.config_file, "--format", "jsonl", stdout=writer) as listen:
        os.close(writer)
        listen.errors.wait_for(WAITING)
        os.close(reader)
        publish_threat_event(epo, sample_threat_event())
        assert listen.process.wait(TIMEOUT) == 0
        assert listen.errors.all().count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full stands for a full disk")
def test_a_full_disk_is_reported_with_1(fabric: LocalFabric, epo: DxlClient) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with Command("listen", "-c", fabric.config_file, stdout=full) as listen:
        os.close(full)
        listen.errors.wait_for(WAITING)
        publish_threat_event(epo, sample_threat_event())
        assert listen.process.wait(TIMEOUT) == 1
        assert listen.errors.all().splitlines()[1:] == [
            "python -m dxlthreateventclient: cannot write to stdout: No space left on device"
        ]


def on_a_terminal(fabric: LocalFabric, epo: DxlClient, program: list[str], **environment: str) -> str:
    """What ``listen`` shows of one event on a terminal."""
    terminal, end = pty.openpty()
    with subprocess.Popen(
        [*program, "listen", "-c", fabric.config_file, "--count", "1"],
        env=clean_environment() | {"TERM": "xterm"} | environment,
        stdin=subprocess.DEVNULL,
        stdout=end,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(end)
        assert process.stderr
        assert process.stderr.readline().startswith(WAITING.encode())
        publish_threat_event(epo, sample_threat_event(threatName="[red]Trojan[/red] :smile: " + 100 * "x"))
        shown = shown_on(terminal)
        assert process.wait(TIMEOUT) == 0
    return shown


def test_a_terminal_gets_colours_and_the_event_stays_as_it_is(fabric: LocalFabric, epo: DxlClient) -> None:
    shown = on_a_terminal(fabric, epo, PROGRAM)
    assert ESCAPE in shown
    assert "[red]Trojan[/red] :smile: " + 100 * "x" in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_gets_no_colours_where_they_are_not_wanted(
    fabric: LocalFabric, epo: DxlClient, environment: dict[str, str]
) -> None:
    shown = on_a_terminal(fabric, epo, PROGRAM, **environment)
    assert ESCAPE not in shown
    assert "Trojan" in shown


def test_without_rich_a_terminal_gets_the_same_line_without_colours(
    fabric: LocalFabric, epo: DxlClient
) -> None:
    shown = on_a_terminal(fabric, epo, without("rich", "cryptography", "amqtt"))
    assert ESCAPE not in shown
    assert "Trojan" in shown


def test_it_tells_when_the_connection_is_lost_and_when_it_is_back() -> None:
    with (
        LocalFabric() as fabric,
        Command("listen", "-c", fabric.config_file, "--format", "jsonl") as listen,
        DxlClient(fabric.client_config()) as epo,
    ):
        listen.errors.wait_for(WAITING)
        fabric.stop()
        listen.errors.wait_for("The connection to the broker is lost")
        fabric.start()
        listen.errors.wait_for("Connected again")
        epo.connect()
        publish_threat_event(epo, sample_threat_event(threatName="after"))
        listen.output.wait_for("after")
        assert listen.end() == 0
        assert "Traceback" not in listen.errors.all()


def test_it_waits_for_a_broker_that_is_late(tmp_path: Path) -> None:
    with LocalFabric() as fabric:
        config_file = copy_of_configuration(fabric, tmp_path)
        fabric.stop()
        with Command("listen", "-c", config_file, "--retries", 10) as listen:
            listen.errors.wait_for("Trying again in 1 s")
            fabric.start()
            listen.errors.wait_for(WAITING)
            assert listen.end() == 0


@pytest.mark.parametrize(
    ("replacements", "status", "expected"),
    [
        pytest.param({"port": ";1;"}, 1, "cannot reach 127.0.0.1:1: Connection refused", id="no broker"),
        pytest.param(
            {"cert": "foreign.crt", "key": "foreign.key"}, 1, "refuses the client certificate", id="refused"
        ),
        pytest.param({"ca": "foreign-ca.crt"}, 1, "the certificate of the broker", id="another CA"),
        pytest.param({"cert": "gone.crt"}, 2, "gone.crt: No such file or directory", id="a missing file"),
        pytest.param({"key": "foreign.key"}, 2, "no certificate and its key", id="another key"),
        pytest.param({"cert": "<path>"}, 2, "is not filled in: give a value to CertFile", id="unfilled"),
        pytest.param({"section": "[Broker]"}, 2, "names no broker", id="no section of brokers"),
    ],
)
def test_what_keeps_it_from_connecting_is_told_in_one_line(
    fabric: LocalFabric, tmp_path: Path, replacements: dict[str, str], status: int, expected: str
) -> None:
    make_foreign_certificates(tmp_path)
    completed = run("listen", "-c", copy_of_configuration(fabric, tmp_path, **replacements), "--retries", 0)
    assert (completed.returncode, completed.stdout) == (status, "")
    assert expected in completed.stderr
    assert completed.stderr.count("\n") == 1
    assert completed.stderr.startswith("python -m dxlthreateventclient: ")


def test_it_tries_again_as_often_as_asked_and_says_so(fabric: LocalFabric, tmp_path: Path) -> None:
    config_file = copy_of_configuration(fabric, tmp_path, port=";1;")
    completed = run("listen", "-c", config_file, "--retries", 1)
    assert completed.returncode == 1
    again, last = completed.stderr.splitlines()
    assert again.endswith("Trying again in 1 s.")
    assert "cannot reach 127.0.0.1:1" in last


def test_the_configuration_is_what_the_environment_names_else_a_file_here(tmp_path: Path) -> None:
    assert "configuration dxlclient.config:" in run("listen").stderr
    assert "configuration other.config:" in run("listen", DXLCLIENT_CONFIG="other.config").stderr


def test_machine_formats_need_no_extra(fabric: LocalFabric, epo: DxlClient) -> None:
    program = without("rich", "cryptography", "amqtt", "trustme")
    with Command("listen", "-c", fabric.config_file, "--format", "ecs", program=program) as listen:
        listen.errors.wait_for(WAITING)
        publish_threat_event(epo, sample_threat_event())
        listen.output.wait_for("ExP:Heap")
        assert listen.end() == 0
