"""Converts JSON values into values that SIEMs accept.

The converters return ``None`` for values that they cannot convert, and never raise exceptions.
"""

import math
import re
import socket
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

from dxlthreateventclient.formats._vocabulary import NAMELESS, NOTHING

T = TypeVar("T")

# Elasticsearch's "flattened" type, which suits the custom namespace, accepts up to 20 levels of nesting by
# default. A threat event is nested four levels deep.
MAX_DEPTH = 20
ELLIPSIS = "…"

# Characters that could reorder text, end a line or control a terminal: directional marks, line separators,
# and control characters other than tab and newline. Lone surrogates are also harmful, because UTF-8 cannot
# encode them.
_HARMFUL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_TIMESTAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(:\d\d)?(?:[.,](\d+))? ?(?:Z|UTC|GMT|([+-])(\d\d):?(\d\d))?",
    re.ASCII | re.IGNORECASE,
)
_MAC = re.compile(r"(?:[0-9A-F]{2}[:-]?){5}[0-9A-F]{2}")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_OUTCOMES = {"1": "success", "true": "success", "0": "failure", "false": "failure"}
_DIGESTS = {"md5": 32, "sha1": 40, "sha256": 64}

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# An unset clock reports the year 1 or 1970, long before the first ePO release.
_EARLIEST = datetime(1990, 1, 1, tzinfo=timezone.utc)
_EARLIEST_SECONDS = 631_152_000


def harmless(text: str) -> str:
    """Replace harmful characters with U+FFFD and line endings with newlines."""
    if text.isprintable():
        return text
    return _HARMFUL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n").replace("\r", "\n"))


def plain_object(value: Mapping[Any, Any], key: str = "", depth: int = 0) -> dict[str, Any]:
    """Return a copy of an object without its empty values, in a form that can be encoded as UTF-8 JSON.

    :param value: the object from JSON, possibly with converted aggregates (sets and numbered dictionaries)
    :param key: the key of the object
    :param depth: the depth of the object in the message
    """
    copy = {}
    for raw_name, raw in value.items():
        # Items in a converted aggregate are numbered, and their placeholders contain the aggregate's key.
        name, own = (raw_name, raw_name) if type(raw_name) is str else (_described(raw_name), key)
        if type(raw) is str:
            item: Any = raw.strip()
            # A value that consists of its key in braces is an unresolved placeholder.
            if item and not (item[0] == "{" and item == f"{{{own}}}"):
                copy[harmless(name)] = harmless(item)
        elif raw is not None and (item := _plain(raw, own, depth + 1)) is not None:
            copy[harmless(name)] = item
    return copy


def _plain(value: Any, key: str, depth: int) -> Any:
    """Return a plain JSON copy of any value, or ``None`` if the copy is empty."""
    copy: Any
    if type(value) is dict and depth < MAX_DEPTH:  # by far the most frequent
        return plain_object(value, key, depth) or None
    match value:
        case None | bool():
            copy = value
        case int():
            copy = value if _is_long(value) else _digits(value)
        case float():
            copy = value if math.isfinite(value) else None
        case Mapping() | list() | tuple() | set() | frozenset() if depth >= MAX_DEPTH:
            copy = ELLIPSIS if value else None
        case Mapping():
            copy = plain_object(value, key, depth)
        case list() | tuple():
            copy = _plain_items(value, key, depth)
        case set() | frozenset():
            copy = sorted(_plain_items(value, key, depth), key=str)
        case _:
            text = harmless(_described(value).strip())
            copy = None if text == f"{{{key}}}" else text
    return None if copy in ("", {}, []) else copy


def _plain_items(items: Iterable[Any], key: str, depth: int) -> list[Any]:
    return [copy for copy in (_plain(item, key, depth + 1) for item in items) if copy is not None]


