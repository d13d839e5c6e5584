"""A client configuration that is complete, or an error that says what to fix."""

import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from configobj import ConfigObj, ConfigObjError, DuplicateError, InterpolationError, NestingError
from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient._certificates import CHECKS, UTF_16, regular_file
from dxlthreateventclient.exceptions import ConfigurationError

__all__ = ["ConfigurationError", "Step", "load_configuration", "steps"]

_KEEP_ALIVE = 60  # seconds

_FILES = ("BrokerCertChain", "CertFile", "PrivateKey")
# What dxlclient reads: each section, with its settings if they have fixed names.
_SETTINGS = {
    "General": ("ClientId", "UseWebSockets"),
    "Certs": _FILES,
    "Brokers": (),
    "BrokersWebSockets": (),
    "Proxy": ("Address", "Port", "User", "Password"),
}

# A part of a value that is still to be filled in, such as <path-to-key>.
_PLACEHOLDER = re.compile(r"<[^<>]+>")
# A host name, or an IP address, with or without brackets.
_HOST = re.compile(r"(?!\d+$)[\w.-]+|\[?[\dA-Fa-f:.%]*:[\w:.%]*\]?")


@dataclass(frozen=True)
class Step:
    """One of the checks that :func:`load_configuration` makes."""

    name: str
    """``configuration``, ``CA certificates``, ``client certificate`` or ``private key``."""

    detail: str = ""
    """What was found, if nothing is wrong."""

    error: ConfigurationError | None = None
    """What is wrong."""

    config: DxlClientConfig | None = None
    """The configuration, unless reading it failed."""


def load_configuration(
    config_file: str | PathLike[str] | None = None, *, broker: str | None = None
) -> DxlClientConfig:
    """Load a ``dxlclient.config`` file, and check that a client can be made from it.

    The keep-alive interval is set to 60 seconds, so that a dead connection is noticed within two minutes.

    :param config_file: the path of the file; ``python -m dxlclient provisionconfig`` writes one.
        The default is the file that the environment variable ``DXLCLIENT_CONFIG`` names, else
        ``dxlclient.config`` in the current directory
    :param broker: the id of a broker in the file, to use only this one
    :return: the configuration, for ``DxlClient``
    :raise ConfigurationError: if the file, a certificate or the key is missing or unusable, or a setting is
        missing, malformed or still a placeholder
    """
    config = None
    for step in steps(config_file, broker=broker):
        if step.error:
            raise step.error
        config = step.config
    assert config  # noqa: S101 - the first step has it
    return config


def steps(config_file: str | PathLike[str] | None = None, *, broker: str | None = None) -> Iterator[Step]:
    """Make the checks of :func:`load_configuration` one by one, also after one that fails.

    If the configuration itself cannot be read, there are no others. The parameters are those of
    :func:`load_configuration`.
    """
    path = Path(config_file or os.environ.get("DXLCLIENT_CONFIG") or "dxlclient.config")
    try:
        config = _read(path, broker)
    except ConfigurationError as error:
        yield Step("configuration", error=ConfigurationError(f"{path}: {error}"))
        return
    detail = f"{path} is complete; brokers in [{_section(config)}]: {len(config.brokers)}"
    yield Step("configuration", detail, config=config)
    for name, check in CHECKS.items():
        try:
            yield Step(name, check(config), config=config)
        except ConfigurationError as error:
            yield Step(name, error=ConfigurationError(f"{path}: {error}"), config=config)


def _read(path: Path, broker: str | None) -> DxlClientConfig:
    try:
        text = _text(path)
        settings = _parse(path)
        _check_filled(path, settings, _values(settings))
        _check_general(settings)
        _check_brokers(text, settings)
        config = DxlClientConfig.create_dxl_config_from_file(str(path))
        _check_use(settings, config)
        if broker is not None:
            _choose(settings, config, broker)
    except ConfigurationError:
        raise
    except Exception as error:  # dxlclient raises what it likes, down to bare Exception
        raise ConfigurationError(f"dxlclient cannot read it: {error}") from error
    config.keep_alive_interval = _KEEP_ALIVE
    return config


def _text(path: Path) -> str:
    try:
        content = regular_file(path)
    except ConfigurationError as error:
        remedy = "'python -m dxlclient provisionconfig' makes one"
        raise ConfigurationError(f"the configuration cannot be read: {error}; {remedy}") from error
    if re.match(UTF_16, content):
        raise ConfigurationError("the file is saved as UTF-16: save it as UTF-8")
    if b"\0" in content:
        raise ConfigurationError("it is a binary file, not a configuration")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            f"line {line} is not UTF-8 and seems to be Latin-1 or Windows-1252: save the file as UTF-8"
        ) from error


def _parse(path: Path) -> ConfigObj:
    """Read the settings as dxlclient does."""
    try:
        return ConfigObj(infile=str(path), raise_errors=True, file_error=True)
    except ConfigObjError as error:
        if isinstance(error, DuplicateError):
            problem = "is there twice"
        elif isinstance(error, NestingError):
            problem = "has brackets that do not match"
        else:
            problem = "must be a section or 'setting = value', with quotes in pairs"
        # Not the value, which may be a password.
        setting = error.line.partition("=")[0].strip()
        raise ConfigurationError(f"line {error.line_number}: {setting!r} {problem}") from error


