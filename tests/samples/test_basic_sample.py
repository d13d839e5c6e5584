"""The basic sample, run as a user runs it: as a process."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dxlclient.client import DxlClient
from helpers.sample_process import SAMPLE, printed_threat_event, running_sample

from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event


def test_it_prints_the_events_that_arrive_and_ctrl_c_ends_it_without_a_traceback(
    fabric: LocalFabric, connect: Callable[[], DxlClient]
) -> None:
    epo = connect()
    threat_event = sample_threat_event(threatName="Ünïcode")
    with running_sample(fabric.config_file) as process:
        assert process.stdout
        assert process.stdout.readline() == "Waiting for threat events...\n"
        publish_threat_event(epo, threat_event)
        assert printed_threat_event(process) == threat_event
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors


@pytest.mark.parametrize("remove", ["config", "client.crt"])
def test_a_missing_file_is_named_and_the_exit_status_is_2(
    fabric: LocalFabric, tmp_path: Path, remove: str
) -> None:
    for file in fabric.directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config_file = tmp_path / "dxlclient.config"
    missing = config_file if remove == "config" else tmp_path / remove
    missing.unlink()
    with running_sample(config_file) as process:
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (2, "")
    assert missing.name in errors
    assert "Traceback" not in errors


def test_the_unfilled_template_is_named_with_the_settings_to_fill_in_and_the_exit_status_is_2() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DXLCLIENT_CONFIG"}
    completed = subprocess.run(
        [sys.executable, SAMPLE], env=environment, capture_output=True, text=True, timeout=20, check=False
    )
    assert completed.returncode == 2
    assert str(SAMPLE.parents[1] / "dxlclient.config") in completed.stderr
    assert "BrokerCertChain, CertFile, PrivateKey" in completed.stderr
    assert "Traceback" not in completed.stderr
