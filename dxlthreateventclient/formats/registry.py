"""The formats by name, as the command line offers them. A new format is one more entry of :data:`FORMATS`."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from dxlthreateventclient.formats.cef import to_cef
from dxlthreateventclient.formats.ecs import to_ecs
from dxlthreateventclient.formats.ocsf import to_ocsf
from dxlthreateventclient.formats.text import one_line, text_columns


class Formatter(Protocol):
    """A function that makes text of a threat event."""

    def __call__(
        self,
        threat_event: Mapping[str, Any],
        /,
        *,
        topic: str,
        event_id: str | None,
        arrived: datetime | None,
    ) -> str:
        """Return the text, without the final line end.

        :param threat_event: the threat event, as a callback receives it
        :param topic: the topic it came on
        :param event_id: the id of the DXL message that carried it, if known
        :param arrived: when it arrived, if known
        """


def _text(threat_event: Mapping[str, Any], **_: Any) -> str:
    return "".join(text_columns(threat_event))


# The rest but for CEF is ASCII, with escapes for everything else: no character in it can do harm.
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
"""What makes each format, by its name: call it as :class:`Formatter` says."""
