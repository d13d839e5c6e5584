"""Prints severe ePO threat events in a for loop until Ctrl-C, SIGTERM or a given number of events."""

import argparse
import sys
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from dxlclient.client import DxlClient

from dxlthreateventclient import CommonThreatEventClient, connect, load_configuration
from dxlthreateventclient.formats import severity_of

sys.path.append(str(Path(__file__).parents[1]))
from common import CONFIG_FILE, on_stop, positive, run


def is_severe(limit: int, threat_event: dict[str, Any]) -> bool:
    """Return True if an event is at least as severe as the limit (1 is worst) or has no known severity."""
    return (severity_of(threat_event) or 1) <= limit


def summary(threat_event: dict[str, Any]) -> str:
    """Return a one-line summary of an event, using repr() to make control characters harmless."""
    match threat_event:
        case {"event": {"threatSeverity": severity, "threatName": name, "target": {"hostName": host}}}:
            return f"Severity {severity!r}: {name!r} on {host!r}"
        case _:
            return f"Incomplete: {threat_event!r}"


def main() -> None:
    """Connect to the fabric and loop over incoming events."""
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
        where = partial(is_severe, options.severity)
        with CommonThreatEventClient(dxl_client) as client, client.threat_events(where=where) as events:
            on_stop(events.drain)
            print("Waiting for threat events...", flush=True)
            for threat_event, _ in islice(events, options.count):
                print(summary(threat_event), flush=True)


if __name__ == "__main__":
    run(main)
