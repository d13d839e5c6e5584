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

from dxlthreateventclient._certificates import UTF_16, check_ca, check_certificate, check_key, regular_file
from dxlthreateventclient.exceptions import ConfigurationError

__all__ = ["ConfigurationError", "Step", "file_steps", "load_configuration", "steps"]

_KEEP_ALIVE = 60  # seconds

# Any setting whose value is still a placeholder such as <path-to-key>.
_PLACEHOLDER = re.compile(r"^[ \t]*([^#;=\s][^=\n]*?)[ \t]*=[^#\n]*<[^<>\n]+>", re.MULTILINE)


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
        yield Step("configuration", error=error)
        return
    section = _section_in_use(config)
    yield Step(
        "configuration", f"{path} is complete, with {len(config.brokers)} in [{section}]", config=config
    )
    for step in file_steps(config):
        wrong = step.error and ConfigurationError(f"{path}: {step.error}")
        yield Step(step.name, step.detail, wrong, config)


def file_steps(config: DxlClientConfig) -> Iterator[Step]:
    """Check the certificates and the key that a configuration names, one by one."""
    for name, check in (
        ("CA certificates", check_ca),
        ("client certificate", check_certificate),
        ("private key", check_key),
    ):
        try:
            yield Step(name, check(config), config=config)
        except ConfigurationError as error:
            yield Step(name, error=error, config=config)


def _read(path: Path, broker: str | None) -> DxlClientConfig:
    text = _text(path)
    if unfilled := _PLACEHOLDER.findall(text):
        raise ConfigurationError(f"{path} is not filled in: give a value to {', '.join(unfilled)}")
    try:
        settings = _parse(path)
        _check_sections(settings)
        _check_certs(path, settings)
        _check_brokers(text, settings)
        config = DxlClientConfig.create_dxl_config_from_file(str(path))
        _check_use(settings, config)
        if broker is not None:
            _choose(settings, config, broker)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}{error}") from error
    except Exception as error:  # dxlclient raises what it likes, down to bare Exception
        raise ConfigurationError(f"{path}: {error}") from error
    config.keep_alive_interval = _KEEP_ALIVE
    return config


def _text(path: Path) -> str:
    try:
        content = regular_file(path)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"cannot read the configuration {path}: {error}; 'python -m dxlclient provisionconfig' makes one"
        ) from error
    if re.match(UTF_16, content):
        raise ConfigurationError(f"{path} is saved as UTF-16: save it as UTF-8")
    if b"\0" in content:
        raise ConfigurationError(f"{path} is a binary file, not a configuration")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            f"{path}, line {line}: not UTF-8, it seems to be Latin-1 or Windows-1252: save it as UTF-8"
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
            problem = "must be 'setting = value', with quotes in pairs"
        # Not the value, which may be a password.
        setting = error.line.partition("=")[0].strip()
        raise ConfigurationError(f", line {error.line_number}: {setting!r} {problem}") from error


def _check_sections(settings: ConfigObj) -> None:
    """Check that sections are sections, and that each value can be read."""
    for name in ("General", "Certs", "Brokers", "BrokersWebSockets", "Proxy"):
        if name in settings.scalars:
            raise ConfigurationError(f": {name} must be a section: write [{name}]")
    for name in settings.sections:
        section = settings[name]
        for inner in section.sections:
            raise ConfigurationError(f": [[{inner}]] is a part of [{name}]: write [{inner}]")
        for setting in section.scalars:
            try:
                section[setting]
            except InterpolationError as error:
                raise ConfigurationError(
                    f": {setting} has a %(name)s, which stands for another setting and cannot be quoted:"
                    " rename the file or directory"
                ) from error


