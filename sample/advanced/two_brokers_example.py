"""Prints ePO threat events from two brokers, without duplicates, until Ctrl-C or SIGTERM."""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from dxlclient.client import DxlClient

from dxlthreateventclient import Gap, connect, load_configuration, redundant_threat_events
from dxlthreateventclient.formats import text_columns

sys.path.append(str(Path(__file__).parents[1]))
from common import CONFIG_FILE, on_stop, run


def report(gap: Gap) -> None:
    """Print a gap, a period in which neither broker was connected and events may be missing."""
    print(f"GAP {gap}", flush=True)


def main() -> None:
    """Connect to two brokers and print the events from both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "broker",
        nargs=2,
        help="the id of a broker in the configuration file, such as {5d73b77f-8c4b-4ae0-b437}",
    )
    options = parser.parse_args()

    with ExitStack() as stack:
        dxl_clients = []
        for broker in options.broker:
            dxl_client = stack.enter_context(DxlClient(load_configuration(CONFIG_FILE, broker=broker)))
            connect(dxl_client)
            dxl_clients.append(dxl_client)
        events = stack.enter_context(redundant_threat_events(dxl_clients, on_gap=report))
        on_stop(events.drain)
        print("Waiting for threat events...", flush=True)
        for threat_event, _ in events:
            print(*text_columns(threat_event), flush=True)


if __name__ == "__main__":
    run(main)
