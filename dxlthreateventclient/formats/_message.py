"""A threat event that is read by paths, and remembers what nobody took."""

import ntpath
import posixpath
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from dxlthreateventclient.formats._values import digests, plain, text, timestamp

T = TypeVar("T")
Converter = Callable[[Any], T | None]

VENDOR = "Trellix"
"""Who makes the products that report threats to ePO, by today's name."""

# Layer 4, as opposed to the "HTTP" that ePO also calls a protocol.
_TRANSPORTS = {"tcp", "udp", "icmp", "icmpv6", "ipv6-icmp", "igmp", "sctp", "dccp", "gre", "esp", "ah"}


class Message:
    """A threat event made plain. The paths are relative to its ``event`` object.

    :param threat_event: the threat event, which stays as it is
    """

    rest: dict[str, Any]
    """What has not been taken, in the shape of the message."""

    def __init__(self, threat_event: Mapping[str, Any]) -> None:
        if not isinstance(threat_event, Mapping):
            raise TypeError(f"threat_event must be a mapping, got {type(threat_event).__name__}")
        self.rest = plain(dict(threat_event)) or {}

    def get(self, path: str, convert: Converter[T]) -> T | None:
        """Return the converted value at the path, if there is one that can be converted."""
        parent, key = self._locate(path)
        return convert(parent[key]) if key in parent else None

    def take(self, path: str, convert: Converter[T]) -> T | None:
        """Return what :meth:`get` does, and leave the value out of the rest unless that is ``None``."""
        value = self.get(path, convert)
        if value is not None:
            parent, key = self._locate(path)
            del parent[key]
        return value

    def _locate(self, path: str) -> tuple[dict[str, Any], str]:
        *parents, key = path.split(".")
        node = self.rest.get("event")
        for name in parents:
            node = node.get(name) if isinstance(node, dict) else None
        return (node, key) if isinstance(node, dict) else ({}, key)

    def take_received(self) -> datetime | None:
        """Take the time at which ePO received the event, from either of its two places."""
        received = self.take("_receivedUTC", timestamp)
        if received is None:
            received = timestamp(self.rest.get("_receivedUTC"))
            if received is not None:
                del self.rest["_receivedUTC"]
        return received

    def take_device_id(self) -> str | None:
        """Take the id of the managed entity, unless that is a user."""
        is_user = (self.get("entity.type", text) or "").lower() == "user"
        return None if is_user else self.take("entity.id", text)

    def files(self) -> list[Any]:
        """Return the objects in ``files``."""
        return self.get("files", lambda files: files if isinstance(files, list) else None) or []

    def take_target_file(self) -> tuple[str | None, dict[str, str]]:
        """Take the path of the target's file, and read its digests from ``files``.

        Without a path the first of ``files`` is the target's; with one, the first that has no other name.
        """
        path = self.take("target.fileName", text)
        for file in self.files():
            name = text(file.get("name")) if isinstance(file, dict) else None
            if path is None:
                if name is not None or digests(file):
                    return name, digests(file)
            elif digests(file) and (name or path).lower() in (path.lower(), split_path(path)[1].lower()):
                return path, digests(file)
        return path, {}


def split_path(path: str) -> tuple[str, str]:
    """Split the path of a file, of Windows or POSIX, into its directory and its name."""
    return posixpath.split(path) if path.startswith("/") else ntpath.split(path)


def is_transport(protocol: str) -> bool:
    """Tell whether a protocol is one of the transport layer."""
    return protocol.lower() in _TRANSPORTS
