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

from dxlthreateventclient import CommonThreatEventClient, connect, load_configuration

sys.path.append(str(Path(__file__).parents[1]))
from common import CONFIG_FILE, missing_extra, run

try:
    import requests
    import tenacity
    from persistqueue import SQLiteAckQueue
    from persistqueue.serializers import json as json_serializer
except ModuleNotFoundError as error:
    sys.exit(missing_extra(error))

QUEUE_DIRECTORY = "threat-event-queue"
# The service will never accept such an event, so sending it again would hold up all later events.
REFUSALS = (400, 413, 422, 431)


def store(queue: SQLiteAckQueue, threat_event: dict[str, Any], original_event: Event) -> None:
    """Write an event to disk, and return once it is there.

    The sender chose the message id; as a JSON string it is safe in an HTTP header.
    """
    message_id = json.dumps(original_event.message_id)
    queue.put({"message_id": message_id, "body": json.dumps(threat_event)})
    print(f"Stored {message_id}", flush=True)


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(requests.RequestException),
    wait=tenacity.wait_exponential(multiplier=0.1, max=60),
    before_sleep=tenacity.before_sleep_log(logging.getLogger(), logging.WARNING),
)
def is_accepted(session: requests.Session, url: str, event: dict[str, str]) -> bool:
    """Send an event until the service accepts or refuses it; return whether it accepted."""
    response = session.post(
        url,
        event["body"],
        headers={"Content-Type": "application/json", "Idempotency-Key": event["message_id"]},
        timeout=10,
        allow_redirects=False,  # a redirect can turn the POST into a GET without a body
    )
    if 200 <= response.status_code < 300:
        return True
    if response.status_code in REFUSALS:
        return False
    raise requests.HTTPError(f"{url} answered {response.status_code}")


def forward(queue: SQLiteAckQueue, session: requests.Session, url: str) -> None:
    """Forward the stored events, the oldest first, forever."""
    for number in itertools.count():
        if number % 1000 == 0:  # rarely, because it reads the whole queue
            queue.clear_acked_data(max_delete=0, keep_latest=0)
        item = queue.get(raw=True)
        message_id = item["data"]["message_id"]
        if is_accepted(session, url, item["data"]):
            queue.ack(item)
            print("Forwarded", message_id, flush=True)
        else:
            queue.ack_failed(item)
            print("Refused", message_id, flush=True)


def main() -> None:
    """Store events on dxlclient's thread, and forward them on this one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="the address to POST each event to")
    url = parser.parse_args().url
    if not url.startswith(("http://", "https://")):
        parser.error(f"url must start with http:// or https://, got {url!r}")
    try:
        queue = SQLiteAckQueue(QUEUE_DIRECTORY, multithreading=True, serializer=json_serializer)
    except (OSError, sqlite3.Error) as error:
        parser.error(f"cannot write to the directory {QUEUE_DIRECTORY}: {error}")

    with DxlClient(load_configuration(CONFIG_FILE)) as dxl_client, requests.Session() as session:
        connect(dxl_client)
        with CommonThreatEventClient(dxl_client) as client:
            client.add_epo_threat_event_response_callback(partial(store, queue))
            print("Waiting for threat events...", flush=True)
            forward(queue, session, url)


if __name__ == "__main__":
    run(main)
