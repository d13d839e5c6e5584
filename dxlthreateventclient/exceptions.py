"""Every exception that this package raises on its own account."""

import reprlib
from typing import Any

_SHOWN = 40


class ThreatEventDecodeError(ValueError):
    """Raised when a payload is not a threat event: it is not a JSON object in UTF-8.

    Its message names the reason, the size of the payload in bytes, and its first bytes.
    """

    reason: str
    """What is wrong with the payload."""

    payload: Any
    """The payload as it came: normally ``bytes``, but a DXL message can carry any MessagePack value."""

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
    """Raised when a DXL client cannot be made from a configuration file. Its message says what to fix."""


class BrokerConnectionError(ConnectionError):
    """Raised when no broker can be used. Its message says what is wrong, and what to do.

    :param reason: both, in one line
    :param is_final: whether trying again is of no use until someone changes something
    """

    reason: str
    """What is wrong, and what to do."""

    is_final: bool
    """Whether trying again is of no use: a certificate, a file or the broker's settings must change first."""

    def __init__(self, reason: str, is_final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_final = is_final
