"""ArcSight's Common Event Format (CEF)."""

from bisect import bisect_right
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dxlthreateventclient.formats._message import PRODUCT, VENDOR, Fields, Message, take_addresses
from dxlthreateventclient.formats._names import account, split_path
from dxlthreateventclient.formats._reading import Reading
from dxlthreateventclient.formats._values import (
    ELLIPSIS,
    action_word,
    integer,
    mac_address,
    milliseconds,
    name_of,
    outcome,
    port,
    text,
    timestamp,
)
from dxlthreateventclient.formats._vocabulary import TRANSPORTS

# The CEF dictionary's maximum lengths for values that may be truncated.
_LENGTHS = {
    "product": 63,
    "version": 31,
    "name": 512,
    **dict.fromkeys(("app", "proto"), 31),
    "act": 63,
    "dvchost": 100,
    **dict.fromkeys(("cat", "msg", "request", "filePath", "fname", "flexString1"), 1023),
    **dict.fromkeys(("shost", "suser", "sproc", "dhost", "duser", "dproc"), 1023),
    **dict.fromkeys(("cs1", "cs2", "cs3", "cs4", "cs5", "cs6"), 4000),
}
_LONGEST = 4000
# A truncated ID is useless, so IDs that are too long are omitted.
_LONGEST_ID = {"class": 1023, "deviceExternalId": 255, "externalId": 40}

# CEF has a key for a host's IPv4 address, but only a labeled custom key for its IPv6 address.
_ANALYZER = ("dvchost", "dvcmac", "dvc", "c6a1")
_SOURCE = ("shost", "smac", "src", "c6a2")
_TARGET = ("dhost", "dmac", "dst", "c6a3")
_LABELS = {
    "c6a1": "Device IPv6 Address",
    "c6a2": "Source IPv6 Address",
    "c6a3": "Destination IPv6 Address",
    "cs1": "Threat Name",
    "cs2": "Threat Type",
    "cs3": "Detection Method",
    "cs4": "Threat Severity",
    "cs5": "System Tree Path",
    "cs6": "Response Rule",
    "flexString1": "Registry Path",
}


def to_cef(
    threat_event: Mapping[str, Any],
    *,
    event_id: str | None = None,
    arrived: datetime | None = None,
    max_bytes: int = 7800,
) -> str:
    """Convert a threat event into a line of Common Event Format (CEF) version 0.

    The line contains every value that has a key in the CEF dictionary. Some other values appear in labeled
    custom fields. Empty values and unresolved placeholders are omitted. Values are truncated to the maximum
    lengths in the CEF dictionary. If the line is still too long, the longest values are truncated to a common
    length. A truncated value ends in ``…``.

    :param threat_event: the threat event, as a callback receives it, with any content. It is not modified.
    :param event_id: the ID of the DXL message that carried the event (``original_event.message_id``)
    :param arrived: the time of arrival, used if the event has no time. A naive time is local time.
    :param max_bytes: the maximum length of the line, in bytes of UTF-8. Addresses, numbers, IDs and digests
        are never truncated, so a line with long IDs may exceed a limit below 6,500.
    :return: one line, without a line end
    :raise TypeError: if the threat event is not a mapping

    >>> to_cef({"event": {"id": 1027, "eventDesc": "File deleted", "threatSeverity": 2}})
    'CEF:0|Trellix|ePolicy Orchestrator|unknown|1027|File deleted|9|msg=File deleted'
    """
    message = Message(threat_event, event_id, arrived)
    reading = message.reading()
    header, extension = _header(message, reading), _extension(message, reading)
    line = _line(header, extension, _LONGEST)
    if len(line.encode()) > max_bytes:
        lengths = range(1, _LONGEST)
        fitting = bisect_right(
            lengths, max_bytes, key=lambda longest: len(_line(header, extension, longest).encode())
        )
        line = _line(header, extension, max(1, fitting))
    return line


