"""Where payloads go that are no threat events."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

from dxlclient.message import Event

from dxlthreateventclient._cli.errors import CommandError
from dxlthreateventclient.callbacks import log_error
from dxlthreateventclient.exceptions import ThreatEventDecodeError

OnReject = Callable[[ThreatEventDecodeError, Event], None]


def rejects(file: Path | None) -> OnReject:
    """Return what logs such a payload, and appends it to a file if there is one.

    :raise CommandError: if the file cannot be written
    """
    if file is None:
        return log_error
    _append(file, "", status=2)

    def reject(error: ThreatEventDecodeError, event: Event) -> None:
        # A DXL message can carry any value instead of bytes: that is kept as Python writes it.
        payload = error.payload if isinstance(error.payload, bytes) else repr(error.payload).encode()
        line = {
            "topic": event.destination_topic,
            "message_id": event.message_id,
            "reason": error.reason,
            "base64": base64.b64encode(payload).decode(),
        }
        _append(file, json.dumps(line) + "\n", status=1)
        log_error(error, event)

    return reject


def _append(file: Path, text: str, *, status: int) -> None:
    # Opened each time, so that a file that was moved away by a log rotation is made anew.
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise CommandError(f"cannot write the reject file {file}: {error.strerror}", status=status) from error
