"""What is made of an event that arrived: text on stdout, or a line in the reject file."""

import base64
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dxlclient.message import Event

from dxlthreateventclient import ThreatEventDecodeError
from dxlthreateventclient._cli.output import open_lines
from dxlthreateventclient._cli.terminal import painted, tell
from dxlthreateventclient.formats import FORMATS, severity_of, text_columns

_SEVERITY_STYLES = {1: "1;31", 2: "31", 3: "33", 4: "33"}  # bold red, red, yellow


def text_of(threat_event: Mapping[str, Any], event: Event, name: str, *, is_painted: bool = True) -> str:
    """Return the text of an event, which the DXL event carried, in a format: with colours on a terminal."""
    if name == "text" and is_painted:
        styles = "2", _SEVERITY_STYLES.get(severity_of(threat_event) or 0, ""), "36", "1", ""
        return "".join(map(painted, text_columns(threat_event), styles))
    now = datetime.now(timezone.utc)
    topic, event_id = event.destination_topic, event.message_id
    return FORMATS[name](threat_event, topic=topic, event_id=event_id, arrived=now)


class Rejects:
    """Reports payloads that are not threat events, and appends them to a file if there is one.

    :raise CommandError: if the file cannot be written
    """

    def __init__(self, file: Path | None) -> None:
        self.count = 0
        self.not_kept = 0
        self._file = open_lines(file, "reject") if file else None
        self._is_failing = False

    def __call__(self, error: ThreatEventDecodeError, event: Event) -> None:
        """Report a payload, and go on, whatever becomes of the file."""
        self.count += 1
        tell(f"Message {event.message_id} on topic {event.destination_topic} was not handled: {error}")
        if not self._file:
            return
        # A DXL message can carry any value instead of bytes: that is kept as Python writes it.
        payload = error.payload if isinstance(error.payload, bytes) else repr(error.payload).encode()
        line = {
            "topic": event.destination_topic,
            "message_id": event.message_id,
            "reason": error.reason,
            "base64": base64.b64encode(payload).decode(),
        }
        try:
            self._file.append(json.dumps(line))
        except OSError as failure:
            self.not_kept += 1
            if not self._is_failing:
                tell(f"Cannot write the reject file {self._file}: {failure.strerror}. It goes on without")
            self._is_failing = True
        else:
            if self._is_failing:
                tell(f"The reject file {self._file} can be written again; it lacks {self.not_kept} payloads")
            self._is_failing = False
