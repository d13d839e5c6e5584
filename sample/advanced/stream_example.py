"""Prints severe ePO threat events in a for loop, until Ctrl-C or as many as asked for."""

import argparse
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from dxlclient.client import DxlClient

from dxlthreateventclient import CommonThreatEventClient

sys.path.append(str(Path(__file__).parents[1]))
from common import client_config, positive


def is_severe(threat_event: dict[str, Any], least: int) -> bool:
    """Tell whether an event is at least so severe: 1 is the most severe. In doubt it is."""
    try:
        return int(threat_event["event"]["threatSeverity"]) <= least
    except (KeyError, TypeError, ValueError):
        return True


def summary(threat_event: dict[str, Any]) -> str:
    """Return what happened in one line. repr() makes control characters harmless to a terminal."""
    match threat_event:
        case {"event": {"threatSeverity": severity, "threatName": name, "target": {"hostName": host}}}:
            return f"Severity {severity!r}: {name!r} on {host!r}"
        case _:
            return f"Incomplete: {threat_event!r}"


def main() -> None:
    """Connect to the fabric and loop over what arrives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--severity",
        type=int,
        choices=range(1, 8),
        default=7,
        help="leave out what is less severe: 1 is the most severe, 7 the least (default: %(default)s)",
    )
    parser.add_argument("--count", type=positive, help="end after so many events (default: never)")
    options = parser.parse_args()

    with DxlClient(client_config()) as dxl_client:
        dxl_client.connect()
        with CommonThreatEventClient(dxl_client) as client, client.threat_events() as events:
            print("Waiting for threat events...", flush=True)
            severe = (event for event, _ in events if is_severe(event, options.severity))
            for threat_event in islice(severe, options.count):
                print(summary(threat_event), flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
