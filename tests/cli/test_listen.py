"""``listen``, run as a process over a real fabric."""

import base64
import json
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from dxlclient.client import DxlClient
from helpers.command_line import (
    PROGRAM,
    TIMEOUT,
    WAITING,
    Command,
    Listen,
    clean_environment,
    copy_of_configuration,
    make_foreign_certificates,
    run,
    shown_on,
    without,
)
from helpers.program import freeze
from helpers.receiving import publish_payload, publish_until_all_have_them

from dxlthreateventclient.formats import FORMATS
from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event

ESCAPE = "\x1b"
SOON = 30.0  # seconds; dxlclient would wait for two minutes, and the events for 80 seconds

OTHERS = [name for name in FORMATS if name != "text"]

# Everything that could steer a terminal or break a line, and a lone surrogate.
HOSTILE = sample_threat_event(
    threatName="\x1b[2Jgone\r\nnext\u2028\x9b\x7f\u202e[bold]x\ud800", threatActionTaken="a\tb\nc\0"
)


@pytest.mark.parametrize("name", ["text", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_each_format_is_written(fabric: LocalFabric, dxl_client: DxlClient, topic: str, name: str) -> None:
    expected = []
    with Listen(fabric.config_file, topic, "--format", name) as listen:
        for threat_event in (sample_threat_event(threatName="Ünïcode"), HOSTILE, sample_threat_event()):
            event_id = publish_threat_event(dxl_client, threat_event, topic).message_id
            expected.append(FORMATS[name](threat_event, topic=topic, event_id=event_id, arrived=None))
        listen.output.wait_for("ExP:Heap")
        assert listen.end() == 0
        assert listen.said(3, 3, 0, 0, 0) == []
        assert listen.output.all() == "".join(f"{text}\n" for text in expected)


def test_severity_keeps_the_more_severe_and_the_unknown(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str
) -> None:
    severities: list[Any] = [1, "2", 3, 4, "7", None, "high", 3.0, 1]
    with Listen(fabric.config_file, topic, "--severity", 3, "--count", 7) as listen:
        for severity in severities:
            event = sample_threat_event(threatName=f"<{severity}>", threatSeverity=severity)
            publish_threat_event(dxl_client, event, topic)
        assert listen.process.wait(TIMEOUT) == 0
        assert listen.said(9, 7, 0, 2, 0) == []
        assert re.findall("<(.*)>", listen.output.all()) == ["1", "2", "3", "None", "high", "3.0", "1"]


def test_topics_and_filters_bring_no_event_twice(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str
) -> None:
    one, two = f"{topic}/one", f"{topic}/two"
    options = ["--topic", f"{two}/#", "--topic", f"{two}/x", "--topic", one, "--format", "jsonl"]
    with Command("listen", "-c", fabric.config_file, "--topic", one, *options) as listen:
        listen.errors.wait_for(f"{one}, {two}/#...")
        for name in (f"{topic}/other", one, f"{two}/x", f"{two}/y"):
            publish_threat_event(dxl_client, sample_threat_event(threatName=name), name)
        listen.output.wait_for(f"{two}/y")
        assert listen.end() == 0
        names = [json.loads(line)["event"]["threatName"] for line in listen.output.all().splitlines()]
        assert names == [one, f"{two}/x", f"{two}/y"]


def test_a_payload_that_is_not_an_event_is_reported(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str
) -> None:
    """Its topic cannot steer a terminal, nor can the topic of a good event."""
    with Listen(fabric.config_file, f"{topic}/#", "--format", "json") as listen:
        publish_threat_event(dxl_client, sample_threat_event(), f"{topic}/\x1b[2J")
        sent = publish_payload(dxl_client, b"junk", f"{topic}/\x1b[3J")
        output, errors = listen.output.wait_for("\n}\n"), listen.errors.wait_for("is not JSON")
    assert ESCAPE not in output + errors
    assert f"Message {sent.message_id} on topic {topic}" in errors


def test_rejected_payloads_are_kept_in_the_file(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str, tmp_path: Path
) -> None:
    rejects = tmp_path / "rejects.jsonl"
    rejects.write_text("kept\n")
    with Listen(fabric.config_file, topic, "--format", "jsonl", "--reject-file", rejects) as listen:
        sent = [
            publish_payload(dxl_client, payload, topic) for payload in (b"\xff\0junk", b"", [1, {"a": 2}], 7)
        ]
        publish_threat_event(dxl_client, sample_threat_event(), topic)
        listen.output.wait_for("\n")
        # Each is there at once, not at the end.
        kept, *lines = rejects.read_text().splitlines()
        assert listen.end() == 0
        said = listen.said(5, 1, 4, 0, 0)
        assert [line.count("was not handled") for line in said] == [1] * len(sent)
    documents = [json.loads(line) for line in lines]
    assert kept == "kept"
    assert [document["message_id"] for document in documents] == [event.message_id for event in sent]
    assert {document["topic"] for document in documents} == {topic}
    payloads = [base64.b64decode(document["base64"]) for document in documents]
    assert payloads == [b"\xff\0junk", b"", b"[1, {b'a': 2}]", b"7"]
    reasons = [document["reason"].partition(":")[0] for document in documents]
    assert reasons[:3] == ["payload is not UTF-8", "payload is empty", "payload is of type list, not bytes"]


def test_an_event_too_deep_to_be_written_is_rejected(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str, tmp_path: Path
) -> None:
    """From Python 3.12 on the decoder takes more than the encoder, which gives up at about 1000."""
    rejects = tmp_path / "rejects.jsonl"
    depths = (300, 1500, 2500, 10_000)
    with Listen(fabric.config_file, topic, "--format", "json", "--reject-file", rejects) as listen:
        for depth in depths:
            publish_payload(dxl_client, b'{"a":' * depth + b'"deepest"' + b"}" * depth, topic)
        publish_threat_event(dxl_client, sample_threat_event(threatName="LAST"), topic)
        written = listen.output.wait_for("LAST").count("deepest")
        assert listen.end() == 0
    reasons = [json.loads(line)["reason"] for line in rejects.read_text().splitlines()]
    assert written + len(reasons) == len(depths)
    assert set(reasons) <= {"payload is nested too deeply"}


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_ends_it_soon_with_0(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str, number: int
) -> None:
    with Listen(fabric.config_file, topic, "--format", "jsonl") as listen:
        for _ in range(100):
            publish_threat_event(dxl_client, sample_threat_event(), topic)
        listen.output.wait_for("\n")
        started = time.monotonic()
        assert listen.end(number) == 0
        assert time.monotonic() - started < SOON
        assert all(json.loads(line) for line in listen.output.all().splitlines())
        assert "Traceback" not in listen.errors.all()


@pytest.mark.parametrize("environment", [{}, pytest.param({"PYTHONUNBUFFERED": "1"}, marks=pytest.mark.slow)])
def test_what_is_buffered_when_a_signal_comes_is_written(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str, environment: dict[str, str]
) -> None:
    reader, writer = os.pipe()
    with Listen(fabric.config_file, topic, "--format", "jsonl", stdout=writer, **environment) as listen:
        os.close(writer)
        publish_until_all_have_them(dxl_client, topic, 300)
        # Nobody has read so far, and a pipe holds about 40 of them.
        listen.process.send_signal(signal.SIGTERM)
        with os.fdopen(reader, encoding="utf-8") as pipe:
            numbers = [json.loads(line)["event"]["id"] for line in pipe]
        assert listen.process.wait(TIMEOUT) == 0
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 50


@pytest.mark.parametrize("end", ["a second signal", "the time limit"])
def test_it_ends_with_1_if_nobody_reads(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str, end: str
) -> None:
    """A pipe holds about 40 of the events; what was not written is counted."""
    reader, writer = os.pipe()
    seconds = 0 if end == "the time limit" else 80
    arguments = ("--format", "jsonl", "--drain-seconds", seconds)
    with Listen(fabric.config_file, topic, *arguments, stdout=writer) as listen:
        os.close(writer)
        publish_until_all_have_them(dxl_client, topic, 100)
        started = time.monotonic()
        listen.process.send_signal(signal.SIGTERM)
        if seconds:
            listen.errors.wait_for("Another Ctrl-C or SIGTERM ends this at once")
            listen.process.send_signal(signal.SIGTERM)
        assert listen.process.wait(TIMEOUT) == 1
        assert time.monotonic() - started < SOON
        last = listen.errors.all().splitlines()[-1]
        written, dropped = map(
            int, re.findall("Received 100, written (.*), rejected 0, .*ropped (.*)", last)[0]
        )
        assert 0 < written == 100 - dropped
    os.close(reader)


def test_it_ends_soon_if_the_broker_is_silent(tmp_path: Path, topic: str) -> None:
    with Command("fabric", "--directory", tmp_path / "fabric") as fabric:
        fabric.output.wait_for("publish")
        arguments = ("-c", tmp_path / "fabric" / "dxlclient.config", "--topic", topic)
        with Command("listen", *arguments) as listen:
            listen.errors.wait_for(WAITING)
            freeze(fabric.process)
            started = time.monotonic()
            assert listen.end() == 0
            assert time.monotonic() - started < SOON
            assert listen.errors.all().splitlines()[1:] == [
                "Writing what has arrived. Another Ctrl-C or SIGTERM ends this at once",
                "Received 0, written 0, rejected 0, filtered 0, dropped 0",
            ]


def test_a_signal_while_it_connects_ends_it_with_0(fabric: LocalFabric, tmp_path: Path) -> None:
    config_file = copy_of_configuration(fabric, tmp_path, port=";1;")
    with Command("listen", "-c", config_file, "--retries", -1) as listen:
        listen.errors.wait_for("trying again")
        assert listen.end(signal.SIGINT) == 0
        assert "Traceback" not in listen.errors.all()


def test_a_second_ctrl_c_ends_it_without_a_traceback(fabric: LocalFabric, topic: str) -> None:
    with Listen(fabric.config_file, topic) as listen:
        listen.process.send_signal(signal.SIGINT)
        assert listen.end(signal.SIGINT) in (0, 1)  # 1 if it was ended before it was done
        assert listen.said(0, 0, 0, 0, 0) == []


def test_a_closed_pipe_ends_it_with_1_and_a_count(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str
) -> None:
    reader, writer = os.pipe()
    with Listen(fabric.config_file, topic, stdout=writer) as listen:
        os.close(writer)
        os.close(reader)
        publish_threat_event(dxl_client, sample_threat_event(), topic)
        assert listen.process.wait(TIMEOUT) == 1
        assert listen.said(1, 0, 0, 0, 1) == []
        assert "the reader has closed stdout: Received" in listen.errors.all()


def test_a_closed_pipe_is_no_error_in_a_shell(fabric: LocalFabric, dxl_client: DxlClient, topic: str) -> None:
    """As after ``listen | head -n 1``."""
    terminal, end = pty.openpty()
    reader, writer = os.pipe()
    arguments = [*PROGRAM, "listen", "-c", str(fabric.config_file), "--topic", topic]
    with subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=writer, stderr=end) as process:
        for file in (end, writer, reader):
            os.close(file)
        assert os.read(terminal, 4096).decode().rpartition("\x1b[K")[2].startswith(WAITING)
        publish_threat_event(dxl_client, sample_threat_event(), topic)
        assert process.wait(TIMEOUT) == 0
    assert WAITING not in shown_on(terminal)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full stands for a full disk")
def test_a_full_disk_ends_it_with_1(fabric: LocalFabric, dxl_client: DxlClient, topic: str) -> None:
    completed = run("listen", "-c", fabric.config_file, "--reject-file", "/dev/full/file")
    assert completed.returncode == 2
    assert "cannot write the reject file /dev/full/file: Not a directory" in completed.stderr
    full = os.open("/dev/full", os.O_WRONLY)
    with Listen(fabric.config_file, topic, stdout=full) as listen:
        os.close(full)
        publish_threat_event(dxl_client, sample_threat_event(), topic)
        assert listen.process.wait(TIMEOUT) == 1
        assert listen.said(1, 0, 0, 0, 1) == []
        assert ": cannot write to stdout: No space left on device: Received 1" in listen.errors.all()


@pytest.mark.parametrize(
    ("environment", "is_colored"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        pytest.param({"TERM": "dumb"}, False, marks=pytest.mark.slow),
    ],
)
def test_a_terminal_gets_colors_if_they_are_wanted(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str, environment: dict[str, str], *, is_colored: bool
) -> None:
    terminal, end = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "listen", "-c", fabric.config_file, "--count", "1", "--topic", topic],
        env=clean_environment() | {"TERM": "xterm"} | environment,
        stdin=subprocess.DEVNULL,
        stdout=end,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(end)
        assert process.stderr
        assert process.stderr.readline().startswith(WAITING.encode())
        publish_threat_event(dxl_client, sample_threat_event(threatName="[red]Trojan" + 100 * "x"), topic)
        shown = shown_on(terminal)
        assert process.wait(TIMEOUT) == 0
    assert "[red]Trojan" + 100 * "x" in shown
    assert shown.count("\n") == 1
    assert ("\x1b[31mCritical" in shown) is (ESCAPE in shown) is is_colored


