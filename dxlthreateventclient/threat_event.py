"""``TypedDict`` classes that describe a threat event, for editors and type checkers.

The classes describe the messages that ePO is known to send, but the library does not validate messages.
Keys that ePO sends in every event are required, so that type checkers accept
``threat_event["event"]["target"]["hostName"]``. Other senders may omit some of the required keys. Any text
value may be empty or null, and any number may be sent as a string.

Annotate a callback's parameter as follows:

.. code-block:: python

    from dxlthreateventclient.threat_event import ThreatEvent


    class MyCallback(CommonThreatEventCallback):
        def on_threat_event(self, threat_event_dict: ThreatEvent, original_event):
            print(threat_event_dict["event"]["target"]["hostName"])

Use ``cast`` to annotate the plain dictionaries that a stream yields:

.. code-block:: python

    from typing import cast

    with client.threat_events() as events:
        for threat_event, original_event in events:
            typed = cast(ThreatEvent, threat_event)
            print(typed["event"]["target"]["hostName"])

To add a key to the message, follow the instructions in ``constants.py``.
"""

from typing import TypedDict


class _Received(TypedDict, total=False):
    # typing.NotRequired needs Python 3.11.
    _receivedUTC: str | None


class Analyzer(TypedDict):
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


class Entity(TypedDict):
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
    """A file of the event. Either key can be missing."""

    name: str | None
    hash: Hash | None


class Source(TypedDict):
    """The origin of the threat."""

    hostName: str | None
    ipv4: str | None
    ipv6: str | None
    mac: str | None
    port: int | str | None
    processName: str | None
    url: str | None
    userName: str | None


class Target(TypedDict):
    """The target of the threat."""

    fileName: str | None
    hostName: str | None
    ipv4: str | None
    ipv6: str | None
    mac: str | None
    port: int | str | None
    processName: str | None
    protocol: str | None
    userName: str | None


class EpoEvent(_Received):
    """A threat event message's ``event`` object, which may contain ``_receivedUTC``."""

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


class ThreatEvent(_Received):
    """A threat event message. Either the message or its ``event`` object contains ``_receivedUTC``."""

    event: EpoEvent
    eventMessageType: str | None
    eventMessageVersion: str | None
