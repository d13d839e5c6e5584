"""Plain text for people, with one line of aligned columns for each event."""

import unicodedata
from collections.abc import Mapping
from typing import Any

from dxlthreateventclient.formats._message import Message
from dxlthreateventclient.formats._values import (
    action_word,
    harmless,
    integer,
    iso_8601,
    plain_object,
    text,
    timestamp,
)

_MISSING = "-"


def text_columns(threat_event: Mapping[str, Any]) -> list[str]:
    """Return the columns of the text format: time, severity, host, threat and outcome.

    The outcome begins with ``NOT STOPPED:`` if the threat was not stopped. If the outcome is unknown, its
    column contains ePO's word for the action. The columns are padded, never truncated, and safe to print to a
    terminal. Joined together, the five columns form a line in the ``text`` format.

    :param threat_event: the threat event, as a callback receives it, with any content. It is not modified.
    :return: the five columns
    :raise TypeError: if the threat event is not a mapping

    >>> [column.strip() for column in text_columns({"event": {"threatName": "EICAR", "threatSeverity": 2}})]
    ['-', 'Critical', '-', 'EICAR', '-']
    """
    message = Message(threat_event)
    event, analyzer, target = message.event, message.analyzer, message.target
    moment = timestamp(analyzer.get("detectedUTC")) or message.take_received()
    reading = message.reading()
    # Prefer ePO's name for the severity over this package's own.
    severity = (
        text(message.other.get("threatSeverityString"))
        or message.severity().name
        or text(event.get("threatSeverity"))
    )
    host = text(analyzer.get("hostName")) or text(target.get("hostName")) or text(analyzer.get("ipv4"))
    threat = text(event.get("threatName")) or text(event.get("eventDesc")) or reading.meaning
    outcome: str | None = reading.outcome.replace("_", " ")
    if reading.outcome == "unknown":
        outcome = action_word(event.get("threatActionTaken"))
    elif reading.stopped is False:
        outcome = f"NOT STOPPED: {outcome}"
    return [
        _padded(iso_8601(moment), 26),
        _padded(severity, 13),
        _padded(host, 18),
        _padded(threat, 30),
        _padded(outcome, 0).rstrip(),
    ]


def severity_of(threat_event: Mapping[str, Any]) -> int | None:
    """Return a threat event's severity, from 1 (most severe) to 7 (least severe).

    :param threat_event: the threat event, as a callback receives it, with any content
    :return: the number, even if sent as text, or ``None`` if it is not from 1 to 7

    >>> severity_of({"event": {"threatSeverity": "2"}})
    2
    """
    event = threat_event.get("event")
    said = event.get("threatSeverity") if isinstance(event, Mapping) else None
    number = integer(plain_object({"threatSeverity": said}).get("threatSeverity"))
    return number if number is not None and 1 <= number <= 7 else None


def one_line(text: str) -> str:
    r"""Return the text on one line, with U+FFFD in place of each character that could control a terminal.

    :param text: any text
    :return: the text, with each run of whitespace replaced by one space

    >>> one_line("a\r\nb \x1b[31m")
    'a b �[31m'
    """
    return " ".join(harmless(text).split())


def _padded(value: str | None, width: int) -> str:
    shown = one_line(value or "") or _MISSING
    columns = len(shown)
    if not shown.isascii():
        columns += sum(unicodedata.east_asian_width(character) in "WF" for character in shown)
        columns -= sum(unicodedata.combining(character) > 0 for character in shown)
    return shown + " " * max(2, width - columns)
