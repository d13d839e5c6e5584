"""Loads a client configuration, or raises an error that explains how to fix the problem."""

import logging
import os
import re
import socket
from collections.abc import Iterator
from difflib import get_close_matches
from os import PathLike
from pathlib import Path

from configobj import ConfigObj, InterpolationError
from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient._setup.certificates import Step, check_files, in_words
from dxlthreateventclient.exceptions import ConfigurationError

__all__ = ["ConfigurationError", "Step", "load_configuration", "steps"]

logger = logging.getLogger(__name__)

# The sections that dxlclient reads, with their settings. Settings in the broker sections can have any name.
_SETTINGS = {
    "General": ("ClientId", "UseWebSockets"),
    "Certs": ("BrokerCertChain", "CertFile", "PrivateKey"),
    "Proxy": ("Address", "Port", "User", "Password"),
}
_BROKERS = ("Brokers", "BrokersWebSockets")

# A placeholder in a value, such as <path-to-key>.
_PLACEHOLDER = re.compile(r"<[^<>]+>")
# A host name or IP address, with or without brackets.
_HOST = re.compile(r"(?!\d+$)[\w.:%\[\]-]+")


def load_configuration(
    config_file: str | PathLike[str] | None = None, *, broker: str | None = None
) -> DxlClientConfig:
    """Load a ``dxlclient.config`` file and check that a client can use the configuration.

    Set the keep-alive interval to 60 seconds, so that dxlclient detects a dead connection within two minutes.

    :param config_file: the path of the file; ``python -m dxlclient provisionconfig`` writes one. The default
        is the value of the environment variable ``DXLCLIENT_CONFIG``, or else ``dxlclient.config`` in the
        current directory
    :param broker: the ID of a broker in the file, to use only this broker
    :return: the configuration, for ``DxlClient``
    :raise ConfigurationError: if the file, a certificate or the key is missing or unusable, or a setting is
        missing, malformed or still a placeholder
    """
    config = None
    for step in steps(config_file, broker=broker):
        if step.error:
            raise step.error
        if step.is_warning and step.name == "configuration":
            logger.warning("%s", step.detail)
        config = config or step.config
    assert config  # noqa: S101 - the first step sets it
    return config


def steps(config_file: str | PathLike[str] | None = None, *, broker: str | None = None) -> Iterator[Step]:
    """Yield the result of each check that :func:`load_configuration` performs, and continue after a failure.

    If the configuration file itself is invalid, no further checks run. See :func:`load_configuration` for the
    parameters.
    """
    path = Path(config_file or os.environ.get("DXLCLIENT_CONFIG") or "dxlclient.config")
    unread: list[str] = []
    try:
        settings = _parse(path)
        unread = _check_names(settings)
        _check_values(settings)
        _check_brokers(settings)
        config = DxlClientConfig.create_dxl_config_from_file(str(path))
        section = "BrokersWebSockets" if config.use_websockets else "Brokers"
        _select_brokers(config, section, list(settings.get(section, {})), broker)
        _check_proxy(config)
    except Exception as error:  # noqa: BLE001 - dxlclient raises various exceptions, even bare Exception
        foreign = "" if isinstance(error, ValueError) else "dxlclient cannot read it: "
        reason = "; ".join([foreign + in_words(error), *unread])
        yield Step("configuration", error=ConfigurationError(f"{path}: {reason}"))
        return
    config.keep_alive_interval = 60  # seconds
    detail = f"{path} is complete; brokers in [{section}]: {len(config.brokers)}"
    yield Step("configuration", detail, config=config)
    for warning in unread:
        yield Step("configuration", f"{path}: {warning}", is_warning=True)
    yield from check_files(config, f"{path}: ")


def _parse(path: Path) -> ConfigObj:
    """Read the settings as dxlclient does."""
    if not path.is_file():
        problem = "not a regular file" if path.exists() else "no such file"
        raise ValueError(f"{problem}; 'python -m dxlclient provisionconfig' creates one")
    try:
        return ConfigObj(infile=str(path), raise_errors=True, file_error=True)
    except UnicodeDecodeError as error:
        forms = "but perhaps in UTF-16, Latin-1 or Windows-1252"
        raise ValueError(f"the file is not in UTF-8, {forms}: save it as UTF-8") from error


