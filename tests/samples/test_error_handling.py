"""The error handling sample, run with the commands on its page."""

import base64
import json
import re
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.receiving import publish_payload
from helpers.samples import Start, documented_command
from helpers.waiting import until

from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.testing import publish_threat_event, sample_threat_event

PAGE = "errorhandlingexample.rst"
RECEIVE = documented_command(PAGE, "error_handling_example.py")
REPLAY = documented_command(PAGE, "error_handling_example.py --replay retry.jsonl")


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


class TestErrorHandlingSample:
    def test_keeps_what_fails_as_it_came_and_replays_it(
        self, tmp_path: Path, dxl_client: DxlClient, start: Start
    ) -> None:
        reject_file = tmp_path / "rejected.jsonl"
        payloads: list[Any] = [b"no JSON \xff\0", b'{"event": {}}', {b"a": [1, None]}, None, 7]
        sample = start(RECEIVE)
        events = [publish_payload(dxl_client, payload) for payload in payloads]
        publish_threat_event(dxl_client, sample_threat_event())
        sample.until_printed("'ExP:Heap' on 'WS-0117'")
        sample.end()
        kept = lines_of(reject_file)
        as_kept = [b"no JSON \xff\0", b'{"event": {}}', b"{b'a': [1, None]}", b"None", b"7"]
        for line, event, payload in zip(kept, events, as_kept, strict=True):
            reason = "KeyError: " if payload == payloads[1] else "ThreatEventDecodeError: "
            assert (line["message_id"], line["topic"]) == (event.message_id, event.destination_topic)
            assert (base64.b64decode(line["base64"]), line["reason"][: len(reason)]) == (payload, reason)

        reject_file.unlink()
        # Fix one of the events.
        fixed = json.dumps(sample_threat_event(threatName="fixed")).encode()
        kept[1]["base64"] = base64.b64encode(fixed).decode()
        (tmp_path / "retry.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in kept))
        replay = start(REPLAY, until="")
        assert replay.process.wait(timeout=30) == 0
        assert replay.output == "'fixed' on 'WS-0117'\n"
        del kept[1]
        failed_again = [(line["message_id"], line["base64"]) for line in lines_of(reject_file)]
        assert failed_again == [(line["message_id"], line["base64"]) for line in kept]

    def test_replays_what_listen_rejected_beside_torn_lines(
        self, tmp_path: Path, dxl_client: DxlClient, start: Start
    ) -> None:
        """A full disk can leave an incomplete line in the reject file."""
        options = "--config my-fabric/dxlclient.config --count 1 --format jsonl --reject-file retry.jsonl"
        rejected = b'{"event": ' + b"[" * 10
        listen = start(f"python -m dxlthreateventclient listen {options}".split(), until="")
        until(lambda: "Waiting for" in listen.errors, "listen waits for events")
        publish_payload(dxl_client, rejected)
        publish_threat_event(dxl_client, sample_threat_event())
        assert listen.process.wait(timeout=30) == 0
        good = base64.b64encode(json.dumps(sample_threat_event()).encode()).decode()
        line = json.dumps({"topic": "/t", "message_id": "1", "base64": good})
        with (tmp_path / "retry.jsonl").open("ab") as retry:
            retry.write(f"{line}\n{line[:60]}\n{line}\n".encode() + b"\xff[]")
        replay = start(REPLAY, until="")
        assert replay.process.wait(timeout=30) == 1
        assert replay.output == "'ExP:Heap' on 'WS-0117'\n" * 2
        assert re.findall(r"retry.jsonl, line (\d+)", replay.errors) == ["3", "5"]
        kept = lines_of(tmp_path / "rejected.jsonl")
        assert [base64.b64decode(line["base64"]) for line in kept] == [rejected]

    def test_begins_a_new_line_after_a_torn_one(
        self, tmp_path: Path, dxl_client: DxlClient, start: Start
    ) -> None:
        """At first, the file size limit lets the file grow by only 1,000 bytes, as on a nearly full disk."""
        reject_file = tmp_path / "rejected.jsonl"
        reject_file.write_bytes(b"{}\n" * 10_000)
        sample = start(RECEIVE)
        _, no_limit = resource.prlimit(sample.process.pid, resource.RLIMIT_FSIZE, (31_000, -1))
        publish_payload(dxl_client, b"x" * 2000)
        until(lambda: reject_file.stat().st_size == 31_000, "the line is torn")
        resource.prlimit(sample.process.pid, resource.RLIMIT_FSIZE, (no_limit, no_limit))
        publish_payload(dxl_client, b"no JSON")
        until(lambda: reject_file.read_bytes().endswith(b"}\n"), "the next line is whole")
        sample.end(signal.SIGTERM)
        assert base64.b64decode(json.loads(reject_file.read_text().splitlines()[-1])["base64"]) == b"no JSON"
        (reported,) = re.findall(r"Not kept in rejected.jsonl, .*File too large: (.*)\n", sample.errors)
        assert base64.b64decode(json.loads(reported)["base64"]) == b"x" * 2000

    def test_takes_no_message_id_from_the_sender(
        self, tmp_path: Path, dxl_client: DxlClient, start: Start
    ) -> None:
        sample = start(RECEIVE)
        event = Event(EPO_THREAT_EVENT_RESPONSE_TOPIC)
        event.payload, event.other_fields = b"no JSON", {"replayed": "{forged}"}
        dxl_client.send_event(event)
        until(lambda: "Kept in" in sample.errors, "it is kept")
        sample.end()
        assert lines_of(tmp_path / "rejected.jsonl")[0]["message_id"] == event.message_id

    @pytest.mark.parametrize(
        ("name", "status", "said"),
        [("rejected.jsonl", 2, "rename it first"), ("retry.jsonl", 1, "Not kept in")],
    )
    def test_a_replay_that_cannot_keep_its_events_fails(
        self, tmp_path: Path, start: Start, name: str, status: int, said: str
    ) -> None:
        """It would append to the file that it reads, or cannot write."""
        if name == "retry.jsonl":
            (tmp_path / "rejected.jsonl").mkdir()
        (tmp_path / name).write_text(json.dumps({"topic": "/t", "message_id": "1", "base64": ""}) + "\n")
        replay = start([name if word == "retry.jsonl" else word for word in REPLAY], until="")
        assert replay.process.wait(timeout=30) == status
        assert said in replay.errors

    def test_a_stopped_replay_says_where_to_go_on(self, tmp_path: Path, start: Start) -> None:
        line = json.dumps({"topic": "/t", "message_id": "1", "base64": ""})
        (tmp_path / "retry.jsonl").write_text(f"{line}\n" * 50_000)
        replay = start(REPLAY, until="")
        until(lambda: "Kept in" in replay.errors, "the replay has begun")
        replay.process.send_signal(signal.SIGTERM)
        assert replay.process.wait(timeout=30) == 1
        stopped_before = re.search(r"stopped before line (\d+)\n", replay.errors)
        assert stopped_before
        assert len(lines_of(tmp_path / "rejected.jsonl")) == int(stopped_before[1]) - 1
