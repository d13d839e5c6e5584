"""The advanced samples that need nothing but a fabric, run with the command lines of their pages."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dxlclient.client import DxlClient
from helpers.advanced_sample import ROOT, WAITING, Sample, documented_command
from helpers.receiving import publish_payload
from helpers.waiting import until

from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event


def test_the_stream_sample_prints_severe_events_and_ends_after_as_many_as_asked_for(
    tmp_path: Path, fabric: LocalFabric, dxl_client: DxlClient
) -> None:
    command = documented_command("streamexample.rst", "stream_example.py --severity 2 --count 3")
    with Sample(tmp_path, fabric, command) as sample:
        sample.until_printed(WAITING)
        for severity, name in ((3, "mild"), (1, "first"), (7, "mildest"), ("2", "second"), (1, "third")):
            publish_threat_event(dxl_client, sample_threat_event(threatSeverity=severity, threatName=name))
        publish_threat_event(dxl_client, sample_threat_event(threatSeverity=1, threatName="one too many"))
        assert sample.process.wait(timeout=30) == 0
    assert sample.lines("Severity ") == [
        "1: 'first' on 'WS-0117'",
        "'2': 'second' on 'WS-0117'",
        "1: 'third' on 'WS-0117'",
    ]


def test_the_stream_sample_hides_no_odd_event_and_lets_none_steer_the_terminal(
    tmp_path: Path, fabric: LocalFabric, dxl_client: DxlClient
) -> None:
    with Sample(tmp_path, fabric, documented_command("streamexample.rst", "stream_example.py")) as sample:
        sample.until_printed(WAITING)
        for payload in (b"no JSON", b"{}", b'{"event": []}', b'{"event": {"threatName": "\\u001b[2J\\n"}}'):
            publish_payload(dxl_client, payload)
        publish_threat_event(dxl_client, sample_threat_event(threatSeverity=None, threatName="\x1b[2J\n"))
        assert sample.until_printed("Severity ") == [r"None: '\x1b[2J\n' on 'WS-0117'"]
        sample.interrupt()
    incomplete = ["{}", "{'event': []}", r"{'event': {'threatName': '\x1b[2J\n'}}"]
    assert sample.lines("Incomplete: ") == incomplete
    assert "payload is not JSON" in sample.errors


def test_the_error_handling_sample_keeps_what_failed_as_it_came_and_replays_it(
    tmp_path: Path, fabric: LocalFabric, dxl_client: DxlClient
) -> None:
    page, reject_file = "errorhandlingexample.rst", tmp_path / "rejected.jsonl"
    payloads: list[Any] = [b"no JSON \xff\0", b'{"event": {}}', {b"a": [1, None]}, None, 7]
    with Sample(tmp_path, fabric, documented_command(page, "error_handling_example.py")) as sample:
        sample.until_printed(WAITING)
        events = [publish_payload(dxl_client, payload) for payload in payloads]
        publish_threat_event(dxl_client, sample_threat_event())
        sample.until_printed("'ExP:Heap' on 'WS-0117'")
        sample.interrupt()
    kept = rejected_in(reject_file)
    assert [line["message_id"] for line in kept] == [event.message_id for event in events]
    assert {line["topic"] for line in kept} == {EPO_THREAT_EVENT_RESPONSE_TOPIC}
    reasons = [line["reason"].split(":")[0] for line in kept]
    assert reasons == ["ThreatEventDecodeError", "KeyError", *["ThreatEventDecodeError"] * 3]
    as_kept = [base64.b64decode(line["base64"]) for line in kept]
    assert as_kept == [b"no JSON \xff\0", b'{"event": {}}', b"{b'a': [1, None]}", b"None", b"7"]

    reject_file.rename(tmp_path / "retry.jsonl")
    # Somebody mends one of the events.
    kept[1]["base64"] = base64.b64encode(
        json.dumps(sample_threat_event(threatName="mended")).encode()
    ).decode()
    (tmp_path / "retry.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in kept))
    replay = documented_command(page, "error_handling_example.py --replay retry.jsonl")
    with Sample(tmp_path, fabric, replay) as sample:
        assert sample.process.wait(timeout=30) == 0
    assert sample.output == "'mended' on 'WS-0117'\n"
    del kept[1]
    failed_again = [(line["message_id"], line["base64"]) for line in rejected_in(reject_file)]
    assert failed_again == [(line["message_id"], line["base64"]) for line in kept]


def test_the_error_handling_sample_replays_what_listen_has_rejected(
    tmp_path: Path, fabric: LocalFabric, dxl_client: DxlClient
) -> None:
    options = "--config my-fabric/dxlclient.config --count 1 --format jsonl --reject-file retry.jsonl"
    listen = f"python -m dxlthreateventclient listen {options}".split()
    rejected = b'{"event": ' + b"[" * 10
    with Sample(tmp_path, fabric, listen) as listener:
        until(lambda: "Waiting for" in listener.errors, "listen waits for events")
        publish_payload(dxl_client, rejected)
        publish_threat_event(dxl_client, sample_threat_event())
        assert listener.process.wait(timeout=30) == 0
    replay = documented_command("errorhandlingexample.rst", "error_handling_example.py --replay retry.jsonl")
    with Sample(tmp_path, fabric, replay) as sample:
        assert sample.process.wait(timeout=30) == 0
    assert [base64.b64decode(line["base64"]) for line in rejected_in(tmp_path / "rejected.jsonl")] == [
        rejected
    ]


def rejected_in(reject_file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in reject_file.read_text().splitlines()]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("stream_example.py --severity 8", "invalid choice: 8"),
        ("stream_example.py --count 0", "'0' is no whole number from 1 to"),
        (f"stream_example.py --count {10**20}", "is no whole number from 1 to"),
        ("error_handling_example.py --replay missing", "No such file"),
        ("error_handling_example.py --replay no-json", "cannot replay no-json: JSONDecodeError"),
        ("error_handling_example.py --replay no-event", "cannot replay no-event: KeyError('topic')"),
        ("store_and_forward_example.py", "required: url"),
        ("store_and_forward_example.py localhost:8080", "does not start with http:// or https://"),
        (
            "store_and_forward_example.py http://127.0.0.1:9",
            "cannot write to the directory threat-event-queue",
        ),
        ("redis_stream_example.py --redis nonsense", "'nonsense': Redis URL must specify"),
        ("redis_worker_example.py --redis nonsense", "'nonsense': Redis URL must specify"),
        ("redis_worker_example.py --take-over-after -1", "'-1' is no whole number from 1 to"),
        ("syslog_cef_example.py 127.0.0.1", "required: port"),
        ("syslog_cef_example.py 127.0.0.1 65536", "65536 is no port"),
    ],
)
def test_wrong_usage_gets_one_line_that_says_what_is_wrong_and_the_exit_status_2(
    tmp_path: Path, arguments: str, complaint: str
) -> None:
    (tmp_path / "no-json").write_text("no JSON\n")
    (tmp_path / "no-event").write_text("{}\n")
    (tmp_path / "threat-event-queue").touch()
    script, *options = arguments.split()
    completed = subprocess.run(
        [sys.executable, ROOT / "sample" / "advanced" / script, *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (completed.returncode, completed.stdout) == (2, "")
    usage, _, message = completed.stderr.partition(f"{script}: error: ")
    assert usage.startswith("usage: ")
    assert message.count("\n") == 1
    assert complaint in message


SAMPLES = sorted(path.name for path in (ROOT / "sample" / "advanced").glob("*.py"))


@pytest.mark.parametrize(
    ("sample", "package"),
    [
        ("store_and_forward_example.py", "persistqueue"),
        ("redis_stream_example.py", "redis"),
        ("redis_worker_example.py", "redis"),
        ("syslog_cef_example.py", "tenacity"),
    ],
)
def test_without_the_extra_a_sample_says_how_to_install_it(tmp_path: Path, sample: str, package: str) -> None:
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('No module named {package}')")
    completed = subprocess.run(
        [sys.executable, ROOT / "sample" / "advanced" / sample],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert completed.returncode == 2
    assert completed.stderr == f"No module named {package}: pip install 'dxlthreateventclient[samples]'\n"


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_is_shorter_than_80_lines(sample: str) -> None:
    assert len((ROOT / "sample" / "advanced" / sample).read_text().splitlines()) < 80