def _check_names(settings: ConfigObj) -> list[str]:
    """Check the names of all sections and settings. Return warnings about unknown names."""
    known = {name.lower(): f"[{name}]" for name in (*_SETTINGS, *_BROKERS)}
    found = [(name, f"[{name}]") for name in settings.sections]
    found += [(name, f"{name} outside all sections") for name in settings.scalars]
    for section, names in _SETTINGS.items():
        known |= {name.lower(): f"{name} in [{section}]" for name in names}
        found += [(name, f"{name} in [{section}]") for name in settings.get(section, {})]
    unread = []
    for name, place in found:
        right = known.get(name.lower())
        if right == place:
            continue
        if right:
            raise ValueError(f"{place} is not read: write {right}")
        # Other programs may add sections to the configuration file.
        is_section = place.startswith("[")
        alike = get_close_matches(name.lower(), known, 1, 0.8 if is_section else 0.6)
        if alike or not is_section:
            hint = f"; is {known[alike[0]]} meant?" if alike else ""
            unread.append(f"{place} is not read{hint}")
    return unread


def _check_values(settings: ConfigObj) -> None:
    """Check that the certificate and key files are set, and that dxlclient reads each value as intended."""
    unfilled = []
    for section, names in _SETTINGS.items():
        for name in names:
            try:
                value = settings.get(section, {}).get(name, "")
            except InterpolationError as error:
                problem = "has a %(name)s, which stands for another setting and cannot be quoted"
                raise ValueError(f"{name} {problem}: choose another name or value") from error
            if isinstance(value, list):
                # Do not show the value, which may be a password.
                problem = f"is read as {len(value)} values, because a comma separates values"
                raise ValueError(f"{name} {problem}: put it in quotes")  # noqa: TRY004 - the user's error
            if section == "Certs" and (not value or _PLACEHOLDER.search(value)):
                unfilled.append(name)
    if unfilled:
        raise ValueError(f"give a value to {', '.join(unfilled)} in [Certs]")


def _check_brokers(settings: ConfigObj) -> None:
    form = "id;port;host name;IP address, without commas"
    for section in _BROKERS:
        for name, value in settings.get(section, {}).items():
            fields = [field.strip() for field in str(value).split(";")]
            if not _is_port(fields[0]):
                del fields[0]  # the ID
            hosts = [host for host in fields[1:3] if host]
            if not (hosts and _is_port(fields[0]) and all(map(_HOST.fullmatch, hosts))):
                ranges = "with an id that is not a number and a port from 1 to 65535"
                raise ValueError(f"{name} in [{section}] must be {form}, {ranges}")


def _select_brokers(config: DxlClientConfig, section: str, names: list[str], broker: str | None) -> None:
    """Check that at least one broker is configured. If ``broker`` is specified, keep only that broker."""
    if not names:
        raise ValueError(f"no broker is configured: add one to [{section}], or change UseWebSockets")
    if broker is not None:
        if broker not in names:
            raise ValueError(f"[{section}] has no broker {broker!r}; it has {', '.join(names)}")
        config.brokers[:] = [config.brokers[names.index(broker)]]


def _check_proxy(config: DxlClientConfig) -> None:
    proxy, port = config.proxy_addr, config.proxy_port
    if not config.use_websockets or (proxy, port) == (None, None):
        return
    if not proxy or not _is_port(port):
        raise ValueError(f"[Proxy] needs an Address and a Port from 1 to 65535, got {proxy!r} and {port!r}")
    try:
        socket.gethostbyname(proxy)  # DxlClient's constructor resolves the proxy's name with gethostbyname()
    except OSError as error:
        raise ValueError(f"the proxy's name {proxy} cannot be resolved: {in_words(error)}") from error


def _is_port(value: object) -> bool:
    return isinstance(value, str) and value.isdecimal() and 1 <= int(value) <= 65535
