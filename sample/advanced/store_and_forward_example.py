"""Stores each ePO threat event on disk, then forwards it over HTTP and tries again until that succeeds."""

import argparse
import itertools
import json
import logging
import sqlite3
import sys
from functools import partial
from pathlib import Path
from typing import Any

from dxlclient.client import DxlClient
from dxlclient.message import Event

from dxlthreateventclient import CommonThreatEventClient

sys.path.append(str(Path(__file__).parents[1]))
from common import client_config, missing_extra

try:
    import requests
    import tenacity
    from persistqueue import SQLiteAckQueue
    from persistqueue.serializers import json as json_serializer
except ModuleNotFoundError as error:
    sys.exit(missing_extra(error))


def store(queue: SQLiteAckQueue, threat_event: dict[str, Any], original_event: Event) -> None:
    """Return when the event is on disk. Its id, which the sender chose, is quoted to fit an HTTP header."""
    message_id = json.dumps(original_event.message_id)
    queue.put({"message_id": message_id, "body": json.dumps(threat_event)})
    print(f"Stored {message_id}", flush=True)


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(requests.RequestException),
    wait=tenacity.wait_exponential(multiplier=0.1, max=60),
    before_sleep=tenacity.before_sleep_log(logging.getLogger(), logging.WARNING),
)
def is_accepted(session: requests.Session, url: str, event: dict[str, str]) -> bool:
    """Send an event until it is accepted, or refused for what it is. A redirect would lose the body."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": event["message_id"]}
    status = session.post(url, event["body"], headers=headers, timeout=10, allow_redirects=False).status_code
    if 200 <= status < 300 or status in (400, 413, 422, 431):
        return status < 300
    raise requests.HTTPError(f"{url} answered {status}")


def main() -> None:
    """Store what arrives on dxlclient's thread, and forward it on this one, the oldest first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="where to POST each event")
    url = parser.parse_args().url
    if not url.startswith(("http://", "https://")):
        parser.error(f"{url!r} does not start with http:// or https://")
    try:
        queue = SQLiteAckQueue("threat-event-queue", multithreading=True, serializer=json_serializer)
    except (OSError, sqlite3.Error) as error:
        parser.error(f"cannot write to the directory threat-event-queue: {error}")
    with DxlClient(client_config()) as dxl_client, requests.Session() as session:
        dxl_client.connect()
        CommonThreatEventClient(dxl_client).add_epo_threat_event_response_callback(partial(store, queue))
        print("Waiting for threat events...", flush=True)
        for number in itertools.count():
            if number % 1000 == 0:
                queue.clear_acked_data(max_delete=0, keep_latest=0)  # all that is
            item = queue.get(raw=True)
            accepted = is_accepted(session, url, item["data"])
            (queue.ack if accepted else queue.ack_failed)(item)
            print("Forwarded" if accepted else "Refused", item["data"]["message_id"], flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
