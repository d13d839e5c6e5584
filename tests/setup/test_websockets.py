"""WebSockets with a real broker and through a proxy."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from dxlclient.client import DxlClient
from helpers.broken_brokers import relay
from helpers.certificates import foreign_ca, issue
from helpers.misbehaving import server
from helpers.mosquitto import Mosquitto
from helpers.ports import reserve_port
from helpers.waiting import until

from dxlthreateventclient import BrokerConnectionError, connect, load_configuration
from dxlthreateventclient.connection import try_broker

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def config_file() -> Iterator[Path]:
    """The configuration file for a broker with a WebSocket port."""
    mosquitto, port = Mosquitto(), reserve_port()
    settings = mosquitto.directory / "mosquitto.conf"
    lines = settings.read_text().splitlines()
    files = [line for line in lines if line.startswith(("cafile", "certfile", "keyfile", "require"))]
    settings.write_text("\n".join([*lines, f"listener {port}", "protocol websockets", *files, ""]))
    text = mosquitto.config_file.read_text()
    mosquitto.config_file.write_text(
        f"[General]\nUseWebSockets = yes\n{text}broker = broker;{port};127.0.0.1\n"
    )
    with mosquitto:
        until(lambda: is_open(port), "the port for WebSockets is open")
        yield mosquitto.config_file


def is_open(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def test_a_client_connects_and_its_broker_can_be_tried(config_file: Path) -> None:
    config = load_configuration(config_file)
    assert try_broker(config, config.brokers[0])[0] == "TLSv1.3"
    with DxlClient(config) as dxl_client:
        connect(dxl_client)
        assert dxl_client.connected


def test_a_client_connects_through_a_proxy(config_file: Path) -> None:
    config = load_configuration(config_file)
    with server(relay) as port:
        config.proxy_addr, config.proxy_port = "127.0.0.1", port
        assert try_broker(config, config.brokers[0])[0] == "TLSv1.3"


def test_a_refusal_of_the_client_over_tls_1_3_is_named(config_file: Path, tmp_path: Path) -> None:
    stranger = issue("stranger", foreign_ca())
    (tmp_path / "client.crt").write_text(stranger.pem)
    (tmp_path / "client.key").write_text(stranger.key_pem)
    config = load_configuration(config_file)
    config.cert_file, config.private_key = str(tmp_path / "client.crt"), str(tmp_path / "client.key")
    with pytest.raises(BrokerConnectionError, match=r"refuses the client certificate .*: unknown ca"):
        try_broker(config, config.brokers[0])
