"""Stores each ePO threat event on disk, then forwards it over HTTP and retries failed requests."""

import argparse
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias
from zlib import crc32

from dxlclient.client import DxlClient

from dxlthreateventclient import (
    CommonThreatEventClient,
    ConfigurationError,
    connect,
    load_configuration,
)

sys.path.append(str(Path(__file__).parents[1]))
from common import CONFIG_FILE, handling, missing_extra, on_stop, positive, run, secret

try:
    import requests
    import tenacity
except ModuleNotFoundError as error:
    sys.exit(missing_extra(error))

# Each event is stored in its own file. Deleting the file acknowledges the event and needs no disk space.
QUEUE_DIRECTORY = Path("threat-event-queue")
REFUSED_DIRECTORY = QUEUE_DIRECTORY / "refused"
# Give up on an event after one of these status codes. The service will never accept the event, and retries
# would delay later events.
REFUSALS = (400, 413, 422, 431)

# The names of these files. Other files are ignored.
NAMES = "[0-9]" * 12 + "-" + "[0-9a-f]" * 8 + ".json"

Lane: TypeAlias = "SimpleQueue[Path]"
"""A queue of files for one thread, or for several."""

logger = logging.getLogger(__name__)
stopping = threading.Event()


def say(text: str) -> None:
    """Print a line with a single call, so that lines from several threads do not mix."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError as error:  # the outcome does not depend on the output
        logger.warning("Cannot print %r: %s", text, error)


def file_for(number: int, threat_event: dict[str, Any]) -> Path:
    """Return an event's file path, which contains a sequence number and a checksum of the host name."""
    match threat_event:
        case {"event": {"target": {"hostName": str(host)}}}:
            pass
        case _:
            host = ""
    return QUEUE_DIRECTORY / f"{number:012}-{crc32(host.encode(errors='replace')):08x}.json"


def lane_of(file: Path, lanes: Sequence[Lane]) -> Lane:
    """Return the lane for an event file. All events from a host use the same lane."""
    return lanes[int(file.stem.partition("-")[2], 16) % len(lanes)]


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(OSError),
    wait=tenacity.wait_exponential(multiplier=0.1, max=5),
    before_sleep=tenacity.before_sleep_log(logger, logging.WARNING),
)
def store(file: Path, message_id: str, body: str, lanes: Sequence[Lane], limit: int) -> None:
    """Write an event to disk and return once it is stored. If the queue or disk is full, wait and retry."""
    if sum(lane.qsize() for lane in set(lanes)) >= limit:
        raise OSError(f"the queue is full: {limit} events wait to be forwarded")
    with file.open("x", encoding="utf-8") as opened:
        try:
            opened.write(f"{message_id}\n{body}\n")
            opened.flush()
            os.fsync(opened.fileno())
        except OSError:
            file.unlink()
            raise


def add_token(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Add the bearer token. Read the token for each request, because its file can be replaced."""
    if token := secret("HTTP_TOKEN"):
        request.headers["Authorization"] = f"Bearer {token}"
    return request


@tenacity.retry(
    # requests raises an OSError or a ValueError, for example for a missing CA file or an invalid redirect.
    retry=tenacity.retry_if_exception_type((OSError, ValueError, ConfigurationError)),
    wait=tenacity.wait_exponential(multiplier=0.1, max=60),
    before_sleep=tenacity.before_sleep_log(logger, logging.WARNING),
    sleep=tenacity.sleep_using_event(stopping),
    stop=tenacity.stop_when_event_set(stopping),
)
def is_accepted(session: requests.Session, url: str, message_id: str, body: str) -> bool:
    """Keep sending an event until the service accepts or refuses it. Return True if the event is accepted."""
    response = session.post(
        url,
        body,
        headers={"Content-Type": "application/json", "Idempotency-Key": message_id},
        timeout=10,
        allow_redirects=False,  # a redirect can turn a POST into a GET without a body
    )
    if 200 <= response.status_code < 300:
        return True
    if response.status_code in REFUSALS:
        return False
    raise requests.HTTPError(f"{url} answered {response.status_code}")


def forward(file: Path, session: requests.Session, url: str) -> None:
    """Forward a stored event and delete its file, or move the file if the service refuses the event."""
    try:
        message_id, body, _ = file.read_text(encoding="utf-8").split("\n")
    except ValueError:  # the program was killed while writing the file
        message_id, outcome = file.name, "Torn"
    else:
        outcome = "Forwarded" if is_accepted(session, url, message_id, body) else "Refused"
    if outcome == "Forwarded":
        file.unlink()
    else:
        file.rename(REFUSED_DIRECTORY / file.name)
    say(f"{outcome} {message_id}")


def forward_all(lane: Lane, url: str) -> None:
    """Forward a lane's events, oldest first, until the program stops."""
    with requests.Session() as session:
        if os.environ.get("HTTP_TOKEN") or os.environ.get("HTTP_TOKEN_FILE"):
            session.auth = add_token
        while not stopping.is_set():
            try:
                forward(lane.get(timeout=0.2), session, url)
            except Empty:
                pass
            except tenacity.RetryError:
                return
            except OSError:
                logger.exception("The file is kept and forwarded after a restart")


@contextmanager
def forwarding(lanes: Sequence[Lane], url: str) -> Iterator[None]:
    """Forward events in the background. Finally, wait for open requests and count the remaining events."""
    threads = [threading.Thread(target=forward_all, args=(lane, url), daemon=True) for lane in lanes]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
        print(len(list(QUEUE_DIRECTORY.glob(NAMES))), "events wait on disk", file=sys.stderr)


def main() -> None:
    """Store events on this thread and forward them on other threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="the address to POST each event to")
    parser.add_argument("--senders", type=positive, default=1, help="parallel requests (default: 1)")
    parser.add_argument("--in-order", action="store_true", help="send events of one host one after the other")
    parser.add_argument(
        "--limit", type=positive, default=100_000, help="events that may wait (default: %(default)s)"
    )
    options = parser.parse_args()
    if not options.url.startswith(("http://", "https://")):
        parser.error(f"url must start with http:// or https://, got {options.url!r}")
    try:
        REFUSED_DIRECTORY.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"cannot write to the directory {QUEUE_DIRECTORY}: {error}")
    secret("HTTP_TOKEN")  # reports an unreadable file early

    # If order matters, give each thread its own lane. Otherwise, all threads share one lane.
    count = options.senders
    lanes: list[Lane] = [SimpleQueue() for _ in range(count)] if options.in_order else [SimpleQueue()] * count
    for file in sorted(QUEUE_DIRECTORY.glob(NAMES)):
        lane_of(file, lanes).put(file)
    # Also count refused events, so that no later event gets the name of one.
    numbers = [int(file.stem[:12]) for file in QUEUE_DIRECTORY.rglob(NAMES)]
    first = max(numbers, default=0) + 1

    with forwarding(lanes, options.url), DxlClient(load_configuration(CONFIG_FILE)) as dxl_client:
        connect(dxl_client)
        with CommonThreatEventClient(dxl_client) as client, client.threat_events() as events:
            on_stop(events.drain)
            print("Waiting for threat events...", flush=True)
            for number, (threat_event, original_event) in enumerate(events, first):
                # The sender chooses the message ID, so encode it as a JSON string, which is safe in an HTTP
                # header.
                message_id = json.dumps(original_event.message_id)
                file = file_for(number, threat_event)
                with handling(original_event):
                    store(file, message_id, json.dumps(threat_event), lanes, options.limit)
                say(f"Stored {message_id}")
                lane_of(file, lanes).put(file)


if __name__ == "__main__":
    run(main)