def _described(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a foreign object may raise anything
        return f"<{type(value).__name__}>"


def _digits(number: int) -> str:
    try:
        return str(number)
    except ValueError:  # Python limits decimal conversion to 4,300 digits
        return hex(number)


def _is_long(number: int) -> bool:
    return -(2**63) <= number < 2**63


def literal(value: Any) -> str | None:
    """Return a string or number as text."""
    if type(value) is str:
        return value
    if isinstance(value, float) and value.is_integer() and _is_long(int(value)):
        value = int(value)
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def text(value: Any) -> str | None:
    """Return a string or number as text, or ``None`` for ePO's spellings of "no value"."""
    found = value if type(value) is str else literal(value)  # called often
    return None if found is None or found.lower() in NOTHING else found


def name_of(value: Any) -> str | None:
    """Return the name of a file or program, or ``None`` if ePO reports it as unknown."""
    found = text(value)
    return None if found is None or found.lower().rpartition("|")[2] in NAMELESS else found


def action_word(value: Any) -> str | None:
    """Return the word or code for an action, including "none", which means that nothing was done."""
    found = literal(value)
    return found if found and (found.lower() == "none" or found.lower() not in NOTHING) else None


def integer(value: Any) -> int | None:
    """Convert a number or text to an integer, or to ``None`` if it does not fit in 64 bits."""
    digits = literal(value)
    number = int(digits) if digits and _INTEGER.fullmatch(digits) else None
    return number if number is not None and _is_long(number) else None


def port(value: Any) -> int | None:
    """Return a port number, or ``None`` for 0, which ePO sends when no connection is involved."""
    number = integer(value)
    return number if number is not None and 0 < number < 2**16 else None


def outcome(value: Any) -> str | None:
    """Convert ``threatHandled`` to ``success`` or ``failure``, or to ``None`` if there was no threat."""
    return _OUTCOMES.get(str(value).lower() if isinstance(value, bool) else (literal(value) or "").lower())


def ip_address(value: Any) -> str | None:
    """Return an IP address in standard notation, without a zone. An IPv4-mapped address becomes IPv4.

    ePO reports an unknown address as the unspecified address (``0.0.0.0`` or ``::``).
    """
    if type(value) is not str:
        return None
    # Java prints addresses with a leading slash.
    address = value.removeprefix("/")
    family = socket.AF_INET
    if ":" in address:
        address, family = address.partition("%")[0], socket.AF_INET6
    try:
        packed = socket.inet_pton(family, address)
    except (OSError, ValueError):
        return None
    if packed.startswith(b"\0" * 10 + b"\xff\xff"):
        family, packed = socket.AF_INET, packed[12:]
    return socket.inet_ntop(family, packed) if any(packed) else None


def mac_address(value: Any) -> str | None:
    """Return a MAC address as ``00-AA-BB-CC-DD-EE``, or ``None`` if all digits are zero."""
    address = (literal(value) or "").upper()
    if not _MAC.fullmatch(address):
        return None
    digits = address.replace(":", "").replace("-", "")
    return None if digits == "000000000000" else "-".join(digits[at : at + 2] for at in range(0, 12, 2))


def timestamp(value: Any) -> datetime | None:
    """Convert an ISO 8601 time, or a number of seconds or milliseconds since 1970, to a ``datetime``.

    A time without a time zone is assumed to be UTC, because the names of ePO's time fields end in ``UTC``.
    Return ``None`` for a time before 1990.
    """
    number = integer(value)
    try:
        moment = _since_1970(number) if number is not None else _iso_8601(value)
    except (ValueError, OverflowError):
        return None
    return moment if moment and moment >= _EARLIEST else None


def _since_1970(number: int) -> datetime:
    # If read as seconds, a 1990 timestamp in milliseconds would fall in the year 21970.
    is_milliseconds = number >= _EARLIEST_SECONDS * 1000
    return _EPOCH + (timedelta(milliseconds=number) if is_milliseconds else timedelta(seconds=number))


def _iso_8601(value: Any) -> datetime | None:
    match = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    date, time, seconds, fraction, sign, hours, minutes = match.groups()
    moment = datetime.fromisoformat(f"{date}T{time}{seconds or ':00'}.{(fraction or '')[:6]:0<6}+00:00")
    offset = timedelta(hours=int(hours), minutes=int(minutes)) if sign else timedelta()
    return moment + offset if sign == "-" else moment - offset


def utc(moment: datetime | None) -> datetime | None:
    """Return a time in UTC. A naive time is interpreted as local time, as is usual in Python."""
    try:
        return moment and moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):  # the result is outside datetime's range
        return None


def iso_8601(moment: datetime | None) -> str | None:
    """Return a UTC time as text with milliseconds and a trailing ``Z``."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def milliseconds(moment: datetime | None) -> int | None:
    """Return a time as milliseconds since 1970."""
    return (moment - _EPOCH) // timedelta(milliseconds=1) if moment else None


def digest(name: str, value: Any) -> str | None:
    """Return a valid ``md5``, ``sha1`` or ``sha256`` digest in lower case."""
    found = (literal(value) or "").lower()
    return found if len(found) == _DIGESTS.get(name) and not set(found) - set("0123456789abcdef") else None


def distinct(values: Iterable[T | None]) -> list[T]:
    """Return the values in order, without ``None`` or duplicates."""
    return [value for value in dict.fromkeys(values) if value is not None]


def without_empty(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy without empty values at any level. Numbers never count as empty."""
    kept = {}
    for key, raw in fields.items():
        value = without_empty(raw) if type(raw) is dict else raw
        if value or isinstance(value, (int, float)):
            kept[key] = value
    return kept
