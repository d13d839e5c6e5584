"""Elastic Common Schema (ECS)."""

import ntpath
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from dxlthreateventclient.formats._categories import categories_and_types
from dxlthreateventclient.formats._message import VENDOR, Message, is_transport, split_path
from dxlthreateventclient.formats._values import (
    digests,
    integer,
    ip_address,
    mac_address,
    outcome,
    port,
    text,
    timestamp,
)

ECS_VERSION = "9.4.0"
"""The version of ECS whose fields :func:`to_ecs` fills."""

NAMESPACE = "epo"
"""The field, none of ECS, under which :func:`to_ecs` keeps what ECS has no field for."""

_ELASTIC_SEVERITIES = {1: 99, 2: 99, 3: 73, 4: 47, 5: 21, 6: 21, 7: 21}

_OPERATING_SYSTEMS = (
    ("windows", re.compile("windows", re.IGNORECASE)),
    ("macos", re.compile(r"\bmac ?os|\bos ?x\b", re.IGNORECASE)),
    ("linux", re.compile("linux|ubuntu|debian|centos|red hat|suse", re.IGNORECASE)),
)


def to_ecs(
    threat_event: Mapping[str, Any],
    *,
    event_id: str | None = None,
    arrived: datetime | None = None,
    severity: Literal["epo", "elastic"] = "epo",
) -> dict[str, Any]:
    r"""Convert a threat event into a document of the Elastic Common Schema.

    What ECS has no field for, and what is not of the type of its field, is kept under ``epo``, in the shape
    of the threat event. Empty values and unresolved placeholders are left out.

    :param threat_event: the threat event, as a callback receives it, however odd; it stays as it is
    :param event_id: the id of the DXL message that carried it (``original_event.message_id``)
    :param arrived: when it arrived: the time of an event that has none
    :param severity: the scale of ``event.severity``: ePO's, or the one that Elastic's own rules expect
    :return: the document: nested dictionaries of what JSON can express in UTF-8

    >>> document = to_ecs({"event": {"id": 1027, "target": {"userName": "CORP\\bob"}}})
    >>> document["event"]["code"], document["user"]["target"]
    ('1027', {'domain': 'CORP', 'name': 'bob'})
    """
    message = Message(threat_event)
    # These two read values that are taken below.
    categories, types = categories_and_types(message)
    related = _related(message)

    received = message.take_received()
    hostname = message.take("analyzer.hostName", text)
    addresses = _distinct(message.take(f"analyzer.{key}", ip_address) for key in ("ipv4", "ipv6"))
    macs = _distinct([message.take("analyzer.mac", mac_address)])
    threat_name = message.take("threatName", text)
    source_hostname = message.take("source.hostName", text)
    target_hostname = message.take("target.hostName", text)
    file = _file(*message.take_target_file())
    document = {
        "@timestamp": _date(message.take("analyzer.detectedUTC", timestamp) or received or arrived),
        "destination": _endpoint(message, "target") | {"domain": target_hostname},
        "ecs": {"version": ECS_VERSION},
        "event": {
            "action": message.take("threatActionTaken", text),
            "category": categories,
            "code": message.take("id", text),
            "created": _date(received or arrived),
            "id": event_id,
            "kind": "alert",
            "outcome": message.take("threatHandled", outcome),
            "provider": message.take("analyzer.detectionMethod", text),
            "reason": threat_name,
            "severity": message.take("threatSeverity", integer)
            if severity == "epo"
            else _ELASTIC_SEVERITIES.get(message.get("threatSeverity", integer) or 0),
            "type": types,
        },
        "file": file,
        # The analyzer runs on the managed device, so that the two are one host.
        "host": {
            "hostname": hostname,
            "id": message.take_device_id(),
            "ip": addresses,
            "mac": macs,
            "name": hostname,
            "os": _operating_system(message.take("entity.osType", text)),
            "target": {"hostname": target_hostname},
            "type": message.take("entity.osPlatform", text),
        },
        "message": message.take("eventDesc", text),
        "network": _network(message.take("target.protocol", text)),
        "observer": {
            "hostname": hostname,
            "ip": addresses,
            "mac": macs,
            "product": message.take("analyzer.name", text),
            "vendor": VENDOR,
            "version": message.take("analyzer.version", text),
        },
        # ECS has a user.target, but no process.target: the target's process stays in the rest, which tells
        # whose process this is.
        "process": _process(
            message.take("source.processName", text) or message.get("target.processName", text)
        ),
        "related": related,
        "rule": {"name": message.take("entity.ruleName", text) or threat_name},
        "source": _endpoint(message, "source") | {"domain": source_hostname},
        "threat": {"indicator": {"file": {key: file.get(key) for key in ("directory", "name", "path")}}},
        "url": _url(message.take("source.url", text) or message.take("uri", text)),
        "user": _user(message.take("source.userName", text))
        | {"target": _user(message.take("target.userName", text))},
        NAMESPACE: message.rest,
    }
    return _without_empty(document)


