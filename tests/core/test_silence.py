"""No failure is silent, however the program is set up."""

import os

import pytest
from dxlclient.client import DxlClient
from helpers.pages import ROOT, blocks
from helpers.program import running, until_printed
from helpers.receiving import publish_payload
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient
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
    print(event["threatName"], event["target"], flush=True)

with DxlClient(load_configuration()) as dxl_client:
    connect(dxl_client)
    with CommonThreatEventClient(dxl_client) as client:
        client.add_epo_threat_event_response_callback(handle)
        print("ready", flush=True)
        sys.stdin.readline()
"""


class TestAProgramThatSetsUpNoLogging:
    def test_has_each_event_that_failed_on_stderr(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with LocalFabric() as own, DxlClient(own.client_config()) as epo:
            epo.connect()
            monkeypatch.setenv("DXLCLIENT_CONFIG", str(own.config_file))
            with running(CALLBACK) as process:
                until_printed(process, "ready")
                for payload in BAD:
                    publish_payload(epo, payload, EPO_THREAT_EVENT_RESPONSE_TOPIC)
                publish_threat_event(epo, sample_threat_event(threatName="good", target={}))
                assert process.stdout
                assert process.stdout.readline().startswith("good")
                _, errors = process.communicate("\n", timeout=30)
        for reason in BAD.values():
            assert reason in errors

    def test_of_the_readme_goes_on_behind_a_payload_that_is_broken(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [program, *_] = blocks(ROOT / "README.md", "python")
        with LocalFabric() as own, DxlClient(own.client_config()) as epo:
            epo.connect()
            monkeypatch.setenv("DXLCLIENT_CONFIG", str(own.config_file))
            monkeypatch.setenv("PYTHONUNBUFFERED", "1")
            with running(program.content) as process:
                assert process.stdout
                os.set_blocking(process.stdout.fileno(), False)
                printed: list[str] = []

                def has_printed() -> bool:
                    # Publish repeatedly, because the program may not have subscribed yet.
                    publish_payload(epo, b"{broken", EPO_THREAT_EVENT_RESPONSE_TOPIC)
                    publish_threat_event(epo, sample_threat_event(threatName="good"))
                    printed.append(process.stdout.readline() if process.stdout else "")
                    return "".join(printed).count("good") == 2  # with a broken event between them

                until(has_printed, "it prints two good events")
                process.kill()
                assert process.stderr
                assert "payload is not JSON" in process.stderr.read()


class TestALoggingSetUpThatDisablesLoggers:
    def test_leaves_the_hook_and_the_counts(self, dxl_client: DxlClient, topic: str) -> None:
        """By default, ``logging.config.dictConfig`` disables all existing loggers."""
        import logging  # noqa: PLC0415

        failed: list[BaseException] = []
        loggers = [
            logging.getLogger(name)
            for name in logging.root.manager.loggerDict
            if name.startswith("dxlthreat")
        ]
        for logger in loggers:
            logger.disabled = True
        try:
            with CommonThreatEventClient(dxl_client) as client:
                client.add_threat_event_callback(
                    lambda *_: None, topic, on_error=lambda error, _: failed.append(error)
                )
                publish_payload(dxl_client, b"{broken", topic)
                until(lambda: bool(failed), "the hook is called")
                until(lambda: client.status().failed == 1, "it is counted")
        finally:
            for logger in loggers:
                logger.disabled = False
