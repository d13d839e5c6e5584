"""Receives and prints ePO threat events until Ctrl-C or SIGTERM."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from dxlclient.client import DxlClient
from dxlclient.message import Event

from dxlthreateventclient import (
    CommonThreatEventCallback,
    CommonThreatEventClient,
    connect,
    load_configuration,
)

sys.path.append(str(Path(__file__).parents[1]))
from common import CONFIG_FILE, run


class PrintThreatEvent(CommonThreatEventCallback):
    """Prints each threat event as JSON."""

    def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        """Print the topic and the threat event."""
        print(f"Threat event on topic: {original_event.destination_topic}")
        print(json.dumps(threat_event_dict, sort_keys=True, indent=4), flush=True)


def main() -> None:
    """Connect to the fabric, add the callback and wait for events."""
    with DxlClient(load_configuration(CONFIG_FILE)) as dxl_client:
        connect(dxl_client)
        with CommonThreatEventClient(dxl_client) as client:
            client.add_epo_threat_event_response_callback(PrintThreatEvent())
            print("Waiting for threat events...", flush=True)
            while True:
                time.sleep(1)


if __name__ == "__main__":
    run(main)
