"""Interprets an event by looking up ePO's numbers, words and codes in tables."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dxlthreateventclient.formats._events import EVENTS
from dxlthreateventclient.formats._values import literal
from dxlthreateventclient.formats._vocabulary import NOTHING
from dxlthreateventclient.formats._words import ACTIONS, KINDS, Kind, Outcome

_STOPPED = frozenset({"blocked", "deleted", "cleaned", "quarantined", "contained"})
# For malware and email events, "failed" means that the threat could not be removed. For other events,
# "failed" means that a product failed to do something, such as load its rules.
_REMOVED_KINDS = frozenset({"malware", "email"})
_NO_THREATS = frozenset({"agent", "scan", "update"})

# An event number can make an outcome worse, or show that a threat was only detected. An event number never
# makes an outcome better, because a false "failed" only costs time, whereas a false "deleted" hides an
# infection.
_OUTCOMES: dict[str, Outcome] = {
    number: outcome
    for number, (_, kind, outcome) in EVENTS.items()
    if outcome == "would_block"
    or (outcome == "failed" and kind in _REMOVED_KINDS)
    or (outcome == "detected_only" and kind not in _NO_THREATS)
}

_INTRUSION = ("intrusion_detection",)
_BY_KIND: dict[Kind, tuple[str, ...]] = {
    "access_protection": _INTRUSION,
    "application_control": _INTRUSION,
    "buffer_overflow": _INTRUSION,
    "email": ("email",),
    "firewall": ("network",),
    "intrusion": _INTRUSION,
    "malware": ("malware",),
    "network_intrusion": ("intrusion_detection", "network"),
    "unwanted_program": ("malware",),
    "web": ("network", "web"),
}
# Additional ECS categories for some words and event numbers.
_MORE = {
    **dict.fromkeys(("hip.file", "'file' class or access"), ("file",)),
    **dict.fromkeys(("hip.process", "'process' class or access"), ("process",)),
    **dict.fromkeys(("hip.registry", "'registry' class or access"), ("registry",)),
    **dict.fromkeys(
        ("fw.intrusion", "ids_fw_threat_type_intrusion", "intrusion detected", "35001"), _INTRUSION
    ),
}
_CATEGORIES = {
    said: _BY_KIND.get(kind, ()) + _MORE.get(said, ())
    for said, kind in (*KINDS.items(), *((number, row[1]) for number, row in EVENTS.items()))
}

# Events that Elastic's integration for ePO does not treat as alerts.
_OPERATIONAL = frozenset({"18054", "35000", "35002"})
_TRAFFIC = {"network"}
_UNKNOWN: tuple[None, Kind, Outcome] = (None, "other", "unknown")


class Reading(NamedTuple):
    """The interpretation of an event."""

    meaning: str | None
    kind: Kind
    outcome: Outcome
    stopped: bool | None
    categories: tuple[str, ...]
    """The ECS categories, possibly with duplicates."""
    is_operational: bool


def read(event: Mapping[str, Any]) -> Reading:
    """Interpret a message's ``event`` object, which must contain only plain JSON values."""
    number, category, threat_type = _said(event, "id"), _said(event, "category"), _said(event, "threatType")
    if number in NOTHING:
        # Some products store the event number under ``eventId``.
        number = _said(event, "eventId")
    meaning, number_kind, number_outcome = EVENTS.get(number, _UNKNOWN)
    # The threat type is more specific than the number, which is more specific than the category. For example,
    # events in the "hip.process" category have various threat types.
    kind = KINDS.get(threat_type, "other")
    if kind == "other":
        kind = number_kind
    if kind == "other":
        kind = KINDS.get(category, "other")
    categories = _CATEGORIES.get(category, ()) + _CATEGORIES.get(threat_type, ())
    categories = (categories or _CATEGORIES.get(number, ())) + _MORE.get(number, ())
    outcome = ACTIONS.get(_said(event, "threatActionTaken"), "unknown")
    supplied = _OUTCOMES.get(number)
    if supplied and (outcome == "unknown" or (supplied != "detected_only" and outcome in _STOPPED)):
        outcome = supplied
    is_ops = category == "ops" or category.startswith("ops.")
    stopped: bool | None = outcome in _STOPPED
    if outcome == "unknown" or (
        not (stopped or supplied)
        and (is_ops or kind in _NO_THREATS or number_outcome == "none" or set(categories) == _TRAFFIC)
    ):
        stopped = None
    return Reading(meaning, kind, outcome, stopped, categories, is_ops or number in _OPERATIONAL)


def _said(event: Mapping[str, Any], key: str) -> str:
    value = event.get(key)
    return (value if type(value) is str else literal(value) or "").lower()
