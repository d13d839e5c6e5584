"""The stream sample, run with the commands on its page."""

import pytest
from dxlclient.client import DxlClient
from helpers.receiving import publish_payload
from helpers.samples import Start, documented_command

from dxlthreateventclient.testing import publish_threat_event, sample_threat_event

PAGE = "streamexample.rst"


class TestStreamSample:
    def test_prints_severe_events_and_ends_after_count(self, dxl_client: DxlClient, start: Start) -> None:
        sample = start(documented_command(PAGE, "stream_example.py --severity 2 --count 3"))
        events = {"mild": 3, "first": 1, "mildest": 7, "second": "2", "third": 1, "one too many": 1}
        for name, severity in events.items():
            publish_threat_event(dxl_client, sample_threat_event(threatSeverity=severity, threatName=name))
        assert sample.process.wait(timeout=30) == 0
        assert sample.lines("Severity ") == [
            "1: 'first' on 'WS-0117'",
            "'2': 'second' on 'WS-0117'",
            "1: 'third' on 'WS-0117'",
        ]

    def test_shows_escaped_what_a_terminal_cannot_show(
        self, dxl_client: DxlClient, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONIOENCODING", "ascii")
        sample = start(documented_command(PAGE, "stream_example.py"))
        for payload in (b"no JSON", b"{}", b'{"event": []}', b'{"event": {"threatName": "\\u001b[2J\\n"}}'):
            publish_payload(dxl_client, payload)
        publish_threat_event(dxl_client, sample_threat_event(threatSeverity=None, threatName="\x1b[2J\n日本"))
        assert sample.until_printed("Severity ") == [r"None: '\x1b[2J\n\u65e5\u672c' on 'WS-0117'"]
        sample.end()
        incomplete = ["{}", "{'event': []}", r"{'event': {'threatName': '\x1b[2J\n'}}"]
        assert sample.lines("Incomplete: ") == incomplete
        assert "payload is not JSON" in sample.errors
