"""Elastic Common Schema (ECS)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from dxlthreateventclient.formats._message import VENDOR, Fields, Message, take, take_addresses, user_name
from dxlthreateventclient.formats._names import RegistryPath, account, extension, process, split_path
from dxlthreateventclient.formats._reading import Reading
from dxlthreateventclient.formats._values import (
    action_word,
    distinct,
    integer,
    ip_address,
    iso_8601,
    mac_address,
    name_of,
    outcome,
    port,
    text,
    timestamp,
    without_empty,
)
from dxlthreateventclient.formats._vocabulary import OPERATING_SYSTEMS, TRANSPORTS
from dxlthreateventclient.formats._words import Outcome

ECS_VERSION = "9.4.0"
"""The ECS version of the documents from :func:`to_ecs`."""

NAMESPACE = "epo"
"""The custom field for values that have no field in ECS."""

# Two event types for each outcome: the access decision and the file change. Other outcomes have the
# type "info".
_TYPES: dict[Outcome, tuple[str, str]] = {
    "blocked": ("denied", "info"),
    "deleted": ("denied", "deletion"),
    "cleaned": ("info", "change"),
    "quarantined": ("denied", "change"),
    "contained": ("denied", "info"),
    "allowed": ("allowed", "info"),
    "would_block": ("allowed", "info"),
}


def to_ecs(
    threat_event: Mapping[str, Any],
    *,
    event_id: str | None = None,
    arrived: datetime | None = None,
    severity: Literal["epo", "elastic"] = "epo",
) -> dict[str, Any]:
    r"""Convert a threat event into an Elastic Common Schema document.

    A value that has the wrong type or no ECS field appears under ``epo``, at the same path as in the threat
    event. Empty values and unresolved placeholders are omitted.

    :param threat_event: the threat event, as a callback receives it, with any content. It is not modified.
    :param event_id: the ID of the DXL message that carried the event (``original_event.message_id``)
    :param arrived: the time of arrival, used if the event has no time. A naive time is local time.
    :param severity: the scale of ``event.severity``: ``epo`` (1 to 7, 1 the most severe), or ``elastic`` (21,
        47, 73 and 99, 99 the most severe), which Elastic's own rules expect
    :return: the document: nested dictionaries of values that JSON can represent in UTF-8
    :raise TypeError: if the threat event is not a mapping
    :raise ValueError: if the scale is unknown

    >>> document = to_ecs({"event": {"id": 1027, "target": {"userName": "CORP\\bob"}}})
    >>> document["event"]["code"], document["user"]["target"]
    ('1027', {'domain': 'CORP', 'name': 'bob'})
    """
    if severity not in ("epo", "elastic"):
        raise ValueError(f"severity must be 'epo' or 'elastic', got {severity!r}")
    message = Message(threat_event, event_id, arrived)
    event, analyzer, entity = message.event, message.analyzer, message.entity
    source, target = message.source, message.target

    # Compute these values first, because the code below removes the fields that they depend on.
    registry, (path, hashes), reading = message.registry(), message.file(), message.reading()
    file = {} if registry else _file(path, hashes)
    types = _types(message, reading, has_registry=registry is not None, has_file=bool(file))
    related = _related(message)
    elastic = message.severity().elastic

    take(target, "fileName", name_of)
    received = message.take_received()
    hostname = take(analyzer, "hostName", text)
    addresses = take_addresses(analyzer, room=2)
    macs = distinct([take(analyzer, "mac", mac_address)])
    target_hostname = take(target, "hostName", text)
    threat_name = take(event, "threatName", text)
    document: Fields = {
        "@timestamp": iso_8601(take(analyzer, "detectedUTC", timestamp) or received or message.arrived),
        "destination": {"domain": target_hostname} | _endpoint(target),
        "ecs": {"version": ECS_VERSION},
        "event": {
            "action": take(event, "threatActionTaken", action_word),
            "category": list(types),
            "code": message.take_number(),
            "created": iso_8601(received or message.arrived),
            "id": message.id,
            "kind": "event" if reading.is_operational else "alert",
            "outcome": "failure" if reading.outcome == "failed" else take(event, "threatHandled", outcome),
            "provider": take(analyzer, "detectionMethod", text),
            "reason": threat_name,
            "severity": take(event, "threatSeverity", integer) if severity == "epo" else elastic,
            "type": distinct(types.values()),
        },
        "file": file,
        # The analyzer runs on the managed device, so ``host`` and ``observer`` describe the same machine.
        "host": {
            "hostname": hostname,
            "id": message.take_device_id(),
            "ip": addresses,
            "mac": macs,
            "name": hostname,
            "os": _operating_system(take(entity, "osType", text)),
            "target": {"hostname": target_hostname},
            "type": take(entity, "osPlatform", text),
        },
        "message": take(event, "eventDesc", text) or reading.meaning,
        "network": _network(take(target, "protocol", text)),
        "observer": {
            "hostname": hostname,
            "ip": addresses,
            "mac": macs,
            "product": take(analyzer, "name", text),
            "vendor": VENDOR,
            "version": take(analyzer, "version", text),
        },
        # ECS has a user.target field but no process.target field. The target's process also remains in the
        # unused fields, which show that it is the target's (``event.target.processName``).
        "process": _process(take(source, "processName", name_of) or name_of(target.get("processName"))),
        "registry": _registry(registry),
        "related": related,
        "rule": {"name": take(entity, "ruleName", text) or threat_name},
        "source": {"domain": take(source, "hostName", text)} | _endpoint(source),
        "threat": {
            "indicator": {"file": {key: file.get(key) for key in ("directory", "hash", "name", "path")}}
        },
        "url": _url(take(source, "url", text) or take(event, "uri", text)),
        "user": _user(take(source, "userName", text)) | {"target": _user(take(target, "userName", text))},
    }
    return without_empty(document | {NAMESPACE: message.rest})


def _types(message: Message, reading: Reading, *, has_registry: bool, has_file: bool) -> dict[str, str]:
    """Return the event's categories, each with its most specific type."""
    decision, file = _TYPES.get(reading.outcome, ("info", "info"))
    found = list(reading.categories)
    if has_registry:
        # The "intrusion_detection" category has types for allowed and denied access. The "registry" category
        # does not.
        found += ["intrusion_detection", "registry"]
    if has_file:
        found.append("file")
    is_connection = any(port(role.get("port")) for role in (message.source, message.target))
    if is_connection or text(message.target.get("protocol")):
        found.append("network")
    found = found or ["host"]
    if decision == "allowed" and not reading.is_operational and "network" not in found:
        # Only with this category can the event type show that the threat was not stopped.
        found.append("intrusion_detection")
    types = {"intrusion_detection": decision, "network": decision, "file": file, "registry": "access"}
    return {category: types.get(category, "info") for category in found}