def _check_certs(path: Path, settings: ConfigObj) -> None:
    """Check that the three files are named, each by one string."""
    certs = settings.get("Certs", {})
    missing = []
    for setting in ("BrokerCertChain", "CertFile", "PrivateKey"):
        value = certs.get(setting)
        if not value:
            missing.append(setting)
        elif isinstance(value, list):
            raise ConfigurationError(
                f": {setting} is read as {len(value)} values, {value}, since it has a comma: put it in quotes"
            )
        elif (comment := certs.inline_comments[setting]) and not (path.parent / value).exists():
            raise ConfigurationError(
                f": {setting} is read as {value!r}, since # begins a comment ({comment}): put it in quotes"
            )
    if missing:
        lower = {name.lower() for name in ("Certs", *missing)}
        alike = [name for name in (*settings, *certs) if name.lower() in lower - {"certs"} or name == "certs"]
        hint = f"; upper and lower case matter: {', '.join(alike)}" if alike else ""
        raise ConfigurationError(f" is not filled in: give a value to {', '.join(missing)} in [Certs]{hint}")


def _check_brokers(text: str, settings: ConfigObj) -> None:
    """Check each line of a broker."""
    for section in ("Brokers", "BrokersWebSockets"):
        for key, value in settings.get(section, {}).items():
            fields = [] if isinstance(value, list) else [field.strip() for field in value.split(";")]
            if fields and not _is_port(fields[0]):
                del fields[0]  # the id
            if len(fields) < 2 or not _is_port(fields[0]) or not fields[1] or fields[1].isdecimal():
                shown = ", ".join(value) if isinstance(value, list) else value
                raise ConfigurationError(
                    f", line {_line(text, section, key)}: {shown!r} must be id;port;host name;IP address,"
                    " without commas, an id that is not a number, and a port from 1 to 65535"
                )


def _is_port(value: object) -> bool:
    return isinstance(value, str) and value.isdecimal() and 1 <= int(value) <= 65535


def _line(text: str, section: str, key: str) -> int:
    is_inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip().startswith("["):
            is_inside = line.strip().startswith(f"[{section}]")
        elif is_inside and line.partition("=")[0].strip(" \t'\"") == key:
            return number
    return 0


def _section_in_use(config: DxlClientConfig) -> str:
    return "BrokersWebSockets" if config.use_websockets else "Brokers"


def _check_use(settings: ConfigObj, config: DxlClientConfig) -> None:
    """Check that there is a broker, in the section that is used, and that the proxy can be used."""
    section = _section_in_use(config)
    if not config.brokers:
        other = "Brokers" if config.use_websockets else "BrokersWebSockets"
        why = ""
        if settings.get(other):
            value = settings["General"]["UseWebSockets"]
            why = f", which is used since UseWebSockets = {value}, while [{other}] has {len(settings[other])}"
        raise ConfigurationError(
            f" names no broker in [{section}]{why}: add one to the section, or change it"
        )
    if config.use_websockets and (config.proxy_addr, config.proxy_port) != (None, None):
        if not (isinstance(config.proxy_addr, str) and config.proxy_addr and _is_port(config.proxy_port)):
            raise ConfigurationError(
                ": [Proxy] must have an Address and a Port from 1 to 65535,"
                f" got {config.proxy_addr!r} and {config.proxy_port!r}"
            )
        try:
            socket.gethostbyname(config.proxy_addr)  # as DxlClient does when it is made
        except OSError as error:
            raise ConfigurationError(
                f": the name of the proxy {config.proxy_addr} cannot be resolved: {error.strerror}"
            ) from error


def _choose(settings: ConfigObj, config: DxlClientConfig, broker: str) -> None:
    """Leave only one broker."""
    section = _section_in_use(config)
    named = list(zip(settings[section], config.brokers, strict=True))
    chosen = [candidate for key, candidate in named if broker in (key, candidate.unique_id)]
    if not chosen:
        ids = ", ".join(key for key, _ in named)
        raise ConfigurationError(f": [{section}] has no broker {broker!r}, only {ids}")
    if config.use_websockets:
        config.websocket_brokers = chosen
    else:
        config.brokers = chosen
