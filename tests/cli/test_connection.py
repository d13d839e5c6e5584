"""How the command line connects, where no process shows it."""

from dxlthreateventclient._cli.connection import dxl_client
from dxlthreateventclient.testing import LocalFabric


def test_a_connection_that_a_firewall_forgot_is_noticed_within_minutes(fabric: LocalFabric) -> None:
    with dxl_client(fabric.config_file) as client:
        # The MQTT client asks for a sign of life this often, and waits as long for it.
        assert client.config.keep_alive_interval <= 120