def _line(header: dict[str, str], extension: dict[str, str], longest: int) -> str:
    """Return the line. Truncate values to ``longest`` characters if their keys permit truncation."""
    fields = [
        _cut(key, value, longest)
        .replace("\\", "\\\\")
        .replace("|", "\\|")
        .replace("\n", " ")
        .replace("\t", " ")
        for key, value in header.items()
    ]
    pairs = []
    for key, raw in extension.items():
        value = _cut(key, raw, longest)
        value = value.replace("\\", "\\\\").replace("=", "\\=").replace("\n", "\\n").replace("\t", " ")
        pairs.append(f"{key}={value}")
        if key in _LABELS:
            pairs.append(f"{key}Label={_LABELS[key]}")
    return "|".join(["CEF:0", *fields, " ".join(pairs)])


def _cut(key: str, value: str, longest: int) -> str:
    length = _LENGTHS.get(key)
    if length is None or len(value) <= length <= longest:
        return value
    length = min(length, longest)
    return value if len(value) <= length else value[: length - 1] + ELLIPSIS


def _header(message: Message, reading: Reading) -> dict[str, str]:
    event, analyzer = message.event, message.analyzer
    number = _id("class", text(event.get("id")) or text(event.get("eventId")))
    # Parsers reject a header with empty fields.
    return {
        "vendor": VENDOR,
        "product": text(analyzer.get("name")) or PRODUCT,
        "version": text(analyzer.get("version")) or "unknown",
        "class": number or "unknown",
        "name": text(event.get("eventDesc"))
        or reading.meaning
        or text(event.get("threatName"))
        or "Threat event",
        "severity": str(message.severity().cef),
    }


def _extension(message: Message, reading: Reading) -> dict[str, str]:
    event, entity, source, target = message.event, message.entity, message.source, message.target
    analyzer, other = message.analyzer, message.other
    registry, (path, hashes) = message.registry(), message.file()
    path = None if registry else path
    protocol = text(target.get("protocol"))
    layer = "app" if protocol and protocol.lower() not in TRANSPORTS else "proto"
    moment = timestamp(analyzer.get("detectedUTC")) or message.take_received() or message.arrived
    extension = {
        "rt": milliseconds(moment),
        **_host(analyzer, *_ANALYZER),
        "deviceExternalId": _id("deviceExternalId", message.take_device_id()),
        **_host(source, *_SOURCE),
        "spt": port(source.get("port")),
        "suser": _user(source),
        "sproc": name_of(source.get("processName")),
        **_host(target, *_TARGET),
        "dpt": port(target.get("port")),
        "duser": _user(target),
        "dproc": name_of(target.get("processName")),
        layer: protocol,
        "filePath": path,
        "fname": split_path(path)[1] if path else None,
        "fileHash": hashes.get("sha256") or hashes.get("sha1") or hashes.get("md5"),
        "request": text(source.get("url")) or text(event.get("uri")),
        "act": action_word(event.get("threatActionTaken")),
        "outcome": "failure" if reading.outcome == "failed" else outcome(event.get("threatHandled")),
        "cat": text(event.get("category")),
        "msg": text(event.get("eventDesc")) or reading.meaning,
        "externalId": _id("externalId", message.id),
        "cnt": integer(other.get("count")),
        "cs1": text(event.get("threatName")),
        "cs2": text(event.get("threatType")),
        "cs3": text(analyzer.get("detectionMethod")),
        "cs4": text(other.get("threatSeverityString")),
        "cs5": text(entity.get("_nodeTextPath")) or text(entity.get("nodeTextPath")),
        "cs6": text(other.get("responseRuleName")),
        "flexString1": registry and registry.path,
    }
    return {key: str(value) for key, value in extension.items() if value is not None and value != ""}


def _id(key: str, value: str | None) -> str | None:
    return value if value and len(value) <= _LONGEST_ID[key] else None


def _user(role: Fields) -> str | None:
    domain, name = account(text(role.get("userName")))
    return f"{domain}\\{name}" if domain else name


def _host(role: Fields, host_key: str, mac_key: str, ipv4_key: str, ipv6_key: str) -> Fields:
    addresses = take_addresses(role, room=2)
    mac = mac_address(role.get("mac"))
    return {
        host_key: text(role.get("hostName")),
        mac_key: mac and mac.replace("-", ":"),
        ipv4_key: next((address for address in addresses if ":" not in address), None),
        ipv6_key: next((address for address in addresses if ":" in address), None),
    }
