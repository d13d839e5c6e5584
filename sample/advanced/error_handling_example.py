"""Saves failed ePO threat events to a file, and handles them again when run with --replay."""

import argparse
import json
import os
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dxlclient.client import DxlClient
from dxlclient.message import Event

from dxlthreateventclient import (
    CommonThreatEventCallback,
    CommonThreatEventClient,
    connect,
    load_configuration,
)

sys.path.append(str(Path(__file__).parents[1]))
from common import CONFIG_FILE, run, until_stopped

REJECT_FILE = Path("rejected.jsonl")


class KeepWhatFails(CommonThreatEventCallback):
    """Handles threat events and appends each failed event to a file as a line of JSON."""

    is_complete = True
    """False if a failed event could not be saved."""

    is_replaying = False

    def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        """Handle the event. Your code goes here. This example raises KeyError if the event lacks a name."""
        event = threat_event_dict["event"]
        print(f"{event['threatName']!r} on {event['target']['hostName']!r}", flush=True)

    def on_threat_event_error(self, error: BaseException, original_event: Event) -> None:
        """Save the payload as it arrived. If the payload is not bytes, save its repr() instead."""
        payload = original_event.payload
        if not isinstance(payload, bytes):
            payload = repr(payload).encode()
        message_id = original_event.message_id
        if self.is_replaying:  # otherwise, the sender could choose the ID
            message_id = original_event.other_fields["replayed"]
        rejected = {
            "topic": original_event.destination_topic,
            "message_id": message_id,
            "reason": f"{type(error).__name__}: {error}",
            "base64": b64encode(payload).decode(),
        }
        line = json.dumps(rejected)
        try:
            append(REJECT_FILE, line)
        except OSError as cannot_write:
            self.is_complete = False
            print(f"Not kept in {REJECT_FILE}, {cannot_write}: {line}", file=sys.stderr)
        else:
            print(f"Kept in {REJECT_FILE}: {rejected['reason']!r}", file=sys.stderr)


def append(file: Path, line: str) -> None:
    """Append a line to a file. If a full disk has left an incomplete last line, end that line first."""
    with file.open("a+b") as lines:
        lines.seek(max(0, lines.seek(0, os.SEEK_END) - 1))
        is_torn = lines.read() not in (b"", b"\n")
        lines.write(b"\n" * is_torn + line.encode() + b"\n")


def rejected_events(file: Path) -> Iterator[tuple[int, Event | None]]:
    """Yield each line's number and event. For an incomplete line, the event is None."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                rejected = json.loads(line)
                event = Event(rejected["topic"])
                event.payload = b64decode(rejected["base64"])
                # A new Event has a new message ID, so save the original ID separately.
                event.other_fields = {"replayed": rejected["message_id"]}
            except (ValueError, KeyError, TypeError) as error:
                print(f"{file}, line {number}: not a rejected event: {error!r}", file=sys.stderr)
                yield number, None
            else:
                yield number, event


def replay(file: Path, callback: KeepWhatFails) -> bool:
    """Handle the events in a file. Return True if every line held an event and every event was handled."""
    is_complete = True
    numbered = rejected_events(file)
    for _, (_, event) in zip(until_stopped(), numbered, strict=False):
        if event is None:
            is_complete = False
        else:
            callback.on_event(event)
    for number, _ in numbered:
        print(f"{file}: stopped before line {number}", file=sys.stderr)
        return False
    return is_complete and callback.is_complete


def main() -> None:
    """Replay a file, or receive events until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replay", metavar="FILE", type=Path, help="handle the events of FILE")
    options = parser.parse_args()
    callback = KeepWhatFails()

    if options.replay:
        try:
            if REJECT_FILE.exists() and options.replay.samefile(REJECT_FILE):
                parser.error(
                    f"cannot replay {options.replay}: events that fail are appended to it; rename it first"
                )
            callback.is_replaying = True
            is_complete = replay(options.replay, callback)
        except OSError as error:
            parser.error(f"cannot replay {options.replay}: {error}")
        sys.exit(0 if is_complete else 1)

    with DxlClient(load_configuration(CONFIG_FILE)) as dxl_client:
        connect(dxl_client)
        with CommonThreatEventClient(dxl_client) as client:
            client.add_epo_threat_event_response_callback(callback)
            print("Waiting for threat events...", flush=True)
            while True:
                time.sleep(1)


if __name__ == "__main__":
    run(main)
