"""Keeps the ePO threat events that could not be handled in a file, and handles them again with --replay."""

import argparse
import json
import sys
import threading
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

from dxlclient.client import DxlClient
from dxlclient.message import Event

from dxlthreateventclient import CommonThreatEventCallback, CommonThreatEventClient

sys.path.append(str(Path(__file__).parents[1]))
from common import client_config

REJECT_FILE = Path("rejected.jsonl")


class KeepWhatFails(CommonThreatEventCallback):
    """Handles each threat event, and appends what could not be handled to a file, as lines of JSON."""

    def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        """Handle the event: your code goes here. As it stands, an event without these names raises."""
        event = threat_event_dict["event"]
        print(f"{event['threatName']!r} on {event['target']['hostName']!r}", flush=True)

    def on_threat_event_error(self, error: BaseException, original_event: Event) -> None:
        """Keep the payload as it came. One that is no bytes was never an event: it is kept to be read."""
        payload = original_event.payload
        rejected = {
            "topic": original_event.destination_topic,
            "message_id": original_event.other_fields.get("replayed", original_event.message_id),
            "reason": f"{type(error).__name__}: {error}",
            "base64": b64encode(payload if isinstance(payload, bytes) else repr(payload).encode()).decode(),
        }
        with REJECT_FILE.open("a") as lines:
            lines.write(json.dumps(rejected) + "\n")
        print(f"Kept in {REJECT_FILE}: {rejected['reason']!r}", file=sys.stderr)


def rejected_events(file: str) -> list[Event]:
    """Return the events that such a file holds, or have argparse report what is wrong with it."""
    events = []
    try:
        for rejected in map(json.loads, Path(file).read_text().splitlines()):
            event = Event(rejected["topic"])
            event.payload = b64decode(rejected["base64"])
            event.other_fields = {"replayed": rejected["message_id"]}  # its own message_id is a new one
            events.append(event)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"cannot replay {file}: {error!r}") from error
    return events


def main() -> None:
    """Receive events until Ctrl-C, or handle those of a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replay", metavar="FILE", type=rejected_events, help="handle the events of FILE")
    options = parser.parse_args()
    callback = KeepWhatFails()
    if options.replay is not None:
        for event in options.replay:
            callback.on_event(event)
        return
    with DxlClient(client_config()) as dxl_client:
        dxl_client.connect()
        CommonThreatEventClient(dxl_client).add_epo_threat_event_response_callback(callback)
        print("Waiting for threat events...", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
