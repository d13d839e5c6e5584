"""The two-broker sample, connected twice to the same broker."""

from dxlclient.client import DxlClient
from helpers.samples import Start, documented_command

from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event


def test_the_two_brokers_sample_prints_each_event_once(
    fabric: LocalFabric, dxl_client: DxlClient, start: Start
) -> None:
    sample = start(documented_command("twobrokersexample.rst", "two_brokers_example.py local local"))
    for count, name in enumerate(("first", "second"), start=1):
        publish_threat_event(dxl_client, sample_threat_event(threatName=name))
        lines = sample.until_printed("2", count)
    fabric.drop_connections()
    sample.until_printed("GAP Events on", 2)
    # Kill the sample, because an interrupt during a reconnect makes a dxlclient thread fail.
    sample.kill()
    assert [name for line in lines for name in ("first", "second") if name in line] == ["first", "second"]