def _values(settings: ConfigObj) -> dict[str, str]:
    """Return all values but those of the proxy, after checking that each is read as it was meant."""
    values = {}
    for name, known in _SETTINGS.items():
        section = settings.get(name, {})
        if not isinstance(section, dict):
            raise ConfigurationError(f"{name} must be a section: write [{name}]")
        for setting in section:
            if setting in _SETTINGS:
                raise ConfigurationError(f"the section [[{setting}]] is inside [{name}]: write [{setting}]")
            if known and setting not in known:
                continue
            try:
                value = section[setting]
            except InterpolationError as error:
                raise ConfigurationError(
                    f"{setting} has a %(name)s, which stands for another setting and cannot be quoted: rename"
                    " the file or directory"
                ) from error
            if known and isinstance(value, list):
                shown = f"{len(value)} values" if name == "Proxy" else value  # one may be a password
                raise ConfigurationError(
                    f"{setting} is read as {shown}, because a comma separates values: put it in quotes"
                )
            if name != "Proxy":
                values[setting] = str(value)
    return values


def _check_filled(path: Path, settings: ConfigObj, values: dict[str, str]) -> None:
    """Check that the three files are named, and that nothing is still a placeholder."""
    certs = settings.get("Certs", {})
    unfilled = [setting for setting in _FILES if not certs.get(setting)]
    unfilled += [setting for setting, value in values.items() if _PLACEHOLDER.search(value)]
    if unfilled:
        names = ("Certs", *_FILES)
        lower = [name.lower() for name in names]
        alike = [name for name in (*settings, *certs) if name not in names and name.lower() in lower]
        hint = f" (not {', '.join(alike)})" if alike else ""
        where = "" if certs else " in a section [Certs]"
        raise ConfigurationError(f"give a value to {', '.join(unfilled)}{where}{hint}")
    for setting in _FILES:
        comment, value = certs.inline_comments[setting], values[setting]
        # dxlclient looks in the current directory, too.
        if comment and not (Path(value).exists() or (path.parent / value).exists()):
            raise ConfigurationError(
                f"{setting} is read as {value!r}, because # begins a comment ({comment}): put it in quotes"
            )


def _check_general(settings: ConfigObj) -> None:
    general = settings.get("General", {})
    try:
        if value := general.get("UseWebSockets"):
            general.as_bool("UseWebSockets")
    except ValueError as error:
        raise ConfigurationError(f"UseWebSockets must be true or false, got {value!r}") from error


def _check_brokers(text: str, settings: ConfigObj) -> None:
    """Check each line of a broker."""
    for section in ("Brokers", "BrokersWebSockets"):
        for key, value in settings.get(section, {}).items():
            fields = [] if isinstance(value, list) else [field.strip() for field in value.split(";")]
            if fields and not _is_port(fields[0]):
                del fields[0]  # the id
            hosts = [host for host in fields[1:3] if host]
            if not (hosts and _is_port(fields[0]) and all(map(_HOST.fullmatch, hosts))):
                shown = ", ".join(value) if isinstance(value, list) else value
                raise ConfigurationError(
                    f"line {_line(text, section, key)}: the broker {shown!r} must be id;port;host name;IP"
                    " address, without commas, with an id that is not a number and a port from 1 to 65535"
                )


def _is_port(value: object) -> bool:
    return isinstance(value, str) and value.isdecimal() and 1 <= int(value) <= 65535


def _line(text: str, section: str, key: str) -> int:
    is_inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*(.*?)\s*\]", line):
            is_inside = header[1] == section
        elif is_inside and line.partition("=")[0].strip(" \t'\"") == key:
            return number
    return 0


def _section(config: DxlClientConfig) -> str:
    return "BrokersWebSockets" if config.use_websockets else "Brokers"


def _check_use(settings: ConfigObj, config: DxlClientConfig) -> None:
    """Check that there is a broker in the section that is used, and that the proxy can be used."""
    section = _section(config)
    if not config.brokers:
        other = "Brokers" if config.use_websockets else "BrokersWebSockets"
        if count := len(settings.get(other, {})):
            value = settings["General"]["UseWebSockets"]
            raise ConfigurationError(
                f"UseWebSockets = {value} selects the section [{section}], which names no broker, while"
                f" [{other}] names {count}: change UseWebSockets, or add a broker"
            )
        raise ConfigurationError(f"no broker is named: add one to the section [{section}]")
    address, port = config.proxy_addr, config.proxy_port
    if not config.use_websockets or (address is None and port is None):
        return
    if not address or not _is_port(port):
        raise ConfigurationError(
            f"[Proxy] must have an Address and a Port from 1 to 65535, got {address!r} and {port!r}"
        )
    try:
        socket.gethostbyname(address)  # as DxlClient does when it is made
    except OSError as error:
        raise ConfigurationError(
            f"the proxy's name {address} cannot be resolved: {error.strerror}"
        ) from error


def _choose(settings: ConfigObj, config: DxlClientConfig, broker: str) -> None:
    """Leave only one broker."""
    section = _section(config)
    brokers = dict(zip(settings[section], config.brokers, strict=True))
    chosen = [candidate for key, candidate in brokers.items() if broker in (key, candidate.unique_id)]
    if not chosen:
        raise ConfigurationError(f"[{section}] has no broker {broker!r}; it has {', '.join(brokers)}")
    if config.use_websockets:
        config.websocket_brokers = chosen
    else:
        config.brokers = chosen
