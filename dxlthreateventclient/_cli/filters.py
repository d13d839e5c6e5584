"""Options that select events."""

import argparse
import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dxlthreateventclient._cli import arguments
from dxlthreateventclient.constants import (
    AnalyzerProps,
    EventProps,
    SourceProps,
    TargetProps,
    ThreatEventProps,
)
from dxlthreateventclient.formats import OUTCOMES, explain, severity_of

# For each option, the paths of the tested values in the event object.
_PATHS: dict[str, Sequence[Sequence[str]]] = {
    "id": [[EventProps.EVENT_ID]],
    "category": [[EventProps.CATEGORY]],
    "action": [[EventProps.THREAT_ACTION_TAKEN]],
    "host": [
        [EventProps.ANALYZER, AnalyzerProps.HOST_NAME],
        [EventProps.SOURCE, SourceProps.HOST_NAME],
        [EventProps.TARGET, TargetProps.HOST_NAME],
    ],
}
# ePO's spellings of "no value". The action "none" counts as a value, because it means that nothing was done.
_NO_VALUE = re.compile(r"\s*(\{.*\})?\s*", re.DOTALL)
_NO_HOST = re.compile(r"\s*(\{.*\}|\(?none\)?|null|n/a|-|_)?\s*", re.DOTALL | re.IGNORECASE)


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options that select events."""
    what = "only events of severity 1 (the most severe) to N, and events without a severity"
    parser.add_argument("--severity", metavar="N", type=arguments.severity, help=what)
    for name, what, example in (
        ("id", "with this event number", "180*"),
        ("category", "of this category", "av.*"),
        ("action", "with this action taken", "*block*"),
        ("host", "with this analyzer, source or target host", "srv-*"),
    ):
        text = f"only events {what}, and events without one; repeatable; for example {example!r}"
        parser.add_argument(f"--{name}", metavar="PATTERN", action="append", help=text)
    what = "only events with this outcome, and events with an unknown outcome; repeatable: %(choices)s"
    parser.add_argument("--outcome", metavar="OUTCOME", choices=OUTCOMES, action="append", help=what)


def wanted(options: argparse.Namespace) -> Callable[[Any], bool] | None:
    """Return a function that selects events, or ``None`` to select all events.

    An event must match at least one pattern for each given option. An option accepts any event that has no
    value for the tested property.
    """
    patterns = {
        name: re.compile("|".join(map(fnmatch.translate, given)), re.IGNORECASE)
        for name in _PATHS
        if (given := getattr(options, name))
    }
    if not patterns and not options.severity and not options.outcome:
        return None

    def is_wanted(threat_event: Any) -> bool:
        if options.severity and (severity_of(threat_event) or 0) > options.severity:
            return False
        if options.outcome and explain(threat_event).outcome not in (*options.outcome, "unknown"):
            return False
        for name, pattern in patterns.items():
            said = list(_said(threat_event, name))
            if said and not any(map(pattern.match, said)):
                return False
        return True

    return is_wanted


def _said(threat_event: Any, name: str) -> Iterable[str]:
    nothing = _NO_HOST if name == "host" else _NO_VALUE
    for path in _PATHS[name]:
        value = threat_event
        for key in [ThreatEventProps.EVENT, *path]:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, (str, int, float)) and not nothing.fullmatch(str(value)):
            yield str(value)
