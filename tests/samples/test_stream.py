"""The stream sample, started with the commands on its page."""

from pathlib import Path

from dxlclient.client import DxlClient
from helpers.receiving import publish_payload
from helpers.samples import WAITING, Sample, documented_command

from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event


class TestStreamSample:
    def test_prints_severe_events_and_ends_after_count(
        self, tmp_path: Path, fabric: LocalFabric, dxl_client: DxlClient
    ) -> None:
        command = documented_command("streamexample.rst", "stream_example.py --severity 2 --count 3")
        with Sample(tmp_path, fabric, command) as sample:
            sample.until_printed(WAITING)
            for severity, name in ((3, "mild"), (1, "first"), (7, "mildest"), ("2", "second"), (1, "third")):
                publish_threat_event(
                    dxl_client, sample_threat_event(threatSeverity=severity, threatName=name)
                )
            publish_threat_event(dxl_client, sample_threat_event(threatSeverity=1, threatName="one too many"))
            assert sample.process.wait(timeout=30) == 0
        assert sample.lines("Severity ") == [
            "1: 'first' on 'WS-0117'",
            "'2': 'second' on 'WS-0117'",
            "1: 'third' on 'WS-0117'",
        ]

    def test_shows_odd_events_without_control_characters(
        self, tmp_path: Path, fabric: LocalFabric, dxl_client: DxlClient
    ) -> None:
        with Sample(tmp_path, fabric, documented_command("streamexample.rst", "stream_example.py")) as sample:
            sample.until_printed(WAITING)
            for payload in (
                b"no JSON",
                b"{}",
                b'{"event": []}',
                b'{"event": {"threatName": "\\u001b[2J\\n"}}',
            ):
                publish_payload(dxl_client, payload)
            publish_threat_event(dxl_client, sample_threat_event(threatSeverity=None, threatName="\x1b[2J\n"))
            assert sample.until_printed("Severity ") == [r"None: '\x1b[2J\n' on 'WS-0117'"]
            sample.interrupt()
        incomplete = ["{}", "{'event': []}", r"{'event': {'threatName': '\x1b[2J\n'}}"]
        assert sample.lines("Incomplete: ") == incomplete
        assert "payload is not JSON" in sample.errors
