"""Who has no certificate of the fabric's own authority gets no event out of it, and none in."""

import socket
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import trustme
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig
from dxlclient.exceptions import DxlException
from helpers.receiving import Receiver, publish_numbers

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.testing import LocalFabric

Disguise = Callable[[LocalFabric, DxlClientConfig, Path], None]


def no_certificate(fabric: LocalFabric, config: DxlClientConfig, directory: Path) -> None:
    config.cert_file = config.private_key = None  # type: ignore[assignment]


def certificate_of_another_authority(fabric: LocalFabric, config: DxlClientConfig, directory: Path) -> None:
    use(config, trustme.CA(key_type=trustme.KeyType.RSA), directory)


def expired_certificate(fabric: LocalFabric, config: DxlClientConfig, directory: Path) -> None:
    use(config, fabric._ca, directory, not_after=datetime.now(timezone.utc) - timedelta(minutes=1))


def use(config: DxlClientConfig, ca: trustme.CA, directory: Path, not_after: datetime | None = None) -> None:
    certificate = ca.issue_cert("client@localhost", key_type=trustme.KeyType.RSA, not_after=not_after)
    config.cert_file, config.private_key = str(directory / "client.crt"), str(directory / "client.key")
    certificate.cert_chain_pems[0].write_to_path(config.cert_file)
    certificate.private_key_pem.write_to_path(config.private_key)


def stranger(fabric: LocalFabric, disguise: Disguise, directory: Path) -> DxlClient:
    config = fabric.client_config()
    config.connect_retries = 0
    disguise(fabric, config, directory)
    client = DxlClient(config)
    # The refusal comes at once; dxlclient waits on for a connection, by default for 10 seconds.
    client._DEFAULT_CONNECT_WAIT = 0.1  # type: ignore[attr-defined]
    return client


def refused(client: DxlClient, caplog: pytest.LogCaptureFixture) -> bool:
    with pytest.raises(DxlException, match="Failed to establish connection"):
        client.connect()
    # It was refused over TLS, and not for some other reason.
    return not client.connected and "SSL" in caplog.text


STRANGERS = [no_certificate, certificate_of_another_authority, expired_certificate]


@pytest.mark.parametrize("disguise", STRANGERS)
def test_no_event_gets_out_to_a_stranger_and_none_in(
    fabric: LocalFabric,
    dxl_client: DxlClient,
    tmp_path: Path,
    disguise: Disguise,
    caplog: pytest.LogCaptureFixture,
) -> None:
    insider, outsider = Receiver(), Receiver()
    with (
        stranger(fabric, disguise, tmp_path) as outside,
        CommonThreatEventClient(dxl_client) as inside_client,
        CommonThreatEventClient(outside) as outside_client,
    ):
        inside_client.add_threat_event_callback(insider)
        outside_client.add_threat_event_callback(outsider)
        assert refused(outside, caplog)
        publish_numbers(outside, [1])
        publish_numbers(dxl_client, [2])
        insider.until_received(2)
    assert insider.numbers == [2]
    assert outsider.numbers == []


def test_the_same_client_with_the_right_certificate_gets_in(
    fabric: LocalFabric, dxl_client: DxlClient, tmp_path: Path
) -> None:
    def right_certificate(fabric: LocalFabric, config: DxlClientConfig, directory: Path) -> None:
        use(config, fabric._ca, directory)

    receiver = Receiver()
    with stranger(fabric, right_certificate, tmp_path) as friend:
        friend._DEFAULT_CONNECT_WAIT = 10  # type: ignore[attr-defined]
        friend.connect()
        CommonThreatEventClient(friend).add_threat_event_callback(receiver)
        publish_numbers(dxl_client, [1])
        receiver.until_received(1)


@pytest.mark.parametrize("disguise", STRANGERS)
def test_the_broker_ends_the_handshake_of_a_stranger(
    fabric: LocalFabric, tmp_path: Path, disguise: Disguise
) -> None:
    config = fabric.client_config()
    context = ssl.create_default_context(cafile=config.broker_ca_bundle)
    context.set_ciphers("AES128-SHA256")
    disguise(fabric, config, tmp_path)
    if config.cert_file:
        context.load_cert_chain(config.cert_file, config.private_key)
    with (
        socket.create_connection(("127.0.0.1", fabric.port)) as connection,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(connection, server_hostname="127.0.0.1")


def test_a_client_that_trusts_another_authority_refuses_the_broker(
    fabric: LocalFabric, dxl_client: DxlClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def trust_another_authority(fabric: LocalFabric, config: DxlClientConfig, directory: Path) -> None:
        config.broker_ca_bundle = str(directory / "ca.crt")
        trustme.CA(key_type=trustme.KeyType.RSA).cert_pem.write_to_path(config.broker_ca_bundle)

    insider, outsider = Receiver(), Receiver()
    with (
        stranger(fabric, trust_another_authority, tmp_path) as mistrustful,
        CommonThreatEventClient(dxl_client) as client,
    ):
        client.add_threat_event_callback(insider)
        CommonThreatEventClient(mistrustful).add_threat_event_callback(outsider)
        assert refused(mistrustful, caplog)
        assert "certificate verify failed" in caplog.text
        publish_numbers(mistrustful, [1])
        publish_numbers(dxl_client, [2])
        insider.until_received(2)
    assert insider.numbers == [2]
    assert outsider.numbers == []
