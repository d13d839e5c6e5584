"""A parsed threat event that keeps track of unused fields."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

from dxlthreateventclient.formats._names import RegistryPath, account, registry_path, split_path
from dxlthreateventclient.formats._reading import Reading, read
from dxlthreateventclient.formats._values import (
    digest,
    harmless,
    integer,
    ip_address,
    name_of,
    plain_object,
    text,
    timestamp,
    utc,
)
from dxlthreateventclient.formats._vocabulary import (
    FILE_DIGESTS,
    PROCESS_DIGESTS,
    SEVERITIES,
    UNKNOWN_SEVERITY,
    Severity,
    aggregate_of,
)

T = TypeVar("T")
Fields = dict[str, Any]

VENDOR = "Trellix"
"""The current name of the vendor whose products report threats to ePO."""

PRODUCT = "ePolicy Orchestrator"
"""The name used for a product without a name."""


def take(fields: Fields, key: str, convert: Callable[[Any], T | None]) -> T | None:
    """Convert and return a key's value. If the converted value is not ``None``, remove the key."""
    value = convert(fields[key]) if key in fields else None
    if value is not None:
        del fields[key]
    return value


def take_addresses(fields: Fields, room: int) -> list[str]:
    """Return a host's addresses, and remove the first ``room`` of them from the fields."""
    found: list[str] = []
    for key in ("ipv4", "ipv6"):
        address = ip_address(fields.get(key))
        if address is not None:
            found += [address] if address not in found else []
            if found.index(address) < room:
                del fields[key]
    return found


class Message:
    """A threat event as plain JSON values.

    :param threat_event: the threat event, which is not modified
    :param event_id: the ID of the DXL message
    :param arrived: the time of arrival
    :raise TypeError: if the threat event is not a mapping
    """

    rest: Fields
    """The unused fields, in the structure of the message."""

    def __init__(
        self, threat_event: Mapping[str, Any], event_id: str | None = None, arrived: datetime | None = None
    ) -> None:
        if not isinstance(threat_event, Mapping):
            raise TypeError(f"threat_event must be a mapping, got {type(threat_event).__name__}")
        self.rest = plain_object(threat_event)
        self.event = _object(self.rest, "event")
        self.analyzer = _object(self.event, "analyzer")
        self.entity = _object(self.event, "entity")
        self.source = _object(self.event, "source")
        self.target = _object(self.event, "target")
        self.other = _object(self.event, "otherData")
        self.id = harmless(event_id.strip()) or None if event_id else None
        self.arrived = utc(arrived)

    def take_received(self) -> datetime | None:
        """Remove and return ePO's time of receipt, from the ``event`` object or the message."""
        return take(self.event, "_receivedUTC", timestamp) or take(self.rest, "_receivedUTC", timestamp)

    def take_number(self) -> str | None:
        """Remove and return the event number, which some products store under ``eventId``."""
        return take(self.event, "id", text) or take(self.event, "eventId", text)

    def severity(self) -> Severity:
        """Return the severity on each format's scale."""
        return SEVERITIES.get(integer(self.event.get("threatSeverity")), UNKNOWN_SEVERITY)

    def reading(self) -> Reading:
        """Interpret the event."""
        return read(self.event)

    def take_device_id(self) -> str | None:
        """Remove and return the managed entity's ID, unless the entity is a user."""
        is_user = (text(self.entity.get("type")) or "").lower() == "user"
        return None if is_user else take(self.entity, "id", text)

    def registry(self) -> RegistryPath | None:
        """Return the registry key if ePO reports one as the target's file."""
        path = name_of(self.target.get("fileName"))
        if path is None:
            return None
        is_registry = (text(self.event.get("category")) or "").lower() == "hip.registry"
        return registry_path(path) or (RegistryPath(path, None, None, None) if is_registry else None)

    def file(self) -> tuple[str | None, dict[str, str]]:
        """Return the path and digests of the target's file.

        If the target has no path, the first entry of ``files`` supplies the path and the digests. If the
        target has a path, the digests come from the first ``files`` entry that has no name or has the
        target's name.
        """
        path = name_of(self.target.get("fileName"))
        digests = {name: value for _, name, value in self._other_digests(FILE_DIGESTS)}
        for file in self._files():
            name = name_of(file.get("name"))
            found = {algorithm: value for _, algorithm, value in _digests(file)}
            if path is None:
                if name or found:
                    return name, digests | found
            elif found and (name or path).lower() in (path.lower(), split_path(path)[1].lower()):
                return path, digests | found
        return path, digests

    def digests(self) -> Iterator[tuple[str, str]]:
        """Yield each digest with its path in the event object."""
        is_list = isinstance(self.event.get("files"), list)
        for number, file in enumerate(self._files()):
            for key, _, value in _digests(file):
                yield f"files{f'[{number}]' if is_list else ''}.hash.{key}", value
        for key, _, value in self._other_digests(FILE_DIGESTS | PROCESS_DIGESTS):
            yield f"otherData.{key}", value

    def aggregates(self) -> Iterator[tuple[str, str, str]]:
        """Yield each aggregated value's kind (``ip``, ``hosts`` or ``user``), path and text."""
        for key, values in self.other.items():
            kind = aggregate_of(key)
            if kind:
                for value in filter(None, map(_RELATED[kind], _items(values))):
                    yield kind, f"otherData.{key}", value

    def _files(self) -> list[Fields]:
        files = self.event.get("files")
        return [file if isinstance(file, dict) else {} for file in _list(files)]

    def _other_digests(self, keys: Mapping[str, str]) -> list[tuple[str, str, str]]:
        found = ((key, name, digest(name, self.other.get(key))) for key, name in keys.items())
        return [(key, name, value) for key, name, value in found if value]


def user_name(value: Any) -> str | None:
    """Return an account name without its domain."""
    return account(text(value))[1]


_RELATED = {"ip": ip_address, "hosts": text, "user": user_name}


def _object(fields: Fields, key: str) -> Fields:
    value = fields.get(key)
    return value if isinstance(value, dict) else {}


def _digests(file: Fields) -> list[tuple[str, str, str]]:
    """Return the key, ECS algorithm name and value of each valid file digest."""
    named = ((key, key.lower().replace("-", ""), value) for key, value in _object(file, "hash").items())
    found = ((key, name, digest(name, value)) for key, name, value in named)
    return sorted(((key, name, value) for key, name, value in found if value), key=lambda item: item[1])


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _items(values: Any) -> list[Any]:
    """Return an aggregate's values, splitting them if they are comma-separated text."""
    if isinstance(values, dict):
        return list(values.values())
    return [value.strip() for value in values.split(",")] if isinstance(values, str) else _list(values)
