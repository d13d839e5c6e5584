"""Creates sample threat events and publishes them as ePO does."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from itertools import cycle
from typing import Any

from dxlclient.client import DxlClient
from dxlclient.exceptions import DxlException
from dxlclient.message import Event

from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC

# A broker accepts messages of up to 1 MiB, including dxlclient's 55-byte envelope.
_MAX_PAYLOAD = 1024 * 1024 - 64


def sample_threat_event(**overrides: Any) -> dict[str, Any]:
    """Return a new, complete and realistic threat event with the current time as its detection time.

    :param overrides: values for keys of the ``event`` object or the top level. A dictionary is merged with
        the existing object. Any other value replaces the existing value.
    :return: the threat event, as a callback would receive it
    :raise TypeError: if a threat event has no key of this name

    >>> event = sample_threat_event(threatName="EICAR test file", target={"hostName": "LAB-7"})["event"]
    >>> event["threatName"], event["target"]["hostName"], event["target"]["processName"]
    ('EICAR test file', 'LAB-7', 'IEXPLORE.EXE')
    """
    threat_event = _buffer_overflow(datetime.now(timezone.utc))
    levels = (threat_event, threat_event["event"])
    for key, value in overrides.items():
        for level in levels:
            if key in level:
                _merge(level, {key: value})
                break
        else:
            raise TypeError(
                f"a threat event has no key {key!r}: use one of the top level ({', '.join(levels[0])})"
                f" or of its event ({', '.join(levels[1])})"
            )
    return threat_event


def _merge(target: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value


def varied_threat_events() -> Iterator[dict[str, Any]]:
    """Yield an endless series of sample events with various threats, hosts and severities."""
    for overrides in cycle(_VARIATIONS):
        yield sample_threat_event(**overrides)


def publish_threat_event(
    dxl_client: DxlClient, threat_event: Mapping[str, Any], topic: str = EPO_THREAT_EVENT_RESPONSE_TOPIC
) -> Event:
    """Publish a threat event as UTF-8-encoded JSON, just as ePO does.

    :param dxl_client: a connected client
    :param threat_event: the threat event
    :param topic: the topic for the event
    :return: the DXL event that was sent, whose ``message_id`` receivers see
    :raise DxlException: if the client is not connected, because the event would be lost
    :raise ValueError: if the threat event is too large for a DXL message (1 MiB), or contains NaN or
        infinity, which JSON cannot represent
    :raise TypeError: if the threat event contains a value that JSON cannot represent
    """
    event = Event(topic)
    event.payload = json.dumps(threat_event, allow_nan=False).encode()
    if len(event.payload) > _MAX_PAYLOAD:
        raise ValueError(
            f"a threat event must have at most {_MAX_PAYLOAD} bytes as JSON, got {len(event.payload)}:"
            " a DXL message holds 1 MiB"
        )
    if not dxl_client.connected:
        raise DxlException("the DXL client is not connected: call connect() before publishing")
    dxl_client.send_event(event)
    return event


def _utc(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _buffer_overflow(detected: datetime) -> dict[str, Any]:
    return {
        "event": {
            "_receivedUTC": _utc(detected),
            "analyzer": {
                "contentVersion": "",
                "detectedUTC": _utc(detected),
                "detectionMethod": "Exploit Prevention",
                "engineVersion": "",
                "hostName": "WS-0117",
                "id": "ENDP_AM_1020",
                "ipv4": "10.0.0.10",
                "ipv6": "0:0:0:0:0:FFFF:0A00:000A",
                "mac": "001122334455",
                "name": "McAfee Endpoint Security",
                "version": "10.5.0",
            },
            "category": "Host intrusion buffer overflow",
            "entity": {
                "_nodeTextPath": "My Organization\\Workstations",
                "groupName": None,
                "id": "11111111-2222-3333-4444-555555555555",
                "osPlatform": "Workstation",
                "osType": "Windows 10",
                "ruleName": None,
                "sessionId": None,
                "type": "device",
            },
            "eventDesc": "Buffer Overflow detected and blocked (GBOP)",
            "files": [],
            "id": 18052,
            "otherData": {
                "count": "1",
                "definedAt": "My Organization",
                "responseEventType": "Threat",
                "responseRuleName": "Send DXL Threat Event",
                "sc_evtFileMd5": "{sc_evtFileMd5}",
                "threatSeverityString": "Critical",
            },
            "source": {
                "hostName": "",
                "ipv4": "10.0.0.10",
                "ipv6": "0:0:0:0:0:FFFF:0A00:000A",
                "mac": "",
                "port": None,
                "processName": "",
                "url": "",
                "userName": "",
            },
            "target": {
                "fileName": "C:\\Program Files\\Internet Explorer\\IEXPLORE.EXE",
                "hostName": "WS-0117",
                "ipv4": "10.0.0.10",
                "ipv6": "0:0:0:0:0:FFFF:0A00:000A",
                "mac": "",
                "port": 0,
                "processName": "IEXPLORE.EXE",
                "protocol": "",
                "userName": "CORP\\alice",
            },
            "threatActionTaken": "blocked",
            "threatHandled": 1,
            "threatName": "ExP:Heap",
            "threatSeverity": 2,
            "threatType": "Exploit Prevention",
            "uri": None,
        },
        "eventMessageType": "McAfee Common Event",
        "eventMessageVersion": "1.0",
    }


def _variation(host: str, ip: str, **overrides: Any) -> dict[str, Any]:
    mapped = "0:0:0:0:0:FFFF:{:02X}{:02X}:{:02X}{:02X}".format(*map(int, ip.split(".")))
    place = {"hostName": host, "ipv4": ip, "ipv6": mapped}
    overrides["analyzer"] = place | overrides.get("analyzer", {})
    overrides["target"] = place | overrides["target"]
    overrides["source"] = {"ipv4": ip, "ipv6": mapped} | overrides.get("source", {})
    return overrides


_VARIATIONS: list[dict[str, Any]] = [
    {},
    _variation(
        "WS-0204",
        "10.0.0.24",
        analyzer={"detectionMethod": "On-Access Scan", "engineVersion": "6010.8670"},
        category="Malware detected",
        eventDesc="Infected file deleted",
        files=[{"name": "eicar.com", "hash": {"MD5": "44d88612fea8a8f36de82e1278abb02f"}}],
        id=1027,
        target={
            "fileName": "C:\\Users\\bob\\Downloads\\eicar.com",
            "processName": "explorer.exe",
            "userName": "CORP\\bob",
        },
        threatActionTaken="IDS_ALERT_ACT_TAK_DEL",
        threatName="EICAR test file",
        threatSeverity=2,
        threatType="test",
    ),
    _variation(
        "SRV-DB-01",
        "10.0.1.5",
        analyzer={"detectionMethod": "Firewall"},
        category="ops.fw.traffic",
        entity={"osPlatform": "Server", "osType": "Windows Server 2019"},
        eventDesc="Connection attempt blocked",
        id=35002,
        otherData={"threatSeverityString": ""},
        source={"hostName": "ATTACKER-VM", "ipv4": "10.0.9.77", "port": 50814},
        target={
            "fileName": "",
            "port": 1433,
            "processName": "sqlservr.exe",
            "protocol": "TCP",
            "userName": "NT AUTHORITY\\SYSTEM",
        },
        threatActionTaken="IDS_THREAT_ACTION_BLOCK",
        threatName="Port scan",
        threatSeverity=5,
        threatType="IDS_FW_THREAT_TYPE_TRAFFIC",
    ),
    _variation(
        "WS-0342",
        "10.0.0.87",
        analyzer={"detectionMethod": "Web Control"},
        category="Web filtering",
        eventDesc="Access to a malicious site was not blocked",
        id=18600,
        otherData={"threatSeverityString": ""},
        source={"url": "http://malware.example/payload"},
        target={"fileName": "", "processName": "chrome.exe", "protocol": "HTTP", "userName": "CORP\\carol"},
        threatActionTaken="none",
        threatHandled=0,
        threatName="Malicious site",
        threatSeverity=4,
        threatType="Web",
    ),
]
