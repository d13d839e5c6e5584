"""Prints severe ePO threat events in a for loop, until Ctrl-C or a number of events."""

import argparse
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from dxlclient.client import DxlClient

from dxlthreateventclient import CommonThreatEventClient, connect, load_configuration

sys.path.append(str(Path(__file__).parents[1]))
from common import CONFIG_FILE, positive, run


def is_severe(threat_event: dict[str, Any], limit: int) -> bool:
    """Return whether an event is at least this severe; 1 is the most severe.

    An event without a usable severity counts as severe.
    """
    try:
        return int(threat_event["event"]["threatSeverity"]) <= limit
    except (KeyError, TypeError, ValueError):
        return True


def summary(threat_event: dict[str, Any]) -> str:
    """Return one line about an event. repr() makes control characters harmless to a terminal."""
    match threat_event:
        case {"event": {"threatSeverity": severity, "threatName": name, "target": {"hostName": host}}}:
            return f"Severity {severity!r}: {name!r} on {host!r}"
        case _:
            return f"Incomplete: {threat_event!r}"


def main() -> None:
    """Connect to the fabric and loop over the events that arrive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--severity",
        type=int,
        choices=range(1, 8),
        default=7,
        help="leave out less severe events: 1 is the most severe, 7 the least (default: %(default)s)",
    )
    parser.add_argument("--count", type=positive, help="stop after this many events (default: never)")
    options = parser.parse_args()

    with DxlClient(load_configuration(CONFIG_FILE)) as dxl_client:
        connect(dxl_client)
        with CommonThreatEventClient(dxl_client) as client, client.threat_events() as events:
            print("Waiting for threat events...", flush=True)
            severe = (event for event, _ in events if is_severe(event, options.severity))
            for threat_event in islice(severe, options.count):
                print(summary(threat_event), flush=True)


if __name__ == "__main__":
    run(main)
