"""What all samples share: how they end, how they report a gap, and what they print where."""

import os
import re
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from dxlclient.client import DxlClient
from helpers.samples import WAITING, Sample, documented_command, until_passed_on
from helpers.waiting import until

from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event

BASIC = [
    "DXLCLIENT_CONFIG=my-fabric/dxlclient.config",
    "python",
    "sample/basic/basic_threat_event_callback_example.py",
]
STREAM = documented_command("streamexample.rst", "stream_example.py")
ERROR_HANDLING = documented_command("errorhandlingexample.rst", "error_handling_example.py")
REDIS = documented_command("redisstreamexample.rst", "redis_stream_example.py")
UDP = documented_command("syslogcefexample.rst", "syslog_cef_example.py 127.0.0.1 5514")
STORE_AND_FORWARD = documented_command(
    "storeandforwardexample.rst", "store_and_forward_example.py http://127.0.0.1:18080/threat-events"
)
KAFKA = documented_command("kafkaexample.rst", "kafka_example.py kafka.properties")


@pytest.mark.parametrize(
    ("command", "with_signal"),
    [
        (BASIC, signal.SIGINT),
        (STREAM, signal.SIGTERM),
        (ERROR_HANDLING, signal.SIGTERM),
        pytest.param(BASIC, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(STREAM, signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(ERROR_HANDLING, signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_ends_in_a_burst_and_counts_what_it_leaves(
    tmp_path: Path,
    fabric: LocalFabric,
    dxl_client: DxlClient,
    command: list[str],
    with_signal: signal.Signals,
) -> None:
    with Sample(tmp_path, fabric, command) as sample:
        sample.until_printed(WAITING)
        for _ in range(500):
            publish_threat_event(dxl_client, sample_threat_event())
        until_passed_on(dxl_client)
        sample.end(with_signal)
    printed = len(re.findall(r"^(Threat event on|Severity|'ExP:Heap')", sample.output, re.MULTILINE))
    # Some may not have reached the process.
    assert 0 < printed + sample.reported() <= 500
    assert "closed: 500 events handed over, 0 unread" not in sample.errors


@pytest.mark.slow
def test_what_blocks_is_broken_off_and_counted(
    tmp_path: Path, fabric: LocalFabric, dxl_client: DxlClient
) -> None:
    """No Redis answers, so the sample gives up some seconds after the signal, by itself."""
    with Sample(tmp_path, fabric, [*REDIS, "--redis", "redis://127.0.0.1:1"]) as sample:
        sample.until_printed(WAITING)
        for _ in range(20):
            publish_threat_event(dxl_client, sample_threat_event())
        until_passed_on(dxl_client)
        sample.process.send_signal(signal.SIGTERM)
        assert sample.process.wait(timeout=30) == 1
    assert sample.errors.endswith("Stopped before all was done.\n")
    assert sample.reported() == 20


def test_each_reports_a_gap(tmp_path: Path, fabric: LocalFabric) -> None:
    (tmp_path / "kafka.properties").write_text("bootstrap.servers=127.0.0.1:1\n")
    with ExitStack() as stack:
        samples = [
            stack.enter_context(Sample(tmp_path, fabric, command))
            for command in (BASIC, STREAM, ERROR_HANDLING, REDIS, UDP, STORE_AND_FORWARD, KAFKA)
        ]
        for sample in samples:
            sample.until_printed(WAITING)
        fabric.drop_connections()
        for sample in samples:
            until(lambda: "may be missing since" in sample.errors, f"{sample.process.args!r} says so")  # noqa: B023


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("cp1252", marks=pytest.mark.slow)])
def test_prints_what_the_terminal_cannot_show_escaped(
    tmp_path: Path,
    fabric: LocalFabric,
    dxl_client: DxlClient,
    monkeypatch: pytest.MonkeyPatch,
    encoding: str,
) -> None:
    monkeypatch.setitem(os.environ, "PYTHONIOENCODING", encoding)
    with Sample(tmp_path, fabric, STREAM) as sample, Sample(tmp_path, fabric, ERROR_HANDLING) as other:
        for each in (sample, other):
            each.until_printed(WAITING)
        publish_threat_event(dxl_client, sample_threat_event(threatName="日本"))
        sample.until_printed(r"Severity 2: '\u65e5")
        other.until_printed(r"'\u65e5")
        for each in (sample, other):
            each.interrupt()
    assert not (tmp_path / "rejected.jsonl").exists()
