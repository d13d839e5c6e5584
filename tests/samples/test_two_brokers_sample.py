"""The sample that receives over two brokers, which here are the same one."""

from pathlib import Path

from helpers.clients import clients
from helpers.samples import WAITING, Sample, documented_command

from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event


def test_the_two_brokers_sample_prints_each_event_once(tmp_path: Path) -> None:
    command = documented_command("twobrokersexample.rst", "two_brokers_example.py local local")
    with (
        LocalFabric() as own,
        clients(own.client_config) as connect,
        Sample(tmp_path, own, command) as sample,
    ):
        sample.until_printed(WAITING)
        for name in ("first", "second"):
            publish_threat_event(connect(), sample_threat_event(threatName=name))
            sample.until_printed("2", 1 if name == "first" else 2)
        own.drop_connections()
        sample.until_printed("GAP Events on", 2)
        # Not interrupted: one of the two clients may still reconnect, and dxlclient's thread would fail.
        sample.kill()
    assert [name for line in sample.lines("2") for name in ("first", "second") if name in line] == [
        "first",
        "second",
    ]
