"""The basic sample, run as a process."""

import signal
from pathlib import Path

from dxlclient.client import DxlClient
from helpers.command_line import copy_of_configuration, make_foreign_certificates
from helpers.samples import SAMPLE, printed_threat_event, running_sample

from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event


class TestBasicSample:
    def test_prints_events_until_ctrl_c(self, fabric: LocalFabric, dxl_client: DxlClient) -> None:
        threat_event = sample_threat_event(threatName="Ünïcode")
        with running_sample(fabric.config_file) as process:
            assert process.stdout
            assert process.stdout.readline() == "Waiting for threat events...\n"
            publish_threat_event(dxl_client, threat_event)
            assert printed_threat_event(process) == threat_event
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
        assert process.returncode == 0
        assert errors == "Stopped.\n"

    def test_names_the_settings_to_fill_in_the_template(self) -> None:
        with running_sample(None) as process:
            output, errors = process.communicate(timeout=20)
        assert (process.returncode, output) == (2, "")
        assert str(SAMPLE.parents[1] / "dxlclient.config") in errors
        assert "BrokerCertChain, CertFile, PrivateKey" in errors
        assert errors.count("\n") == 1

    def test_reports_why_it_cannot_connect(self, fabric: LocalFabric, tmp_path: Path) -> None:
        make_foreign_certificates(tmp_path)
        config_file = copy_of_configuration(fabric, tmp_path, ca="foreign-ca.crt")
        with running_sample(config_file) as process:
            output, errors = process.communicate(timeout=50)
        assert (process.returncode, output) == (1, "")
        assert "certificate" in errors
        assert "Traceback" not in errors
