"""Every failure is reported, whatever the program's logging configuration."""

import logging
import os

import pytest
from dxlclient.client import DxlClient
from helpers.feed import Feed
from helpers.pages import ROOT, blocks
from helpers.program import running, until_printed
from helpers.receiving import publish_payload
from helpers.waiting import until

from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event

BAD = {
    b"{broken": "payload is not JSON",
    b'{"event": {"threatName": "no target"}}': "KeyError: 'target'",
    b'{"event": {"threatName": "\\ud800", "target": {}}}': "UnicodeEncodeError",
}
CALLBACK = """
import sys
from dxlclient.client import DxlClient
from dxlthreateventclient import CommonThreatEventClient, connect, load_configuration

def handle(threat_event, original_event):
    event = threat_event["event"]
    print(event["threatName"], event["target"])

with DxlClient(load_configuration()) as dxl_client:
    connect(dxl_client)
    with CommonThreatEventClient(dxl_client) as client:
        client.add_epo_threat_event_response_callback(handle)
        print("ready")
        sys.stdin.readline()
"""


@pytest.fixture
def program_environment(fabric: LocalFabric, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DXLCLIENT_CONFIG", str(fabric.config_file))
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")


@pytest.mark.usefixtures("program_environment")
class TestAProgramThatSetsUpNoLogging:
    def test_has_each_event_that_failed_on_stderr(self, dxl_client: DxlClient) -> None:
        with running(CALLBACK) as process:
            until_printed(process, "ready")
            for payload in BAD:
                publish_payload(dxl_client, payload, EPO_THREAT_EVENT_RESPONSE_TOPIC)
            publish_threat_event(dxl_client, sample_threat_event(threatName="good", target={}))
            assert process.stdout
            assert process.stdout.readline().startswith("good")
            _, errors = process.communicate("\n", timeout=30)
        for reason in BAD.values():
            assert reason in errors

    def test_of_the_readme_goes_on_behind_a_payload_that_is_broken(self, dxl_client: DxlClient) -> None:
        [program, *_] = blocks(ROOT / "README.md", "python")
        with running(program.content) as process:
            assert process.stdout
            os.set_blocking(process.stdout.fileno(), False)
            printed: list[str] = []

            def has_printed() -> bool:
                # Publish repeatedly, because the program may not have subscribed yet.
                publish_payload(dxl_client, b"{broken", EPO_THREAT_EVENT_RESPONSE_TOPIC)
                publish_threat_event(dxl_client, sample_threat_event(threatName="good"))
                printed.append(process.stdout.readline() if process.stdout else "")
                # Wait for two good events with a broken one between them.
                return "".join(printed).count("good") == 2

            until(has_printed, "it prints two good events")
            process.kill()
            assert process.stderr
            assert "payload is not JSON" in process.stderr.read()


def test_disabled_loggers_leave_the_hook_and_the_counts(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default, ``logging.config.dictConfig`` disables all existing loggers."""
    failed: list[BaseException] = []
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith("dxlthreat"):
            monkeypatch.setattr(logger, "disabled", True, raising=False)
    feed.add(lambda *_: None, on_error=lambda error, _: failed.append(error))
    publish_payload(feed.dxl_client, b"{broken", feed.topic)
    until(lambda: bool(failed), "the hook is called")
    until(lambda: feed.client.status().failed == 1, "it is counted")
