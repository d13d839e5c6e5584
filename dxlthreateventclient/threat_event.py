"""The shape of a threat event as TypedDicts, for editors and type checkers.

Nothing checks a message against them: they say what ePO is known to send. Any text may be empty, null or
missing, and a number may come as a string.

.. code-block:: python

    class MyCallback(CommonThreatEventCallback):
        def on_threat_event(self, threat_event_dict, original_event):
            threat_event = cast(ThreatEvent, threat_event_dict)
            print(threat_event["event"]["threatName"])
"""

from typing import TypedDict


class Analyzer(TypedDict, total=False):
    """The product that detected the threat."""

    contentVersion: str | None
    detectedUTC: str | None
    detectionMethod: str | None
    engineVersion: str | None
    hostName: str | None
    id: str | None
    ipv4: str | None
    ipv6: str | None
    mac: str | None
    name: str | None
    version: str | None


class Entity(TypedDict, total=False):
    """The managed device or user."""

    groupName: str | None
    id: str | None
    osPlatform: str | None
    osType: str | None
    ruleName: str | None
    sessionId: str | None
    type: str | None
    _nodeTextPath: str | None


Hash = TypedDict("Hash", {"MD5": str | None, "SHA-1": str | None, "SHA-256": str | None}, total=False)
"""The digests of a file."""


class File(TypedDict, total=False):
    """A file of the event."""

    name: str | None
    hash: Hash | None


class Source(TypedDict, total=False):
    """Where the threat came from."""

    hostName: str | None
    ipv4: str | None
    ipv6: str | None
    mac: str | None
    port: int | str | None
    processName: str | None
    url: str | None
    userName: str | None


class Target(TypedDict, total=False):
    """What the threat hit."""

    fileName: str | None
    hostName: str | None
    ipv4: str | None
    ipv6: str | None
    mac: str | None
    port: int | str | None
    processName: str | None
    protocol: str | None
    userName: str | None


class EpoEvent(TypedDict, total=False):
    """The ``event`` object."""

    analyzer: Analyzer
    category: str | None
    entity: Entity
    eventDesc: str | None
    files: list[File]
    id: int | str | None
    otherData: dict[str, str]
    source: Source
    target: Target
    threatActionTaken: str | None
    threatHandled: int | str | None
    threatName: str | None
    threatSeverity: int | str | None
    threatType: str | None
    uri: str | None
    _receivedUTC: str | None


class ThreatEvent(TypedDict, total=False):
    """The whole message."""

    event: EpoEvent
    eventMessageType: str | None
    eventMessageVersion: str | None
    _receivedUTC: str | None
