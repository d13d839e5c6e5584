"""All exceptions that this package defines."""

import reprlib
from typing import Any

_SHOWN = 40


class ThreatEventDecodeError(ValueError):
    """Raised when a payload cannot be decoded as a JSON object in UTF-8.

    The message states the reason and shows the payload's size in bytes and its first bytes.
    """

    reason: str
    """The reason why the payload cannot be decoded."""

    payload: Any
    """The original payload: normally ``bytes``, but a DXL message can carry any MessagePack value."""

    def __init__(self, reason: str, payload: Any) -> None:
        super().__init__(reason, payload)
        self.reason = reason
        self.payload = payload

    def __str__(self) -> str:
        if not isinstance(self.payload, bytes):
            return f"{self.reason}: {reprlib.repr(self.payload)}"
        ellipsis = "..." if len(self.payload) > _SHOWN else ""
        return f"{self.reason} (payload of {len(self.payload)} bytes: {self.payload[:_SHOWN]!r}{ellipsis})"


class ConfigurationError(ValueError):
    """Raised when a configuration file cannot be used for a DXL client. The message explains the fix."""


class BrokerConnectionError(ConnectionError):
    """Raised when no broker can be used. The message states the cause and the remedy.

    :param reason: the cause and the remedy, in one line
    :param is_final: True if retrying cannot help until something is changed
    """

    reason: str
    """The cause and the remedy."""

    is_final: bool
    """True if retrying cannot help until a certificate, a file or the broker's settings are changed."""

    def __init__(self, reason: str, is_final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_final = is_final
