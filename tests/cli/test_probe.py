"""What is found out about a broker, tried with servers that misbehave in each way."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from dxlclient.client_config import DxlClientConfig
from helpers.command_line import make_foreign_certificates
from helpers.misbehaving import server, tls_server

from dxlthreateventclient._cli import probe
from dxlthreateventclient.testing import LocalFabric


@pytest.fixture
def ca(tmp_path: Path) -> trustme.CA:
    """A CA, whose certificate and client certificate are in tmp_path."""
    ca = trustme.CA(key_type=trustme.KeyType.RSA)
    client = ca.issue_cert("client", key_type=trustme.KeyType.RSA)
    ca.cert_pem.write_to_path(tmp_path / "ca.crt")
    client.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    make_foreign_certificates(tmp_path)
    return ca


def config(directory: Path, port: int) -> DxlClientConfig:
    client = str(directory / "client.pem")
    (directory / "dxlclient.config").write_text(
        f"[Certs]\nBrokerCertChain = {directory / 'ca.crt'}\nCertFile = {client}\nPrivateKey = {client}\n"
        f"[Brokers]\nbroker = broker;{port};127.0.0.1\n[BrokersWebSockets]\n"
    )
    return DxlClientConfig.create_dxl_config_from_file(str(directory / "dxlclient.config"))


def failure(of: DxlClientConfig) -> probe.BrokerError:
    with pytest.raises(probe.BrokerError) as raised:
        probe.try_broker(of, of.brokers[0])
    return raised.value


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_broker_that_accepts_the_client_is_fine(
    ca: trustme.CA, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    with server(tls_server(ca, version)) as port:
        client_config = config(tmp_path, port)
        assert probe.try_broker(client_config, client_config.brokers[0]) == version.name.replace("_", ".")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_refused_client_certificate_is_named_over_each_version_of_tls(
    ca: trustme.CA, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    with server(tls_server(ca, version)) as port:
        client_config = config(tmp_path, port)
        client_config.cert_file = str(tmp_path / "foreign.crt")
        client_config.private_key = str(tmp_path / "foreign.key")
        error = failure(client_config)
    assert "refuses the client certificate" in str(error)
    assert str(tmp_path / "foreign.crt") in str(error)
    assert "provisionconfig" in str(error)
    assert error.is_final


def test_a_broker_that_closes_instead_of_an_alert_is_told_too(fabric: LocalFabric, tmp_path: Path) -> None:
    make_foreign_certificates(tmp_path)
    client_config = fabric.client_config()
    client_config.cert_file = str(tmp_path / "foreign.crt")
    client_config.private_key = str(tmp_path / "foreign.key")
    assert "refuses the client certificate" in str(failure(client_config))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_broker_of_another_ca_is_told_from_a_refused_client(
    ca: trustme.CA, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    with server(tls_server(ca, version)) as port:
        client_config = config(tmp_path, port)
        client_config.broker_ca_bundle = str(tmp_path / "foreign-ca.crt")
        error = failure(client_config)
    assert "the certificate of the broker 127.0.0.1" in str(error)
    assert f"BrokerCertChain ({tmp_path / 'foreign-ca.crt'})" in str(error)
    assert error.is_final


def test_a_broker_that_turns_the_client_away_is_told(ca: trustme.CA, tmp_path: Path) -> None:
    with server(tls_server(ca, VERSIONS[0], answer=b"\x20\x02\0\x05")) as port:
        error = failure(config(tmp_path, port))
    assert "refuses this client" in str(error)
    assert error.is_final


def send(answer: bytes) -> Callable[[socket.socket], object]:
    def serve(connection: socket.socket) -> None:
        connection.recv(10_000)
        connection.sendall(answer)

    return serve


@pytest.mark.parametrize(
    ("serve", "expected", "is_final"),
    [
        pytest.param(
            send(b"SSH-2.0-OpenSSH\r\n"), "speaks no TLS that DXL uses", True, id="another protocol"
        ),
        pytest.param(send(b""), "closed the connection when TLS began", False, id="closes"),
        pytest.param(
            lambda connection: connection.recv(10_000) and connection.recv(1),
            "does not answer",
            False,
            id="silent",
        ),
    ],
)
def test_what_is_no_broker_is_told(
    *,
    ca: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    serve: Callable[[socket.socket], object],
    expected: str,
    is_final: bool,
) -> None:
    monkeypatch.setattr(probe, "_TIMEOUT", 0.3)
    with server(serve) as port:
        error = failure(config(tmp_path, port))
    assert expected in str(error)
    assert error.is_final is is_final


def test_a_port_that_nobody_listens_on_and_a_host_that_does_not_exist_are_told(
    ca: trustme.CA, tmp_path: Path
) -> None:
    client_config = config(tmp_path, 1)
    client_config.brokers[0].host_name = "no-such-host.invalid"
    client_config.brokers[0].ip_address = "127.0.0.1"
    error = failure(client_config)
    assert "cannot reach no-such-host.invalid:1: " in str(error)
    assert "cannot reach 127.0.0.1:1: Connection refused" in str(error)
    assert not error.is_final


def test_the_ip_address_is_tried_where_the_host_name_fails(fabric: LocalFabric) -> None:
    client_config = fabric.client_config()
    client_config.brokers[0].host_name = "no-such-host.invalid"
    client_config.brokers[0].ip_address = "127.0.0.1"
    assert probe.try_broker(client_config, client_config.brokers[0]) == "TLSv1.2"
