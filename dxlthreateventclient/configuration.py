"""A client configuration that is complete, or an error that says what to fill in."""

import re
import ssl
from os import PathLike
from pathlib import Path

from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient.exceptions import ConfigurationError

# The rest are the steps that the subcommand "check" reports on one by one.
__all__ = ["ConfigurationError", "load_configuration"]

# A required setting without a value, or any whose value is still a placeholder such as <path-to-key>.
_UNFILLED = re.compile(
    r"^[ \t]*(?:(BrokerCertChain|CertFile|PrivateKey)[ \t]*=[ \t]*$"
    r"|([^#;=\s][^=\n]*?)[ \t]*=[^#\n]*<[^<>\n]+>)",
    re.MULTILINE,
)


def load_configuration(config_file: str | PathLike[str]) -> DxlClientConfig:
    """Load a ``dxlclient.config`` file, and check that a client can be made from it.

    :param config_file: the path of the file; ``python -m dxlclient provisionconfig`` writes one
    :return: the configuration, for ``DxlClient``
    :raise ConfigurationError: if the file, a certificate or the key is missing or unreadable, or a setting is
        missing, malformed or still a placeholder
    """
    path = Path(config_file)
    config = read_settings(path)
    for setting, file in certificate_files(config).items():
        check_readable(path, setting, file)
    check_ca(path, config)
    check_key(path, config)
    return config


def read_settings(path: Path) -> DxlClientConfig:
    """Return a configuration in which nothing is missing, whatever is in the files that it names."""
    try:
        settings = _UNFILLED.finditer(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the configuration {path}: {error.strerror};"
            " 'python -m dxlclient provisionconfig' makes one"
        ) from error
    if unfilled := [setting[setting.lastindex or 0] for setting in settings]:
        raise ConfigurationError(f"{path} is not filled in: give a value to {', '.join(unfilled)}")
    try:
        config = DxlClientConfig.create_dxl_config_from_file(str(path))
    except Exception as error:  # dxlclient and ConfigObj raise what they like, down to bare Exception
        raise ConfigurationError(f"{path} is no valid configuration: {error}") from error
    if not config.brokers:
        raise ConfigurationError(f"{path} names no broker: add one to the section Brokers")
    return config


def certificate_files(config: DxlClientConfig) -> dict[str, str]:
    """Return the files that a configuration names, by their settings."""
    return {
        "BrokerCertChain": config.broker_ca_bundle,
        "CertFile": config.cert_file,
        "PrivateKey": config.private_key,
    }


def check_readable(path: Path, setting: str, file: str) -> None:
    """Check that the file of a setting can be read."""
    try:
        Path(file).read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path}: the file of {setting} cannot be read: {file}: {error.strerror}"
        ) from error


def check_ca(path: Path, config: DxlClientConfig) -> None:
    """Check that the file of BrokerCertChain holds CA certificates."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(config.broker_ca_bundle)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"{path}: the file of BrokerCertChain holds no CA certificates:"
            f" {config.broker_ca_bundle}: {error}"
        ) from error


def check_key(path: Path, config: DxlClientConfig) -> None:
    """Check that the key belongs to the client certificate."""
    try:
        # OpenSSL would ask for the password of a key on the terminal, and dxlclient takes none.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(
            config.cert_file, config.private_key, password=""
        )
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"{path}: the files of CertFile and PrivateKey are no certificate and its key without a password:"
            f" {config.cert_file}, {config.private_key}: {error}"
        ) from error
