"""The Open Cybersecurity Schema Framework (OCSF)."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from dxlthreateventclient.formats._message import PRODUCT, VENDOR, Fields, Message, take, take_addresses
from dxlthreateventclient.formats._names import account, process, split_path
from dxlthreateventclient.formats._reading import Reading
from dxlthreateventclient.formats._values import (
    action_word,
    integer,
    literal,
    mac_address,
    milliseconds,
    name_of,
    port,
    text,
    timestamp,
    without_empty,
)
from dxlthreateventclient.formats._vocabulary import OPERATING_SYSTEMS, TRANSPORTS
from dxlthreateventclient.formats._words import Outcome

OCSF_VERSION = "1.5.0"
"""The OCSF version of the Detection Finding from :func:`to_ocsf`."""

# The OCSF schema's captions for the severity numbers.
_SEVERITIES = ("Unknown", "Informational", "Low", "Medium", "High", "Critical")
# Use ePO's word for an outcome that has no number in the OCSF schema.
_OUTCOMES: dict[Outcome, tuple[int, str | None, int, str | None]] = {
    "blocked": (2, "Denied", 2, "Blocked"),
    "deleted": (2, "Denied", 5, "Deleted"),
    "cleaned": (4, "Modified", 11, "Corrected"),
    "quarantined": (2, "Denied", 3, "Quarantined"),
    "contained": (2, "Denied", 4, "Isolated"),
    "allowed": (1, "Allowed", 1, "Allowed"),
    "would_block": (3, "Observed", 15, "Detected"),
    "failed": (0, "Unknown", 13, "Uncorrected"),
    "detected_only": (3, "Observed", 15, "Detected"),
    "pending": (4, "Modified", 14, "Delayed"),
    "none": (3, "Observed", 16, "No Action"),
    "unknown": (99, None, 99, None),
}
_ALGORITHMS = {"md5": (1, "MD5"), "sha1": (2, "SHA-1"), "sha256": (3, "SHA-256")}
_SYSTEMS = {0: "Unknown", 100: "Windows", 200: "Linux", 300: "macOS"}
_OBSERVABLES = {
    1: "Hostname",
    2: "IP Address",
    3: "MAC Address",
    4: "User Name",
    6: "URL String",
    7: "File Name",
    8: "Hash",
    45: "File Path",
    46: "Registry Key Path",
}
_OBSERVED_EVIDENCE = (
    (4, "actor.user.name"),
    (4, "user.name"),
    (6, "url.url_string"),
    (7, "file.name"),
    (45, "file.path"),
    (46, "reg_key.path"),
    (46, "reg_value.path"),
)
_RELATED = {"hosts": 1, "ip": 2, "user": 4}


def to_ocsf(
    threat_event: Mapping[str, Any], *, event_id: str | None = None, arrived: datetime | None = None
) -> dict[str, Any]:
    """Convert a threat event into an OCSF 1.5.0 Detection Finding with the Security Control profile.

    A value that has the wrong type or no OCSF attribute appears under ``unmapped``, at the same path as in
    the threat event. Empty values and unresolved placeholders are omitted.

    :param threat_event: the threat event, as a callback receives it, with any content. It is not modified.
    :param event_id: the ID of the DXL message that carried the event (``original_event.message_id``). By
        default, the finding's ``uid`` is a digest of the threat event.
    :param arrived: the time of arrival, used if the event has no time. The default is the current time,
        because OCSF requires a time. A naive time is local time.
    :return: the finding: nested dictionaries of values that JSON can represent in UTF-8
    :raise TypeError: if the threat event is not a mapping

    >>> finding = to_ocsf({"event": {"eventDesc": "File deleted", "threatSeverity": 2}})
    >>> finding["class_name"], finding["message"], finding["severity"]
    ('Detection Finding', 'File deleted', 'Critical')
    """
    message = Message(threat_event, event_id, arrived)
    event, analyzer = message.event, message.analyzer
    uid = message.id or _fingerprint(message.rest)
    # Read the outcome and the severity first, because the code below removes their fields.
    reading, severity = message.reading(), message.severity().ocsf
    is_firewall = reading.kind == "firewall"

    received, detected = message.take_received(), timestamp(analyzer.get("detectedUTC"))
    moment = detected or received or message.arrived or datetime.now(timezone.utc)
    description = take(event, "eventDesc", text) or reading.meaning
    rule = _take_rule(message, is_firewall=is_firewall)
    device, evidence = _device(message), _evidence(message)
    finding: Fields = {
        **_action(reading, action_word(event.get("threatActionTaken"))),
        "activity_id": 1,
        "activity_name": "Create",
        "category_name": "Findings",
        "category_uid": 2,
        "class_name": "Detection Finding",
        "class_uid": 2004,
        "count": _count(message),
        "device": device,
        "evidences": [evidence] if evidence else None,
        "finding_info": {
            "analytic": {"name": rule, "type": "Rule", "type_id": 1} if rule and not is_firewall else None,
            "title": description or text(event.get("threatName")) or rule,
            "types": [
                word for key in ("category", "threatType") if (word := take(event, key, text)) is not None
            ],
            "uid": uid,
        },
        "firewall_rule": {"name": rule if is_firewall else None},
        # Traffic that a firewall allowed is no alert, but an intrusion is.
        "is_alert": not reading.is_operational
        and not (
            is_firewall and reading.outcome == "allowed" and "intrusion_detection" not in reading.categories
        ),
        "message": description,
        "metadata": {
            "event_code": message.take_number(),
            "log_name": _take_first(message.rest, "eventMessageType", "eventMsgType"),
            "log_version": _take_first(message.rest, "eventMessageVersion", "eventMsgVersion"),
            "logged_time": milliseconds(received),
            "original_time": take(analyzer, "detectedUTC", literal) if detected else None,
            "product": {
                "feature": {"name": take(analyzer, "detectionMethod", text)},
                "name": take(analyzer, "name", text) or PRODUCT,
                "uid": take(analyzer, "id", text),
                "vendor_name": VENDOR,
                "version": take(analyzer, "version", text),
            },
            "profiles": ["security_control"],
            "uid": message.id,
            "version": OCSF_VERSION,
        },
        "resources": _resources(message),
        "severity": _SEVERITIES[severity],
        "severity_id": severity,
        "time": milliseconds(moment),
        "type_name": "Detection Finding: Create",
        "type_uid": 200401,
    }
    return without_empty(
        finding | {"observables": _observables(message, device, evidence), "unmapped": message.rest}
    )


def _fingerprint(rest: Fields) -> str:
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _action(reading: Reading, word: str | None) -> Fields:
    if reading.outcome == "unknown" and word is None:
        return {}
    action_id, action, disposition_id, disposition = _OUTCOMES[reading.outcome]
    return {
        "action": action or word,
        "action_id": action_id,
        "disposition": disposition or word,
        "disposition_id": disposition_id,
    }


def _take_rule(message: Message, *, is_firewall: bool) -> str | None:
    if is_firewall:
        return take(message.entity, "ruleName", text) or take(message.event, "threatName", text)
    return take(message.event, "threatName", text) or take(message.entity, "ruleName", text)


def _take_first(fields: Fields, *keys: str) -> str | None:
    return next((value for key in keys if (value := take(fields, key, text))), None)


def _count(message: Message) -> int | None:
    count = integer(message.other.get("count"))
    return count if count and count > 0 else None


def _device(message: Message) -> Fields:
    """Return the managed device that the analyzer runs on, if it has a name, an address or an ID."""
    analyzer, entity = message.analyzer, message.entity
    named: Fields = _host(analyzer) | {"uid": message.take_device_id()}
    if not any(named.values()):
        return {}
    platform = take(entity, "osPlatform", text)
    type_id = 0 if platform is None else 1 if platform.lower() == "server" else 99
    return named | {
        "groups": [{"name": group}] if (group := take(entity, "groupName", text)) else None,
        "mac": take(analyzer, "mac", mac_address),
        "os": _operating_system(take(entity, "osType", text)),
        "type": {0: "Unknown", 1: "Server"}.get(type_id, platform),
        "type_id": type_id,
    }


def _operating_system(name: str | None) -> Fields:
    if name is None:
        return {}
    lower = name.lower()
    type_id = next((type_id for part, _, type_id in OPERATING_SYSTEMS if part in lower), 0)
    return {"name": name, "type": _SYSTEMS[type_id], "type_id": type_id}


def _host(role: Fields) -> Fields:
    addresses = take_addresses(role, room=1)
    return {"hostname": take(role, "hostName", text), "ip": addresses[0] if addresses else None}


def _endpoint(role: Fields) -> Fields:
    """Return the source or the target as an endpoint, if it has a name or an address."""
    named = _host(role)
    if not any(named.values()):
        return {}
    return named | {"mac": take(role, "mac", mac_address), "port": take(role, "port", port)}


def _evidence(message: Message) -> Fields:
    source, target = message.source, message.target
    program, protocol = name_of(source.get("processName")), (text(target.get("protocol")) or "").lower()
    # OCSF does not allow a process without an ID, so report the source's process as an application.
    app_name = process(program).name if program else None
    if protocol in TRANSPORTS:
        del target["protocol"]
    return without_empty(
        {
            "actor": {"app_name": app_name, "user": _take_user(source)},
            "connection_info": {"direction": "Unknown", "direction_id": 0, "protocol_name": protocol}
            if protocol in TRANSPORTS
            else None,
            "dst_endpoint": _endpoint(target),
            **_take_object(message),
            "src_endpoint": _endpoint(source),
            "url": {"url_string": take(source, "url", text) or take(message.event, "uri", text)},
            "user": _take_user(target),
        }
    )


def _take_object(message: Message) -> Fields:
    """Return the target's file or registry key."""
    registry, (path, hashes) = message.registry(), message.file()
    if registry:
        take(message.target, "fileName", text)
        if registry.value:
            return {"reg_value": {"name": registry.value, "path": registry.key_path}}
        return {"reg_key": {"path": registry.path}}
    name = split_path(path)[1] if path else ""
    if not name:
        return {}
    take(message.target, "fileName", name_of)
    fingerprints = [
        {"algorithm": _ALGORITHMS[name][1], "algorithm_id": _ALGORITHMS[name][0], "value": value}
        for name, value in hashes.items()
    ]
    return {
        "file": {"hashes": fingerprints, "name": name, "path": path, "type": "Regular File", "type_id": 1}
    }


