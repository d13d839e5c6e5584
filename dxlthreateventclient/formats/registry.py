"""The output formats by name, for the command line. To add a format, add an entry to :data:`FORMATS`."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from dxlthreateventclient.formats.cef import to_cef
from dxlthreateventclient.formats.ecs import to_ecs
from dxlthreateventclient.formats.ocsf import to_ocsf
from dxlthreateventclient.formats.text import one_line, text_columns


class Formatter(Protocol):
    """A function that converts a threat event into text."""

    def __call__(
        self,
        threat_event: Mapping[str, Any],
        /,
        *,
        topic: str,
        event_id: str | None,
        arrived: datetime | None,
    ) -> str:
        """Return the text without a final newline.

        :param threat_event: the threat event, as a callback receives it
        :param topic: the topic on which the event arrived
        :param event_id: the ID of the DXL message that carried the event, if known
        :param arrived: the time of arrival, if known
        """


def _text(threat_event: Mapping[str, Any], **_: Any) -> str:
    return "".join(text_columns(threat_event))


# Except for CEF, the formats below escape all non-ASCII and control characters, so their output contains no
# harmful characters.
def _json(threat_event: Mapping[str, Any], *, topic: str, **_: Any) -> str:
    return f"Threat event on topic: {one_line(topic)}\n{json.dumps(threat_event, sort_keys=True, indent=4)}"


def _jsonl(threat_event: Mapping[str, Any], **_: Any) -> str:
    return json.dumps(threat_event)


def _ecs(threat_event: Mapping[str, Any], *, event_id: str | None, arrived: datetime | None, **_: Any) -> str:
    return json.dumps(to_ecs(threat_event, event_id=event_id, arrived=arrived))


def _cef(threat_event: Mapping[str, Any], *, event_id: str | None, arrived: datetime | None, **_: Any) -> str:
    return to_cef(threat_event, event_id=event_id, arrived=arrived)


def _ocsf(
    threat_event: Mapping[str, Any], *, event_id: str | None, arrived: datetime | None, **_: Any
) -> str:
    return json.dumps(to_ocsf(threat_event, event_id=event_id, arrived=arrived))


FORMATS: dict[str, Formatter] = {
    "text": _text,
    "json": _json,
    "jsonl": _jsonl,
    "ecs": _ecs,
    "cef": _cef,
    "ocsf": _ocsf,
}
"""The function for each format, by its name. See :class:`Formatter` for its signature."""
