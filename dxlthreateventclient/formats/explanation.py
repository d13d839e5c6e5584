"""Explains an event's meaning and the threat's outcome."""

from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from dxlthreateventclient.formats._reading import read
from dxlthreateventclient.formats._values import plain_object
from dxlthreateventclient.formats._words import Kind, Outcome

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
"""All possible outcomes of a threat."""


class Explanation(NamedTuple):
    """The meaning, kind and outcome of a threat event, and whether the threat was stopped."""

    meaning: str | None
    """The meaning of the event's number in English, or ``None`` if the number is not in the table."""

    kind: Kind
    """The kind of the event, by its threat type, number and category, or ``other`` if all are unknown."""

    outcome: Outcome
    """The outcome of the threat, or ``unknown`` if ePO does not report it or uses unknown words."""

    stopped: bool | None
    """True if the threat was blocked, deleted, cleaned, quarantined or contained. ``None`` if the outcome is
    unknown, or if there was no threat, as in an update."""


def explain(threat_event: Mapping[str, Any]) -> Explanation:
    """Explain a threat event based on its number, category, threat type and action taken.

    Words and codes must match completely, regardless of case. The event's number can make the outcome worse,
    but never better.

    :param threat_event: the threat event, as a callback receives it, with any content. It is not modified.
    :return: the explanation
    :raise TypeError: if the threat event is not a mapping

    >>> explanation = explain({"event": {"id": 1026, "threatActionTaken": "IDS_ALERT_ACT_TAK_DEL"}})
    >>> explanation.meaning, explanation.kind
    ('Infected file could not be cleaned', 'malware')
    >>> explanation.outcome, explanation.stopped
    ('failed', False)
    """
    if not isinstance(threat_event, Mapping):
        raise TypeError(f"threat_event must be a mapping, got {type(threat_event).__name__}")
    event = threat_event.get("event")
    said = {key: event.get(key) for key in _READ} if isinstance(event, Mapping) else {}
    return Explanation(*read(plain_object(said))[:4])


_READ = ("id", "eventId", "category", "threatType", "threatActionTaken")
