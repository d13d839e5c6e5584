"""The error handling sample, started with the commands on its page."""

import base64
import json
import re
import resource
import signal
from pathlib import Path
from typing import Any

from dxlclient.client import DxlClient
from helpers.receiving import publish_payload
from helpers.samples import WAITING, Sample, documented_command
from helpers.waiting import until

from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event

PAGE = "errorhandlingexample.rst"
RECEIVE = documented_command(PAGE, "error_handling_example.py")
REPLAY = documented_command(PAGE, "error_handling_example.py --replay retry.jsonl")


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


class TestErrorHandlingSample:
    def test_keeps_what_fails_as_it_came_and_replays_it(
        self, tmp_path: Path, fabric: LocalFabric, dxl_client: DxlClient
    ) -> None:
        reject_file = tmp_path / "rejected.jsonl"
        payloads: list[Any] = [b"no JSON \xff\0", b'{"event": {}}', {b"a": [1, None]}, None, 7]
        with Sample(tmp_path, fabric, RECEIVE) as sample:
            sample.until_printed(WAITING)
            events = [publish_payload(dxl_client, payload) for payload in payloads]
            publish_threat_event(dxl_client, sample_threat_event())
            sample.until_printed("'ExP:Heap' on 'WS-0117'")
            sample.interrupt()
        kept = lines_of(reject_file)
        assert [line["message_id"] for line in kept] == [event.message_id for event in events]
        assert {line["topic"] for line in kept} == {EPO_THREAT_EVENT_RESPONSE_TOPIC}
        reasons = [line["reason"].split(":")[0] for line in kept]
        assert reasons == ["ThreatEventDecodeError", "KeyError", *["ThreatEventDecodeError"] * 3]
        as_kept = [base64.b64decode(line["base64"]) for line in kept]
        assert as_kept == [b"no JSON \xff\0", b'{"event": {}}', b"{b'a': [1, None]}", b"None", b"7"]

        reject_file.unlink()
        # Somebody fixes one of the events.
        fixed = json.dumps(sample_threat_event(threatName="fixed")).encode()
        kept[1]["base64"] = base64.b64encode(fixed).decode()
        (tmp_path / "retry.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in kept))
        with Sample(tmp_path, fabric, REPLAY) as sample:
            assert sample.process.wait(timeout=30) == 0
        assert sample.output == "'fixed' on 'WS-0117'\n"
        del kept[1]
        failed_again = [(line["message_id"], line["base64"]) for line in lines_of(reject_file)]
        assert failed_again == [(line["message_id"], line["base64"]) for line in kept]

    def test_replays_the_good_lines_beside_a_torn_one(self, tmp_path: Path, fabric: LocalFabric) -> None:
        """A line is torn if the disk had no room for all of it."""
        good = json.dumps(sample_threat_event()).encode()
        line = json.dumps({"topic": "/t", "message_id": "1", "base64": base64.b64encode(good).decode()})
        (tmp_path / "retry.jsonl").write_bytes(f"{line}\n{line[:60]}\n{line}\n".encode() + b"\xff[]")
        with Sample(tmp_path, fabric, REPLAY) as sample:
            assert sample.process.wait(timeout=30) == 1
        assert sample.output == "'ExP:Heap' on 'WS-0117'\n" * 2
        assert re.findall(r"retry.jsonl, line (\d+)", sample.errors) == ["2", "4"]

    def test_begins_a_new_line_after_a_torn_one(
        self, tmp_path: Path, fabric: LocalFabric, dxl_client: DxlClient
    ) -> None:
        """The file has room for 1,000 bytes, as on a disk that is full, and then for more."""
        reject_file = tmp_path / "rejected.jsonl"
        reject_file.write_bytes(b"{}\n" * 10_000)
        with Sample(tmp_path, fabric, RECEIVE) as sample:
            sample.until_printed(WAITING)
            _, no_limit = resource.prlimit(sample.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(sample.process.pid, resource.RLIMIT_FSIZE, (31_000, no_limit))
            publish_payload(dxl_client, b"x" * 2000)
            until(lambda: reject_file.stat().st_size == 31_000, "the line is torn")
            resource.prlimit(sample.process.pid, resource.RLIMIT_FSIZE, (no_limit, no_limit))
            publish_payload(dxl_client, b"no JSON")
            until(lambda: reject_file.read_bytes().endswith(b"}\n"), "the next line is whole")
            sample.end(signal.SIGTERM)
        assert base64.b64decode(json.loads(reject_file.read_text().splitlines()[-1])["base64"]) == b"no JSON"
        (reported,) = re.findall(
            r"Not kept in rejected.jsonl, \[Errno 27\] File too large: (.*)\n", sample.errors
        )
        assert base64.b64decode(json.loads(reported)["base64"]) == b"x" * 2000

    def test_a_stopped_replay_says_where_to_go_on(self, tmp_path: Path, fabric: LocalFabric) -> None:
        line = json.dumps({"topic": "/t", "message_id": "1", "base64": ""})
        (tmp_path / "retry.jsonl").write_text(f"{line}\n" * 50_000)
        with Sample(tmp_path, fabric, REPLAY) as sample:
            until(lambda: "Kept in" in sample.errors, "the replay has begun")
            sample.process.send_signal(signal.SIGTERM)
            assert sample.process.wait(timeout=30) == 1
        stopped_before = re.search(r"stopped before line (\d+)\n", sample.errors)
        assert stopped_before
        assert len(lines_of(tmp_path / "rejected.jsonl")) == int(stopped_before[1]) - 1

    def test_replays_what_listen_rejected(
        self, tmp_path: Path, fabric: LocalFabric, dxl_client: DxlClient
    ) -> None:
        options = "--config my-fabric/dxlclient.config --count 1 --format jsonl --reject-file retry.jsonl"
        rejected = b'{"event": ' + b"[" * 10
        with Sample(tmp_path, fabric, f"python -m dxlthreateventclient listen {options}".split()) as listener:
            until(lambda: "Waiting for" in listener.errors, "listen waits for events")
            publish_payload(dxl_client, rejected)
            publish_threat_event(dxl_client, sample_threat_event())
            assert listener.process.wait(timeout=30) == 0
        with Sample(tmp_path, fabric, REPLAY) as sample:
            assert sample.process.wait(timeout=30) == 0
        kept = lines_of(tmp_path / "rejected.jsonl")
        assert [base64.b64decode(line["base64"]) for line in kept] == [rejected]