def _related(message: Message) -> dict[str, list[str]]:
    roles = ("analyzer", "source", "target")
    users = (_user(message.get(f"{role}.userName", text)) for role in ("source", "target"))
    return {
        "hash": _distinct(digest for file in message.files() for digest in digests(file).values()),
        "hosts": _distinct(message.get(f"{role}.hostName", text) for role in roles),
        "ip": _distinct(
            message.get(f"{role}.{key}", ip_address) for role in roles for key in ("ipv4", "ipv6")
        ),
        "user": _distinct(user.get("name") for user in users),
    }


def _endpoint(message: Message, role: str) -> dict[str, Any]:
    return {
        # There is room for one: the IPv6 address beside an IPv4 one stays in the rest.
        "ip": message.take(f"{role}.ipv4", ip_address) or message.take(f"{role}.ipv6", ip_address),
        "mac": message.take(f"{role}.mac", mac_address),
        "port": message.take(f"{role}.port", port),
    }


def _network(protocol: str | None) -> dict[str, str]:
    if protocol is None:
        return {}
    return {"transport" if is_transport(protocol) else "protocol": protocol.lower()}


def _operating_system(name: str | None) -> dict[str, str | None]:
    if name is None:
        return {}
    kinds = (kind for kind, pattern in _OPERATING_SYSTEMS if pattern.search(name))
    return {"full": name, "name": name, "type": next(kinds, None)}


def _user(account: str | None) -> dict[str, str]:
    domain, _, name = (account or "").partition("\\")
    if domain and name:
        return {"domain": domain, "name": name}
    return {"name": account} if account else {}


def _file(path: str | None, hashes: dict[str, str]) -> dict[str, Any]:
    directory, name = split_path(path or "")
    extension = ntpath.splitext(name)[1].removeprefix(".")
    return {"directory": directory, "extension": extension, "hash": hashes, "name": name, "path": path}


def _process(name: str | None) -> dict[str, str]:
    if name is None:
        return {}
    is_path = name.startswith("/") or ntpath.splitdrive(name)[0]
    return {"executable": name, "name": split_path(name)[1]} if is_path else {"name": name}


def _url(url: str | None) -> dict[str, Any]:
    try:
        parts = urlsplit(url or "")
        host, number = parts.hostname, parts.port
    except ValueError:
        return {"original": url}
    if not (parts.scheme and host):
        return {"original": url}
    return {
        "domain": f"[{host}]" if ":" in host else host,
        "extension": ntpath.splitext(parts.path)[1].removeprefix("."),
        "fragment": parts.fragment,
        "full": url,
        "original": url,
        "path": parts.path,
        "port": number,
        "query": parts.query,
        "scheme": parts.scheme,
    }


def _date(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def _distinct(values: Iterable[str | None]) -> list[str]:
    return [value for value in dict.fromkeys(values) if value is not None]


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    copies = {
        key: _without_empty(value) if isinstance(value, dict) else value for key, value in fields.items()
    }
    return {key: copy for key, copy in copies.items() if copy not in (None, "", [], {})}
