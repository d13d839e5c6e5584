"""Keeps the ePO threat events that could not be handled in a file, and handles them again with --replay."""

import argparse
import json
import sys
import time
from base64 import b64decode, b64encode
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
from common import CONFIG_FILE, run

REJECT_FILE = Path("rejected.jsonl")


class KeepWhatFails(CommonThreatEventCallback):
    """Handles each threat event, and appends the events that fail to a file, one JSON object per line."""

    def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        """Handle the event: your code goes here. This code raises KeyError if a name is missing."""
        event = threat_event_dict["event"]
        print(f"{event['threatName']!r} on {event['target']['hostName']!r}", flush=True)

    def on_threat_event_error(self, error: BaseException, original_event: Event) -> None:
        """Keep the payload as it arrived. If it is not bytes, keep its repr() for people to read."""
        payload = original_event.payload
        if not isinstance(payload, bytes):
            payload = repr(payload).encode()
        rejected = {
            "topic": original_event.destination_topic,
            "message_id": original_event.other_fields.get("replayed", original_event.message_id),
            "reason": f"{type(error).__name__}: {error}",
            "base64": b64encode(payload).decode(),
        }
        with REJECT_FILE.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(rejected) + "\n")
        print(f"Kept in {REJECT_FILE}: {rejected['reason']!r}", file=sys.stderr)


def rejected_events(file: str) -> list[Event]:
    """Return the events in such a file, or let argparse report what is wrong with it."""
    events = []
    try:
        for line in Path(file).read_text(encoding="utf-8").splitlines():
            rejected = json.loads(line)
            event = Event(rejected["topic"])
            event.payload = b64decode(rejected["base64"])
            # A new Event has a new message id; this one remembers the original id.
            event.other_fields = {"replayed": rejected["message_id"]}
            events.append(event)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"cannot replay {file}: {error!r}") from error
    return events


def main() -> None:
    """Receive events until Ctrl-C, or handle the events of a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replay", metavar="FILE", type=rejected_events, help="handle the events of FILE")
    options = parser.parse_args()
    callback = KeepWhatFails()

    if options.replay is not None:
        for event in options.replay:
            callback.on_event(event)
        return

    with DxlClient(load_configuration(CONFIG_FILE)) as dxl_client:
        connect(dxl_client)
        with CommonThreatEventClient(dxl_client) as client:
            client.add_epo_threat_event_response_callback(callback)
            print("Waiting for threat events...", flush=True)
            while True:
                time.sleep(1)


if __name__ == "__main__":
    run(main)
