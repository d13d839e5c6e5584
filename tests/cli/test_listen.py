"""``listen``, run as a process against a real fabric."""

import base64
import json
import os
import pty
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from dxlclient.client import DxlClient
from helpers.command_line import (
    TIMEOUT,
    WAITING,
    Command,
    Listen,
    Start,
    copy_of_configuration,
    run,
    shown_on,
    without,
)
from helpers.ports import reserve_port
from helpers.receiving import Epo

from dxlthreateventclient.formats import FORMATS
from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event

SOON = TIMEOUT  # shorter than dxlclient's two-minute timeout and the 80-second drain time

# Characters that could control a terminal or break a line, and a lone surrogate.
HOSTILE = {
    "threatName": "\x1b[2Jgone\r\nnext\u2028\x9b\x7f\u202e[bold]x\ud800",
    "threatActionTaken": "a\tb\nc\0",
}


def test_a_format_is_written_without_an_extra(listen: Start, epo: Epo, topic: str) -> None:
    expected = ""
    with listen("--format", "ecs", program=without("amqtt", "trustme")) as listening:
        for changes in ({"threatName": "Ünïcode"}, HOSTILE, {}):
            event = epo.send(**changes)
            threat_event, event_id = json.loads(event.payload), event.message_id
            text = FORMATS["ecs"](threat_event, topic=topic, event_id=event_id, arrived=None)
            expected += text + "\n"
        listening.output.wait_for("ExP:Heap")
        assert listening.end() == 0
        assert listening.said(3, 3, 0, 0, 0) == []
        assert listening.output.all() == expected


def test_severity_keeps_the_more_severe_and_the_unknown(listen: Start, epo: Epo) -> None:
    with listen("--severity", 3, "--count", 6) as listening:
        for severity in (1, "2", 3, 4, "7", None, "high", 3.0):
            epo.send(threatName=f"<{severity}>", threatSeverity=severity)
        assert listening.process.wait(TIMEOUT) == 0
        assert listening.said(8, 6, 0, 2, 0) == []
        assert re.findall("<(.*)>", listening.output.all()) == ["1", "2", "3", "None", "high", "3.0"]


def test_topics_and_filters_bring_no_event_twice(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str
) -> None:
    one, two = f"{topic}/one", f"{topic}/two"
    options = [
        "--topic",
        f"{two}/#",
        "--topic",
        f"{two}/x",
        "--topic",
        one,
        "--topic",
        two,
        "--format",
        "jsonl",
    ]
    with Command("listen", "-c", fabric.config_file, "--topic", one, *options) as listening:
        listening.errors.wait_for(f"{one}, {two}/#...")
        for name in (f"{topic}/other", one, two, f"{two}/x", f"{two}/y"):
            publish_threat_event(dxl_client, sample_threat_event(threatName=name), name)
        listening.output.wait_for(f"{two}/y")
        assert listening.end() == 0
        names = [json.loads(line)["event"]["threatName"] for line in listening.output.all().splitlines()]
        assert names == [one, two, f"{two}/x", f"{two}/y"]


