"""The Open Cybersecurity Schema Framework (OCSF)."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from dxlthreateventclient.formats._message import Message
from dxlthreateventclient.formats._values import text, timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def to_ocsf(
    threat_event: Mapping[str, Any], *, event_id: str | None = None, arrived: datetime | None = None
) -> dict[str, Any]:
    """Convert a threat event into a Detection Finding of OCSF 1.5.0.

    :param threat_event: the threat event, as a callback receives it, however odd; it stays as it is
    :param event_id: the id of the DXL message that carried it
    :param arrived: when it arrived
    :return: the event: nested dictionaries of what JSON can express in UTF-8
    """
    message = Message(threat_event)
    moment = message.get("analyzer.detectedUTC", timestamp) or message.take_received() or arrived
    return {
        "activity_id": 1,
        "category_uid": 2,
        "class_uid": 2004,
        "finding_info": {"uid": event_id or "unknown"},
        "metadata": {
            "product": {"name": message.get("analyzer.name", text) or "ePolicy Orchestrator"},
            "version": "1.5.0",
        },
        "severity_id": 0,
        "time": ((moment or datetime.now(timezone.utc)) - _EPOCH) // timedelta(milliseconds=1),
        "type_uid": 200401,
        "unmapped": message.rest,
    }
