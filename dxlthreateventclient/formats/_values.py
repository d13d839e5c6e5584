"""From any value that JSON can hold to the values that SIEMs accept.

The converters return ``None`` for what they cannot convert, and never raise.
"""

import ipaddress
import math
import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

# Elasticsearch's "flattened" type, which suits the custom namespace, refuses a deeper object by default; a
# threat event has 4 levels.
MAX_DEPTH = 20
ELLIPSIS = "…"

# What could steer a terminal, end a line, or show text in another order than it is in: the control characters
# except for the tab and the new line, the line separators, the directional marks. And lone surrogates, which
# UTF-8 cannot express.
_HARMFUL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_TIMESTAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d+))? ?(?:Z|(?:([+-])(\d\d):?(\d\d)))?",
    re.ASCII | re.IGNORECASE,
)
_MAC = re.compile(r"(?:[0-9A-F]{2}[:-]?){5}[0-9A-F]{2}", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_OUTCOMES = {"1": "success", "true": "success", "0": "failure", "false": "failure"}
_DIGESTS = {
    "MD5": ("md5", re.compile(r"[0-9a-f]{32}")),
    "SHA-1": ("sha1", re.compile(r"[0-9a-f]{40}")),
    "SHA-256": ("sha256", re.compile(r"[0-9a-f]{64}")),
}


def harmless(text: str) -> str:
    """Return the text with U+FFFD for each character that does harm, and every line end as a new line."""
    return _HARMFUL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n").replace("\r", "\n"))


def plain(value: Any, key: str = "", depth: int = 0) -> Any:
    """Return a copy of the value that JSON can express in UTF-8, without what says nothing.

    :param value: the value: from JSON, or with the sets and numbered dictionaries of converted aggregates
    :param key: the key that it stands under, whose name in braces is ePO's unresolved placeholder
    :param depth: how deep in the message it stands
    :return: the copy; ``None`` if the value is empty or unresolved, or holds nothing but such values
    """
    copy: Any
    match value:
        case str():
            text = harmless(value.strip())
            copy = None if text == f"{{{key}}}" else text
        case None | bool():
            copy = value
        case int():
            copy = value if _is_long(value) else str(value)
        case float():
            copy = value if math.isfinite(value) else None
        case dict() | list() | set() if depth == MAX_DEPTH:
            copy = ELLIPSIS if value else None
        case dict():
            # The values of an aggregate have numbers for keys: its own key is the one of the placeholder.
            items = (
                (harmless(str(name)), plain(item, name if isinstance(name, str) else key, depth + 1))
                for name, item in value.items()
            )
            copy = {name: item for name, item in items if item is not None}
        case list():
            copy = _plain_items(value, key, depth)
        case set():
            copy = sorted(_plain_items(value, key, depth), key=str)
        case _:
            copy = harmless(str(value))
    return None if copy in ("", {}, []) else copy


def _plain_items(items: Iterable[Any], key: str, depth: int) -> list[Any]:
    return [copy for copy in (plain(item, key, depth + 1) for item in items) if copy is not None]


def _is_long(number: int) -> bool:
    return -(2**63) <= number < 2**63


def text(value: Any) -> str | None:
    """Return a text or a number as text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None


def integer(value: Any) -> int | None:
    """Return a whole number, which may come as text, if 64 bits hold it."""
    digits = text(value)
    number = int(digits) if digits and _INTEGER.fullmatch(digits) else None
    return number if number is not None and _is_long(number) else None


def port(value: Any) -> int | None:
    """Return a port. 0 is none: ePO sends it where no connection is involved."""
    number = integer(value)
    return number if number is not None and 0 < number < 2**16 else None


def outcome(value: Any) -> str | None:
    """Return the outcome of an event by its ``threatHandled``, which is null where no threat is involved."""
    return _OUTCOMES.get(str(value).lower())


def ip_address(value: Any) -> str | None:
    """Return an IP address in its usual notation: an IPv4-mapped one as that IPv4, and without a zone."""
    if not isinstance(value, str):
        return None  # a number would be an address to the ipaddress module
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address).partition("%")[0]


def mac_address(value: Any) -> str | None:
    """Return a MAC address as ``00-AA-BB-CC-DD-EE``."""
    address = text(value)
    if address is None or not _MAC.fullmatch(address):
        return None
    digits = re.sub("[:-]", "", address).upper()
    return "-".join(digits[start : start + 2] for start in range(0, 12, 2))


def timestamp(value: Any) -> datetime | None:
    """Return an ISO 8601 time. Without a zone it is UTC, as the names of ePO's fields say."""
    match = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    date, time, fraction, sign, hours, minutes = match.groups()
    try:
        moment = datetime.fromisoformat(f"{date}T{time}.{(fraction or '')[:6]:0<6}+00:00")
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        return (moment + offset if sign == "-" else moment - offset).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def digests(file: Any) -> dict[str, str]:
    """Return the valid digests of an object in ``files``, by the names that ECS has for them."""
    hashes = file.get("hash") if isinstance(file, dict) else None
    if not isinstance(hashes, dict):
        return {}
    candidates = ((name, pattern, str(hashes.get(key)).lower()) for key, (name, pattern) in _DIGESTS.items())
    return {name: digest for name, pattern, digest in candidates if pattern.fullmatch(digest)}
