from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from dxlthreateventclient.configuration import ConfigurationError, load_configuration
from dxlthreateventclient.testing import LocalFabric

TEMPLATE = Path(__file__).parents[2] / "sample" / "dxlclient.config"


@pytest.fixture
def config_file(fabric: LocalFabric, tmp_path: Path) -> Path:
    """A copy of a complete configuration, to be broken."""
    for file in fabric.directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path / "dxlclient.config"


def test_a_complete_configuration_is_loaded(config_file: Path, fabric: LocalFabric) -> None:
    config = load_configuration(config_file)
    assert [broker.port for broker in config.brokers] == [fabric.port]


def test_the_template_of_the_samples_names_the_settings_to_fill_in() -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_configuration(TEMPLATE)
    for expected in (str(TEMPLATE), "BrokerCertChain", "CertFile", "PrivateKey", "broker"):
        assert expected in str(raised.value)


def replace(old: str, new: str) -> Callable[[Path], object]:
    def change(config_file: Path) -> None:
        text = config_file.read_text()
        assert old in text
        config_file.write_text(text.replace(old, new))

    return change


def write(name: str, content: str) -> Callable[[Path], object]:
    return lambda config_file: config_file.with_name(name).write_text(content)


def use_the_key_of_another_fabric(config_file: Path) -> None:
    with LocalFabric() as other:
        (other.directory / "client.key").replace(config_file.with_name("client.key"))


def put_a_password_on_the_key(config_file: Path) -> None:
    file = config_file.with_name("client.key")
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        pytest.param(Path.unlink, "cannot read the configuration", id="no file"),
        pytest.param(replace("CertFile = client.crt\n", ""), "CertFile", id="a missing setting"),
        pytest.param(replace("CertFile = client.crt", "CertFile ="), "CertFile", id="an empty setting"),
        pytest.param(replace("[Certs]", "[Certs"), "no valid configuration", id="a broken section"),
        pytest.param(replace("local;", "local;x"), "no valid configuration", id="a port that is no number"),
        pytest.param(replace("local = ", "# local = "), "names no broker", id="no broker"),
        pytest.param(
            replace("client.crt", "missing.crt"), "CertFile cannot be read", id="a missing certificate"
        ),
        pytest.param(replace("ca-bundle.crt", "missing.crt"), "BrokerCertChain cannot", id="a missing CA"),
        pytest.param(write("client.crt", "junk"), "no certificate and its key", id="a junk certificate"),
        pytest.param(write("ca-bundle.crt", "junk"), "holds no CA certificates", id="a junk CA"),
        pytest.param(use_the_key_of_another_fabric, "no certificate and its key", id="another key"),
        pytest.param(put_a_password_on_the_key, "without a password", id="a key with a password"),
        pytest.param(lambda file: file.write_bytes(b"\xff\0\xfe"), "no valid configuration", id="no text"),
    ],
)
def test_an_incomplete_configuration_raises_one_line_that_names_the_file(
    config_file: Path, spoil: Callable[[Path], object], expected: str
) -> None:
    spoil(config_file)
    with pytest.raises(ConfigurationError) as raised:
        load_configuration(config_file)
    assert str(config_file) in str(raised.value)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)
