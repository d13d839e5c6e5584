"""ArcSight's Common Event Format (CEF)."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from dxlthreateventclient.formats._message import VENDOR, Message, is_transport, split_path
from dxlthreateventclient.formats._values import (
    integer,
    ip_address,
    mac_address,
    outcome,
    port,
    text,
    timestamp,
)

_IN_HEADER = str.maketrans({"\\": "\\\\", "|": "\\|", "\n": " ", "\t": " "})
_IN_EXTENSION = str.maketrans({"\\": "\\\\", "=": "\\=", "\n": "\\n", "\t": " "})
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# The two scales run in opposite directions: 1..7 onto 10..0, rounded.
_SEVERITIES = {severity: round((7 - severity) * 10 / 6) for severity in range(1, 8)}
# CEF has no number for an unknown severity: neither an alarm nor silence.
_MEDIUM = 5

# CEF has keys for the IPv4 address of a host only, and custom ones, with these labels, for an IPv6 address.
_HOSTS = {
    "analyzer": ("dvchost", "dvcmac", "dvc", "c6a1", "Device IPv6 Address"),
    "source": ("shost", "smac", "src", "c6a2", "Source IPv6 Address"),
    "target": ("dhost", "dmac", "dst", "c6a3", "Destination IPv6 Address"),
}
_CUSTOM_STRINGS = (
    ("Threat Name", "threatName"),
    ("Threat Type", "threatType"),
    ("Detection Method", "analyzer.detectionMethod"),
    ("Threat Severity", "otherData.threatSeverityString"),
    ("System Tree Path", "entity._nodeTextPath"),
    ("Response Rule", "otherData.responseRuleName"),
)


def to_cef(
    threat_event: Mapping[str, Any],
    *,
    event_id: str | None = None,
    arrived: datetime | None = None,
    max_bytes: int = 7800,  # noqa: ARG001 - the next commit keeps to it
) -> str:
    """Convert a threat event into a line of the Common Event Format, version 0.

    Only the values that CEF's dictionary has a key for are in it, and the custom strings ``cs1`` to ``cs6``.
    Empty values and unresolved placeholders are left out.

    :param threat_event: the threat event, as a callback receives it, however odd; it stays as it is
    :param event_id: the id of the DXL message that carried it (``original_event.message_id``)
    :param arrived: when it arrived: the time of an event that has none
    :param max_bytes: how long the line may be in UTF-8
    :return: one line, without a line end

    >>> to_cef({"event": {"id": 1027, "eventDesc": "File deleted", "threatSeverity": 2}})
    'CEF:0|Trellix|ePolicy Orchestrator||1027|File deleted|8|msg=File deleted externalId=1027'
    """
    message = Message(threat_event)
    number = message.get("id", text)
    description = message.get("eventDesc", text)
    header = (
        VENDOR,
        message.get("analyzer.name", text) or "ePolicy Orchestrator",
        message.get("analyzer.version", text) or "",
        number or "unknown",
        description or message.get("threatName", text) or "Threat event",
        str(_SEVERITIES.get(message.get("threatSeverity", integer) or 0, _MEDIUM)),
    )
    path, hashes = message.take_target_file()
    protocol = message.get("target.protocol", text)
    layer = "proto" if protocol is None or is_transport(protocol) else "app"
    extension = {
        "rt": _milliseconds(
            message.get("analyzer.detectedUTC", timestamp) or message.take_received() or arrived
        ),
        **_host(message, "analyzer"),
        "deviceExternalId": message.take_device_id(),
        **_host(message, "source"),
        "spt": message.get("source.port", port),
        "suser": message.get("source.userName", text),
        "sproc": message.get("source.processName", text),
        **_host(message, "target"),
        "dpt": message.get("target.port", port),
        "duser": message.get("target.userName", text),
        "dproc": message.get("target.processName", text),
        layer: protocol,
        "filePath": path,
        "fname": split_path(path)[1] if path else None,
        "fileHash": hashes.get("sha256") or hashes.get("sha1") or hashes.get("md5"),
        "request": message.get("source.url", text) or message.get("uri", text),
        "act": message.get("threatActionTaken", text),
        "outcome": message.get("threatHandled", outcome),
        "cat": message.get("category", text),
        "msg": description,
        "externalId": event_id or number,
        "cnt": message.get("otherData.count", integer),
        **_custom_strings(message),
    }
    pairs = (
        f"{key}={str(value).translate(_IN_EXTENSION)}"
        for key, value in extension.items()
        if value not in (None, "")
    )
    return "|".join(["CEF:0", *(value.translate(_IN_HEADER) for value in header), " ".join(pairs)])


def _host(message: Message, role: str) -> dict[str, str | None]:
    host_key, mac_key, ipv4_key, ipv6_key, ipv6_label = _HOSTS[role]
    addresses = [message.get(f"{role}.{key}", ip_address) or "" for key in ("ipv4", "ipv6")]
    ipv6 = next((address for address in addresses if ":" in address), None)
    mac = message.get(f"{role}.mac", mac_address)
    return {
        host_key: message.get(f"{role}.hostName", text),
        mac_key: mac and mac.replace("-", ":"),
        ipv4_key: next((address for address in addresses if "." in address), None),
        ipv6_key: ipv6,
        f"{ipv6_key}Label": ipv6 and ipv6_label,
    }


def _custom_strings(message: Message) -> dict[str, str]:
    fields: dict[str, str] = {}
    for number, (label, path) in enumerate(_CUSTOM_STRINGS, start=1):
        value = message.get(path, text)
        if value is not None:
            fields |= {f"cs{number}": value, f"cs{number}Label": label}
    return fields


def _milliseconds(moment: datetime | None) -> int | None:
    return (moment - _EPOCH) // timedelta(milliseconds=1) if moment else None