def test_a_gap_is_reported_with_its_begin_and_end(topic: str) -> None:
    with LocalFabric() as fabric, Listen(fabric.config_file, topic, "--format", "jsonl") as listen:
        fabric.stop()
        listen.errors.wait_for("dxlclient: Unexpected disconnect")
        listen.errors.wait_for(f"Events on {topic} may be missing since ")
        fabric.start()
        listen.errors.wait_for(f"Events on {topic} may be missing from ")
        assert run("publish", "-c", fabric.config_file, "--topic", topic).returncode == 0
        listen.output.wait_for("ExP:Heap")
        assert listen.end() == 0
        assert "Traceback" not in listen.errors.all()


def test_it_waits_for_a_broker_that_is_late(tmp_path: Path) -> None:
    with LocalFabric() as fabric:
        config_file = copy_of_configuration(fabric, tmp_path)
        fabric.stop()
        with Command("listen", "-c", config_file, "--retries", 10) as listen:
            listen.errors.wait_for("trying again in 1 s")
            fabric.start()
            listen.errors.wait_for(WAITING)
            assert listen.end() == 0


@pytest.mark.parametrize(
    ("replacements", "status", "expected"),
    [
        pytest.param({"port": ";1;"}, 1, "cannot reach 127.0.0.1:1: Connection refused", id="no broker"),
        pytest.param({"cert": "foreign.crt", "key": "foreign.key"}, 1, "foreign.crt", id="refused"),
        pytest.param({"cert": "gone.crt"}, 2, "gone.crt) cannot be read", id="a missing file"),
    ],
)
def test_a_bad_set_up_is_one_line(
    fabric: LocalFabric, tmp_path: Path, replacements: dict[str, str], status: int, expected: str
) -> None:
    make_foreign_certificates(tmp_path)
    completed = run("listen", "-c", copy_of_configuration(fabric, tmp_path, **replacements), "--retries", 0)
    assert (completed.returncode, completed.stdout) == (status, "")
    assert expected in completed.stderr
    assert completed.stderr.startswith("python -m dxlthreateventclient: ")
    assert completed.stderr.count("\n") == 1


def test_the_environment_names_the_configuration() -> None:
    assert " dxlclient.config: " in run("listen").stderr
    assert " other.config: " in run("listen", DXLCLIENT_CONFIG="other.config").stderr


def test_no_format_needs_an_extra(fabric: LocalFabric, dxl_client: DxlClient, topic: str) -> None:
    program = without("amqtt", "trustme")
    with Listen(fabric.config_file, topic, "--format", "ecs", program=program) as listen:
        publish_threat_event(dxl_client, sample_threat_event(), topic)
        listen.output.wait_for("ExP:Heap")
        assert listen.end() == 0