def _related(message: Message) -> dict[str, list[str]]:
    roles = (message.analyzer, message.source, message.target)
    related: dict[str, list[str | None]] = {
        "hash": [value for _, value in message.digests()],
        "hosts": [text(role.get("hostName")) for role in roles],
        "ip": [ip_address(role.get(key)) for role in roles for key in ("ipv4", "ipv6")],
        "user": [user_name(role.get("userName")) for role in roles],
    }
    for kind, _, value in message.aggregates():
        related[kind].append(value)
    return {kind: distinct(values) for kind, values in related.items()}


def _endpoint(role: Fields) -> Fields:
    # In ECS, an endpoint has only one address. If a host has both an IPv4 and an IPv6 address, the IPv6
    # address remains in the unused fields.
    addresses = take_addresses(role, room=1)
    return {
        "ip": addresses[0] if addresses else None,
        "mac": take(role, "mac", mac_address),
        "port": take(role, "port", port),
    }


def _network(protocol: str | None) -> Fields:
    name = (protocol or "").lower()
    return {"transport" if name in TRANSPORTS else "protocol": name}


def _operating_system(name: str | None) -> Fields:
    lower = (name or "").lower()
    kind = next((kind for part, kind, _ in OPERATING_SYSTEMS if part in lower), None)
    return {"full": name, "name": name, "type": kind}


def _user(written: str | None) -> Fields:
    domain, name = account(written)
    return {"domain": domain, "name": name}


def _file(path: str | None, hashes: dict[str, str]) -> Fields:
    if path is None:
        return {"hash": hashes} if hashes else {}
    directory, name = split_path(path)
    return {"directory": directory, "extension": extension(name), "hash": hashes, "name": name, "path": path}


def _process(written: str | None) -> Fields:
    return process(written)._asdict() if written else {}


def _registry(path: RegistryPath | None) -> Fields:
    return path._asdict() if path else {}


def _url(url: str | None) -> Fields:
    try:
        parts = urlsplit(url or "")
        host, number = parts.hostname, parts.port
    except ValueError:
        return {"original": url}
    if not (parts.scheme and host):
        return {"original": url}
    return {
        "domain": f"[{host}]" if ":" in host else host,
        "extension": extension(parts.path),
        "fragment": parts.fragment,
        "full": url,
        "original": url,
        "path": parts.path,
        "port": number,
        "query": parts.query,
        "scheme": parts.scheme,
    }
