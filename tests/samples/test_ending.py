"""Behavior common to all samples: shutdown, gap reports and output."""

import re
import signal
from pathlib import Path

import pytest
from dxlclient.client import DxlClient
from helpers.samples import WAITING, Start, documented_command, publish, until_passed_on
from helpers.waiting import until

from dxlthreateventclient.testing import LocalFabric

SCRIPT = "sample/basic/basic_threat_event_callback_example.py"
BASIC = ["DXLCLIENT_CONFIG=my-fabric/dxlclient.config", "python", SCRIPT]
STREAM = documented_command("streamexample.rst", "stream_example.py")
ERROR_HANDLING = documented_command("errorhandlingexample.rst", "error_handling_example.py")
REDIS = documented_command("redisstreamexample.rst", "redis_stream_example.py")
UDP = documented_command("syslogcefexample.rst", "syslog_cef_example.py 127.0.0.1 5514")
STORE_AND_FORWARD = documented_command(
    "storeandforwardexample.rst", "store_and_forward_example.py http://127.0.0.1:18080/threat-events"
)
KAFKA = documented_command("kafkaexample.rst", "kafka_example.py kafka.properties")


@pytest.mark.parametrize(
    ("command", "number"),
    [(BASIC, signal.SIGINT), (STREAM, signal.SIGTERM), (ERROR_HANDLING, signal.SIGTERM)],
)
def test_ends_in_a_burst_and_counts_what_it_leaves(
    dxl_client: DxlClient, start: Start, command: list[str], number: signal.Signals
) -> None:
    sample = start(command)
    publish(dxl_client, 500)
    until_passed_on(dxl_client)
    sample.end(number)
    printed = len(re.findall(r"^(Threat event on|Severity|'threat )", sample.output, re.MULTILINE))
    # The process may end before it has received all events.
    assert 0 < printed + sample.reported() <= 500
    assert "closed: 500 events handed over, 0 unread" not in sample.errors


def test_each_reports_a_gap(tmp_path: Path, fabric: LocalFabric, start: Start) -> None:
    (tmp_path / "kafka.properties").write_text("bootstrap.servers=127.0.0.1:1\n")
    commands = (BASIC, STREAM, ERROR_HANDLING, REDIS, UDP, STORE_AND_FORWARD, KAFKA)
    samples = [start(command, until="") for command in commands]
    for sample in samples:
        sample.until_printed(WAITING)
    fabric.drop_connections()
    for sample in samples:
        until(lambda: "may be missing since" in sample.errors, f"{sample.process.args!r} says so")  # noqa: B023