def test_rejected_payloads_are_kept_in_the_file(listen: Start, epo: Epo, tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.jsonl"
    rejects.write_text("kept\n")
    with listen("--reject-file", rejects) as listening:
        sent = [epo.send_payload(bad) for bad in (b"\xff\0junk", b"", [1, {"a": 2}], 7)]
        epo.send()
        listening.output.wait_for("\n")
        # Each payload is written to the reject file immediately, not only at the end.
        kept, *lines = rejects.read_text().splitlines()
        assert listening.end() == 0
        said = listening.said(5, 1, 4, 0, 0)
        assert [line.count("was not handled") for line in said] == [1] * len(sent)
    documents = [json.loads(line) for line in lines]
    assert kept == "kept"
    assert [document["message_id"] for document in documents] == [event.message_id for event in sent]
    assert {document["topic"] for document in documents} == {epo.topic}
    payloads = [base64.b64decode(document["base64"]) for document in documents]
    assert payloads == [b"\xff\0junk", b"", b"[1, {b'a': 2}]", b"7"]
    reasons = [document["reason"].partition(":")[0] for document in documents]
    assert reasons[:3] == ["payload is not UTF-8", "payload is empty", "payload is of type list, not bytes"]


def test_an_event_too_deep_to_be_written_is_rejected(listen: Start, epo: Epo, tmp_path: Path) -> None:
    """Since Python 3.12, the decoder allows deeper nesting than the encoder's limit of about 1,000 levels."""
    rejects = tmp_path / "rejects.jsonl"
    depths = (300, 1500, 2500, 10_000)
    with listen("--format", "json", "--reject-file", rejects) as listening:
        for depth in depths:
            epo.send_payload(b'{"a":' * depth + b'"deepest"' + b"}" * depth)
        epo.send(threatName="LAST")
        written = listening.output.wait_for("LAST").count("deepest")
        assert listening.end() == 0
    reasons = [json.loads(line)["reason"] for line in rejects.read_text().splitlines()]
    assert written + len(reasons) == len(depths)
    assert set(reasons) <= {"payload is nested too deeply"}


@pytest.mark.parametrize("unbuffered", ["", pytest.param("1", marks=pytest.mark.slow)])
def test_what_has_arrived_when_a_signal_comes_is_written(listen: Start, epo: Epo, unbuffered: str) -> None:
    """Nothing reads from the output pipe before the signal. The pipe has room for only about 40 events."""
    reader, writer = os.pipe()
    with listen("--format", "jsonl", stdout=writer, PYTHONUNBUFFERED=unbuffered) as listening:
        os.close(writer)
        epo.send_many(300)
        listening.process.send_signal(signal.SIGTERM)
        with os.fdopen(reader, encoding="utf-8") as pipe:
            numbers = [json.loads(line)["event"]["id"] for line in pipe]
        assert listening.process.wait(SOON) == 0
        listening.said(len(numbers), len(numbers), 0, 0, 0)
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 50


@pytest.mark.parametrize("seconds", [0, 80], ids=["the time limit", "a second signal"])
def test_it_ends_with_1_if_nobody_reads(listen: Start, epo: Epo, seconds: int) -> None:
    """The last output line reports the number of unwritten events."""
    reader, writer = os.pipe()
    with listen("--format", "jsonl", "--drain-seconds", seconds, stdout=writer) as listening:
        os.close(writer)
        epo.send_many(100)
        listening.process.send_signal(signal.SIGTERM)
        if seconds:
            listening.errors.wait_for("Another Ctrl-C or SIGTERM ends the process immediately")
            listening.process.send_signal(signal.SIGTERM)
        assert listening.process.wait(SOON) == 1
        [counts] = re.findall("Received 100, written (.*), rejected 0, .*ropped (.*)", listening.errors.all())
        written, dropped = map(int, counts)
        assert 0 < written == 100 - dropped
    os.close(reader)


def test_it_ends_soon_if_the_broker_is_silent(topic: str) -> None:
    with LocalFabric() as fabric, Listen(fabric.config_file, topic) as listening:
        fabric.freeze()
        assert listening.end() == 0
        assert listening.said(0, 0, 0, 0, 0) == []


def test_a_signal_while_it_connects_ends_it_with_0(fabric: LocalFabric, tmp_path: Path) -> None:
    config_file = copy_of_configuration(fabric, tmp_path, port=";1;")
    with Command("listen", "-c", config_file, "--retries", -1) as listening:
        listening.errors.wait_for("trying again")
        assert listening.end(signal.SIGINT) == 0
        assert "Traceback" not in listening.errors.all()


def test_a_second_ctrl_c_ends_it_without_a_traceback(listen: Start) -> None:
    with listen() as listening:
        listening.process.send_signal(signal.SIGINT)
        assert listening.end(signal.SIGINT) in (0, 1)  # 1 if the signal arrives before the program ends
        assert listening.said(0, 0, 0, 0, 0) == []


def closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize(
    ("opened", "reason"),
    [
        (closed_pipe, "the reader has closed stdout"),
        (lambda: os.open("/dev/full", os.O_WRONLY), "cannot write to stdout: No space left on device"),
    ],
)
def test_an_output_that_takes_nothing_ends_it_with_1(
    listen: Start, epo: Epo, opened: Callable[[], int], reason: str
) -> None:
    output = opened()
    with listen(stdout=output) as listening:
        os.close(output)
        epo.send()
        assert listening.process.wait(TIMEOUT) == 1
        assert listening.said(1, 0, 0, 0, 1) == []
        assert f": {reason}: Received 1" in listening.errors.all()


def test_a_closed_pipe_is_no_error_in_a_shell(fabric: LocalFabric, epo: Epo, topic: str) -> None:
    """In ``listen | head -n 1``, for example, ``head`` closes the pipe."""
    terminal, end = pty.openpty()
    arguments = ("-c", fabric.config_file, "--topic", topic)
    with Command("listen", *arguments, stdout=closed_pipe(), stderr=end) as listening:
        os.close(end)
        assert os.read(terminal, 4096).decode().rpartition("\x1b[K")[2].startswith(WAITING)
        epo.send()
        assert listening.process.wait(TIMEOUT) == 0
    assert WAITING not in shown_on(terminal)


def test_a_terminal_gets_colors_and_whole_lines(listen: Start, epo: Epo) -> None:
    terminal, end = pty.openpty()
    with listen("--count", 1, stdout=end, TERM="xterm") as listening:
        os.close(end)
        epo.send(threatName="[red]Trojan" + 100 * "x")
        shown = shown_on(terminal)
        assert listening.process.wait(TIMEOUT) == 0
    assert "[red]Trojan" + 100 * "x" in shown
    assert shown.count("\n") == 1
    assert "\x1b[31mCritical" in shown


def test_it_waits_for_a_broker_and_reports_a_gap(tmp_path: Path, topic: str) -> None:
    with LocalFabric(port=reserve_port()) as fabric:
        config_file = copy_of_configuration(fabric, tmp_path)
        fabric.stop()
        with Command("listen", "-c", config_file, "--topic", topic, "--retries", 10) as listening:
            listening.errors.wait_for("trying again in 1 s")
            fabric.start()
            listening.errors.wait_for(WAITING)
            fabric.stop()
            listening.errors.wait_for("dxlclient: Unexpected disconnect")
            listening.errors.wait_for(f"Events on {topic} may be missing since ")
            fabric.start()
            listening.errors.wait_for(f"Events on {topic} may be missing from ")
            assert run("publish", "-c", fabric.config_file, "--topic", topic).returncode == 0
            listening.output.wait_for("ExP:Heap")
            assert listening.end() == 0
            assert "Traceback" not in listening.errors.all()


@pytest.mark.parametrize("arguments", [("listen", "--retries", 0), ("publish",)])
def test_an_unreachable_broker_is_one_line(
    fabric: LocalFabric, tmp_path: Path, arguments: tuple[object, ...]
) -> None:
    completed = run(*arguments, "-c", copy_of_configuration(fabric, tmp_path, port=";1;"))
    assert (completed.returncode, completed.stdout) == (1, "")
    assert "cannot reach 127.0.0.1:1: Connection refused" in completed.stderr
    assert completed.stderr.startswith("python -m dxlthreateventclient: ")
    assert completed.stderr.count("\n") == 1


def test_the_environment_names_the_configuration() -> None:
    assert " dxlclient.config: " in run("listen").stderr
    assert " other.config: " in run("listen", DXLCLIENT_CONFIG="other.config").stderr
