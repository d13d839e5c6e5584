"""Loads a client configuration, or raises an error that says what to fix."""

import logging
import os
import re
import socket
from collections.abc import Iterator
from datetime import datetime
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from configobj import ConfigObj, ConfigObjError, DuplicateError, InterpolationError, NestingError
from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient._setup.certificates import UTF_16, check_files, in_words, read
from dxlthreateventclient.exceptions import ConfigurationError

__all__ = ["ConfigurationError", "Step", "load_configuration", "steps"]

logger = logging.getLogger(__name__)

_KEEP_ALIVE = 60  # seconds

_FILES = ("BrokerCertChain", "CertFile", "PrivateKey")
# The sections that dxlclient reads, with the settings that have fixed names.
_SETTINGS = {
    "General": ("ClientId", "UseWebSockets"),
    "Certs": _FILES,
    "Brokers": (),
    "BrokersWebSockets": (),
    "Proxy": ("Address", "Port", "User", "Password"),
}
_BOOLEANS = ("", "true", "yes", "on", "1", "false", "no", "off", "0")

_SYNTAX = {DuplicateError: "is there twice", NestingError: "has brackets that do not match"}

# A placeholder in a value, such as <path-to-key>.
_PLACEHOLDER = re.compile(r"<[^<>]+>")
# A host name or IP address, with or without brackets.
_HOST = re.compile(r"(?!\d+$)[\w.-]+|\[?[\dA-Fa-f:.%]*:[\w:.%]*\]?")


class Step(NamedTuple):
    """The result of one check by :func:`load_configuration`."""

    name: str
    """``configuration``, ``CA certificates``, ``client certificate`` or ``private key``."""

    detail: str = ""
    """The finding, if there is no error."""

    ends: datetime | None = None
    """The earliest expiry date of the certificates."""

    is_warning: bool = False
    """True if the detail is a warning."""

    error: ConfigurationError | None = None
    """The error, if the check failed."""

    config: DxlClientConfig | None = None
    """The configuration, or ``None`` if it could not be read."""


