"""A process whose loop over a stream starts late: ``late_receiver.py CONFIG_FILE MAX_BUFFERED COUNT``.

It prints when it listens, and what the library warns of. A line on standard input lets the loop start. Then
it prints the numbers of the events in the order in which it took them, and what they cost in memory.
"""

import json
import logging
import re
import sys
from pathlib import Path

from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig
from helpers.numbered import number_of

from dxlthreateventclient import CommonThreatEventClient


def memory(kind: str) -> int:
    """Return, in bytes, how much memory this process has (VmRSS), or had at the most (VmHWM)."""
    [kilobytes] = re.findall(rf"{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) * 1024


def main(config_file: str, max_buffered: int, count: int) -> None:
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    with DxlClient(DxlClientConfig.create_dxl_config_from_file(config_file)) as dxl_client:
        dxl_client.connect()
        client = CommonThreatEventClient(dxl_client)
        with client.threat_events(max_buffered=max_buffered) as events:
            before = memory("VmRSS")
            print("listening", flush=True)
            sys.stdin.readline()
            numbers = [number_of(events.get(timeout=30)[0]) for _ in range(count)]
            print(json.dumps({"numbers": numbers, "memory": memory("VmHWM") - before}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
