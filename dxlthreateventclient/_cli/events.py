"""What is made of an event that arrived: text on stdout, or a line in the reject file."""

import argparse
import base64
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dxlclient.message import Event

from dxlthreateventclient import ThreatEventDecodeError, ThreatEventStream
from dxlthreateventclient._cli.terminal import CommandError, painted, tell
from dxlthreateventclient.formats import FORMATS, severity_of, text_columns

OnReject = Callable[[ThreatEventDecodeError, Event], None]

_SEVERITY_STYLES = {1: "1;31", 2: "31", 3: "33", 4: "33"}  # bold red, red, yellow


def text_of(threat_event: Mapping[str, Any], event: Event, name: str) -> str:
    """Return the text of an event, which the DXL event carried, in a format: with colours on a terminal."""
    if name == "text":
        styles = "2", _SEVERITY_STYLES.get(severity_of(threat_event) or 0, ""), "36", "1", ""
        return "".join(map(painted, text_columns(threat_event), styles))
    now = datetime.now(timezone.utc)
    topic, event_id = event.destination_topic, event.message_id
    return FORMATS[name](threat_event, topic=topic, event_id=event_id, arrived=now)


def texts(stream: ThreatEventStream, options: argparse.Namespace, on_reject: OnReject) -> Iterator[str]:
    """Yield the text of each event of a stream that the user asked for."""
    for threat_event, event in stream:
        # An event that does not say how severe it is is never left out.
        if options.severity and (severity_of(threat_event) or 0) > options.severity:
            continue
        try:
            text = text_of(threat_event, event, options.format)
        except RecursionError:
            on_reject(ThreatEventDecodeError("payload is nested too deeply", event.payload), event)
        else:
            yield text


def rejects(file: Path | None) -> OnReject:
    """Return what reports a payload that is not a threat event, and appends it to a file if there is one.

    :raise CommandError: if the file cannot be written
    """
    if file:
        _append(file, "", status=2)

    def reject(error: ThreatEventDecodeError, event: Event) -> None:
        tell(f"Message {event.message_id} on topic {event.destination_topic} was not handled: {error}")
        if not file:
            return
        # A DXL message can carry any value instead of bytes: that is kept as Python writes it.
        payload = error.payload if isinstance(error.payload, bytes) else repr(error.payload).encode()
        line = {
            "topic": event.destination_topic,
            "message_id": event.message_id,
            "reason": error.reason,
            "base64": base64.b64encode(payload).decode(),
        }
        _append(file, json.dumps(line) + "\n", status=1)

    return reject


def _append(file: Path, text: str, *, status: int) -> None:
    # Opened each time, so that a file that was moved away by a log rotation is made anew.
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise CommandError(f"cannot write the reject file {file}: {error.strerror}", status=status) from error
