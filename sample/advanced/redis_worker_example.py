"""Handles ePO threat events from a Redis Stream. All workers share the events."""

import argparse
import logging
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from dxlthreateventclient.payload import decode_threat_event

sys.path.append(str(Path(__file__).parents[1]))
from common import missing_extra, positive, run, secret, until_stopped

try:
    import redis
    import tenacity
except ModuleNotFoundError as error:
    sys.exit(missing_extra(error))

STREAM = "threat-events"
FAILED = "threat-events-failed"
GROUP = "workers"
WORKER = f"{socket.gethostname()}-{os.getpid()}"
logger = logging.getLogger(__name__)


def handle(threat_event: dict[str, Any], seconds: int) -> None:
    """Handle a threat event. Your code goes here."""
    print(repr(threat_event["event"]["threatName"]), flush=True)
    time.sleep(seconds)


def next_entries(server: Any, take_over_after: int) -> Any:
    """Return a list with the next entry's ID and fields, or an empty list. Prefer entries of dead workers."""
    idle = take_over_after * 1000
    if taken_over := server.xautoclaim(STREAM, GROUP, WORKER, min_idle_time=idle, count=1)[1]:
        return taken_over
    if new := server.xreadgroup(GROUP, WORKER, {STREAM: ">"}, count=1, block=1000):
        return new[0][1]
    return []


def process(server: Any, entry_id: bytes, fields: dict[bytes, bytes], seconds: int) -> None:
    """Handle one entry, then remove it. If handling fails, move the entry to the failed-events stream."""
    message_id = repr(fields.get(b"message_id", b"").decode(errors="replace"))
    print(f"Took {message_id}", flush=True)
    with server.pipeline() as transaction:
        try:
            handle(decode_threat_event(fields[b"payload"]), seconds)
        except Exception:
            logger.exception("%s failed; moving it to the stream %s", message_id, FAILED)
            transaction.xadd(FAILED, fields)
        transaction.xack(STREAM, GROUP, entry_id)
        transaction.xdel(STREAM, entry_id)
        transaction.execute()
    print(f"Finished {message_id}", flush=True)


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(redis.RedisError),
    wait=tenacity.wait_fixed(1),
    before_sleep=tenacity.before_sleep_log(logger, logging.WARNING),
)
def work(server: Any, take_over_after: int, seconds: int) -> None:
    """Process entries one by one. When a signal arrives, finish the current entry."""
    with suppress(redis.ResponseError):  # another worker has already created the group
        server.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    for _ in until_stopped():
        for entry_id, fields in next_entries(server, take_over_after):
            process(server, entry_id, fields, seconds)


def main() -> None:
    """Work until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", metavar="URL", default="redis://127.0.0.1:6379")
    parser.add_argument(
        "--take-over-after",
        metavar="SECONDS",
        type=positive,
        default=60,
        help="take over an event that another worker has held for this long (default: %(default)s)",
    )
    parser.add_argument(
        "--work", metavar="SECONDS", type=positive, default=0, help="sleep this long for each event"
    )
    options = parser.parse_args()
    try:
        server = redis.Redis.from_url(options.redis, password=secret("REDIS_PASSWORD"), socket_timeout=5)
    except ValueError as error:
        parser.error(f"{options.redis!r}: {error}")
    work(server, options.take_over_after, options.work)


if __name__ == "__main__":
    run(main)