def load_configuration(
    config_file: str | PathLike[str] | None = None, *, broker: str | None = None
) -> DxlClientConfig:
    """Load a ``dxlclient.config`` file and check that a client can use it.

    The keep-alive interval is set to 60 seconds to detect a dead connection within two minutes.

    :param config_file: the path of the file; ``python -m dxlclient provisionconfig`` writes one. The default
        is the value of the environment variable ``DXLCLIENT_CONFIG``, or else ``dxlclient.config`` in the
        current directory
    :param broker: the id of a broker in the file, to use only this broker
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
        config = step.config
    assert config  # noqa: S101 - the first step sets it
    return config


def steps(config_file: str | PathLike[str] | None = None, *, broker: str | None = None) -> Iterator[Step]:
    """Yield the checks of :func:`load_configuration` one by one, even after a failure.

    If the configuration file cannot be read, there are no further steps. The parameters are the same as for
    :func:`load_configuration`.
    """
    path = Path(config_file or os.environ.get("DXLCLIENT_CONFIG") or "dxlclient.config")
    unread: list[str] = []
    try:
        settings = _parse(path)
        unread = _check_names(settings, path.read_text(encoding="utf-8"))
        _check_values(settings)
        _check_certs(path, settings)
        _check_brokers(settings)
        config = DxlClientConfig.create_dxl_config_from_file(str(path))
        _check_use(settings, config, broker)
    except Exception as error:  # noqa: BLE001 - dxlclient raises various exceptions, even bare Exception
        foreign = "" if isinstance(error, ValueError) else "dxlclient cannot read it: "
        reason = "; ".join([foreign + in_words(error), *unread])
        yield Step("configuration", error=ConfigurationError(f"{path}: {reason}"))
        return
    config.keep_alive_interval = _KEEP_ALIVE
    detail = f"{path} is complete; brokers in [{_sections(config)[0]}]: {len(config.brokers)}"
    yield Step("configuration", detail, config=config)
    for warning in unread:
        yield Step("configuration", f"{path}: {warning}", is_warning=True, config=config)
    for name, found in check_files(config):
        if isinstance(found, ConfigurationError):
            yield Step(name, error=ConfigurationError(f"{path}: {found}"), config=config)
        else:
            yield Step(name, *found, config=config)


def _parse(path: Path) -> ConfigObj:
    """Read the settings as dxlclient does."""
    try:
        content = read(path)
    except ValueError as error:
        remedy = "'python -m dxlclient provisionconfig' makes one"
        raise ValueError(f"the configuration cannot be read: {error}; {remedy}") from error
    if re.match(UTF_16, content):
        raise ValueError("the file is saved as UTF-16: save it as UTF-8")
    if b"\0" in content:
        raise ValueError("it is a binary file, not a configuration")
    try:
        content.decode()
        return ConfigObj(infile=str(path), raise_errors=True, file_error=True)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = "is not UTF-8 and seems to be Latin-1 or Windows-1252: save the file as UTF-8"
        raise ValueError(f"line {line} {problem}") from error
    except ConfigObjError as error:
        problem = _SYNTAX.get(type(error), "must be a section or 'setting = value', with quotes in pairs")
        # Do not show the value, which may be a password.
        setting = error.line.partition("=")[0].strip()
        raise ValueError(f"line {error.line_number}: {setting!r} {problem}") from error


def _check_names(settings: ConfigObj, text: str) -> list[str]:
    """Check the names of sections and settings. Return a warning for each unknown name."""
    unread = []
    sections = {name.lower(): name for name in _SETTINGS}
    for name in settings.sections:
        right = sections.get(name.lower())
        if right and right != name:
            raise ValueError(f"[{name}] is not read: write [{right}]")
        if not right and (alike := get_close_matches(name, _SETTINGS, 1, 0.8)):
            unread.append(f"[{name}] is not read; is [{alike[0]}] meant?")
    places = {setting.lower(): (name, setting) for name, known in _SETTINGS.items() for setting in known}
    for name in ("", *_SETTINGS):
        where = f"in [{name}]" if name else "outside all sections"
        for setting in settings.get(name, {}) if name else settings.scalars:
            if setting in _SETTINGS:
                raise ValueError(f"{setting} {where} must be a section of its own: write [{setting}]")
            key = setting.lower()
            place = places.get(key, ("", ""))
            if key in places and place != (name, setting):
                raise ValueError(f"{setting} {where} is not read: write {place[1]} in [{place[0]}]")
            # A broker can have any name. A setting is also known if another value contains %(setting)s.
            if key not in places and not name.startswith("Brokers") and f"%({setting})s" not in text:
                alike = get_close_matches(key, places, 1)
                hint = "; is {1} in [{0}] meant?".format(*places[alike[0]]) if alike else ""
                unread.append(f"{setting} {where} is not read{hint}")
    return unread


def _check_values(settings: ConfigObj) -> None:
    """Check that dxlclient reads each value as intended."""
    for name, known in _SETTINGS.items():
        section = settings.get(name, {})
        for setting in section:
            try:
                value = section[setting] if setting in known or not known else ""
            except InterpolationError as error:
                problem = "has a %(name)s, which stands for another setting and cannot be quoted"
                remedy = "rename the file or directory" if name == "Certs" else "choose another value"
                raise ValueError(f"{setting} {problem}: {remedy}") from error
            if known and isinstance(value, list):
                shown = f"{len(value)} values" if name == "Proxy" else value  # may contain a password
                problem = "because a comma separates values: put it in quotes"
                raise ValueError(f"{setting} is read as {shown}, {problem}")
            if setting == "UseWebSockets" and value.lower() not in _BOOLEANS:
                raise ValueError(f"UseWebSockets must be true or false, got {value!r}")


def _check_certs(path: Path, settings: ConfigObj) -> None:
    """Check that the three files are named and no placeholder remains."""
    certs = settings.get("Certs", {})
    unfilled = [setting for setting in _FILES if not certs.get(setting)]
    # Skip the proxy, because a password may look like a placeholder.
    for name in ("General", "Certs", "Brokers", "BrokersWebSockets"):
        values = settings.get(name, {})
        unfilled += [key for key in _SETTINGS[name] or values if _PLACEHOLDER.search(str(values.get(key)))]
    if unfilled:
        where = "" if certs else " in a section [Certs]"
        raise ValueError(f"give a value to {', '.join(unfilled)}{where}")
    for setting in _FILES:
        comment, value = certs.inline_comments[setting], certs[setting]
        # dxlclient also looks in the current directory.
        if comment and not (Path(value).exists() or (path.parent / value).exists()):
            problem = f"because # begins a comment ({comment}): put it in quotes"
            raise ValueError(f"{setting} is read as {value!r}, {problem}")


def _check_brokers(settings: ConfigObj) -> None:
    form = "id;port;host name;IP address, without commas"
    for section in ("Brokers", "BrokersWebSockets"):
        for value in settings.get(section, {}).values():
            shown = ", ".join(value) if isinstance(value, list) else value
            fields = [field.strip() for field in shown.split(";")]
            if not _is_port(fields[0]):
                del fields[0]  # the id
            hosts = [host for host in fields[1:3] if host]
            if not (hosts and _is_port(fields[0]) and all(map(_HOST.fullmatch, hosts))):
                ranges = "with an id that is not a number and a port from 1 to 65535"
                raise ValueError(f"the broker {shown!r} in [{section}] must be {form}, {ranges}")


def _check_use(settings: ConfigObj, config: DxlClientConfig, broker: str | None) -> None:
    """Check the brokers and the proxy. If a broker is named, keep only that one."""
    section, other = _sections(config)
    if not config.brokers:
        remedy = f"add one to the section [{section}]"
        if count := len(settings.get(other, {})):
            remedy += f", or change UseWebSockets: [{other}] names {count}"
        raise ValueError(f"no broker is named: {remedy}")
    if broker is not None:
        brokers = dict(zip(settings[section], config.brokers, strict=True))
        chosen = [candidate for name, candidate in brokers.items() if broker in (name, candidate.unique_id)]
        if not chosen:
            raise ValueError(f"[{section}] has no broker {broker!r}; it has {', '.join(brokers)}")
        setattr(config, "websocket_brokers" if config.use_websockets else "brokers", chosen)
    address, port = config.proxy_addr, config.proxy_port
    if not config.use_websockets or (address, port) == (None, None):
        return
    if not address or not _is_port(port):
        wanted = "an Address and a Port from 1 to 65535"
        raise ValueError(f"[Proxy] must have {wanted}, got {address!r} and {port!r}")
    try:
        socket.gethostbyname(address)  # as the constructor of DxlClient does
    except OSError as error:
        raise ValueError(f"the proxy's name {address} cannot be resolved: {in_words(error)}") from error


def _sections(config: DxlClientConfig) -> tuple[str, str]:
    """Return the names of the active section of brokers and the inactive one."""
    names = "Brokers", "BrokersWebSockets"
    return (names[1], names[0]) if config.use_websockets else names


def _is_port(value: object) -> bool:
    return isinstance(value, str) and value.isdecimal() and 1 <= int(value) <= 65535
