"""Appends each ePO threat event to a Redis Stream for any number of workers."""

import argparse
import logging
import sys
from pathlib import Path

from dxlclient.client import DxlClient

from dxlthreateventclient import CommonThreatEventClient, connect, load_configuration

sys.path.append(str(Path(__file__).parents[1]))
from common import CONFIG_FILE, handling, missing_extra, on_stop, run, secret

try:
    import redis
    import tenacity
except ModuleNotFoundError as error:
    sys.exit(missing_extra(error))


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(redis.RedisError),
    wait=tenacity.wait_exponential(multiplier=0.1, max=10),
    before_sleep=tenacity.before_sleep_log(logging.getLogger(), logging.WARNING),
)
def append(server: redis.Redis, message_id: str, payload: bytes) -> None:
    """Append an event to the stream. Retry until Redis accepts the event."""
    server.xadd("threat-events", {"message_id": message_id, "payload": payload})


def main() -> None:
    """Append each payload unchanged. The workers decode it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", metavar="URL", default="redis://127.0.0.1:6379")
    options = parser.parse_args()
    try:
        server = redis.Redis.from_url(options.redis, password=secret("REDIS_PASSWORD"), socket_timeout=5)
    except ValueError as error:
        parser.error(f"{options.redis!r}: {error}")

    with DxlClient(load_configuration(CONFIG_FILE)) as dxl_client:
        connect(dxl_client)
        with CommonThreatEventClient(dxl_client) as client, client.threat_events() as events:
            on_stop(events.drain)
            print("Waiting for threat events...", flush=True)
            for _, original_event in events:
                with handling(original_event):
                    append(server, str(original_event.message_id), original_event.payload)
                print(f"Appended {original_event.message_id!r}", flush=True)


if __name__ == "__main__":
    run(main)
