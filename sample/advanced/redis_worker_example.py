"""Takes ePO threat events from a Redis Stream and handles them, sharing the work with the other workers."""

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
from common import missing_extra, positive

try:
    import redis
    import tenacity
except ModuleNotFoundError as error:
    sys.exit(missing_extra(error))

STREAM, FAILED, GROUP = "threat-events", "threat-events-failed", "workers"
WORKER = f"{socket.gethostname()}-{os.getpid()}"
logger = logging.getLogger(__name__)


def handle(threat_event: dict[str, Any], seconds: int) -> None:
    """Handle a threat event: your code goes here."""
    print(repr(threat_event["event"]["threatName"]), flush=True)
    time.sleep(seconds)


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(redis.RedisError),
    wait=tenacity.wait_fixed(1),
    before_sleep=tenacity.before_sleep_log(logger, logging.WARNING),
)
def work(server: Any, take_over_after: int, seconds: int) -> None:
    """Take entries and handle them, one after the other, for ever."""
    with suppress(redis.ResponseError):  # another worker has made the group already
        server.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    while True:
        left = server.xautoclaim(STREAM, GROUP, WORKER, min_idle_time=take_over_after * 1000, count=1)[1]
        new = [] if left else server.xreadgroup(GROUP, WORKER, {STREAM: ">"}, count=1, block=1000)
        for entry_id, fields in new[0][1] if new else left:
            message_id = repr(fields.get(b"message_id", b"").decode(errors="replace"))
            print(f"Took {message_id}", flush=True)
            with server.pipeline() as transaction:
                try:
                    handle(decode_threat_event(fields[b"payload"]), seconds)
                except Exception:
                    logger.exception("%s failed, and goes to the stream %s", message_id, FAILED)
                    transaction.xadd(FAILED, fields)
                transaction.xack(STREAM, GROUP, entry_id).xdel(STREAM, entry_id).execute()
            print(f"Finished {message_id}", flush=True)


def main() -> None:
    """Work until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", metavar="URL", default="redis://127.0.0.1:6379")
    waiting = "after how long the event of a worker that died is taken over (default: %(default)s)"
    parser.add_argument("--take-over-after", metavar="SECONDS", type=positive, default=60, help=waiting)
    parser.add_argument("--work", metavar="SECONDS", type=positive, default=0, help="pretend to work so long")
    options = parser.parse_args()
    try:
        server = redis.Redis.from_url(options.redis)
    except ValueError as error:
        parser.error(f"{options.redis!r}: {error}")
    work(server, options.take_over_after, options.work)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