def _take_user(role: Fields) -> Fields:
    domain, name = account(take(role, "userName", text))
    return {"domain": domain, "name": name}


def _resources(message: Message) -> list[Fields] | None:
    program = name_of(message.target.get("processName"))
    return [{"name": process(program).name, "type": "Process"}] if program else None


def _observables(message: Message, device: Fields, evidence: Fields) -> list[Fields]:
    """Return frequently searched values with their paths, without duplicates."""
    found: dict[tuple[int, str], str] = {}

    def observe(type_id: int, value: str | None, name: str) -> None:
        if value:
            found.setdefault((type_id, value), name)

    for name, fields in {
        "device": device,
        "evidences[0].src_endpoint": evidence.get("src_endpoint", {}),
        "evidences[0].dst_endpoint": evidence.get("dst_endpoint", {}),
    }.items():
        for type_id, key in (1, "hostname"), (2, "ip"), (3, "mac"):
            observe(type_id, fields.get(key), f"{name}.{key}")
    for type_id, name in _OBSERVED_EVIDENCE:
        value: Any = evidence
        for key in name.split("."):
            value = value.get(key) if value else None
        observe(type_id, value, f"evidences[0].{name}")
    for number, fingerprint in enumerate(evidence.get("file", {}).get("hashes", ())):
        observe(8, fingerprint["value"], f"evidences[0].file.hashes[{number}].value")
    for path, digest in message.digests():
        observe(8, digest, f"unmapped.event.{path}")
    for kind, path, value in message.aggregates():
        observe(_RELATED[kind], value, f"unmapped.event.{path}")
    return [
        {"name": name, "type": _OBSERVABLES[type_id], "type_id": type_id, "value": value}
        for (type_id, value), name in found.items()
    ]
