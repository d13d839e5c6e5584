"""The subcommands that bring a DXL fabric of their own: ``fabric`` and ``demo``."""

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dxlclient.client import DxlClient
from dxlclient.message import Event

from dxlthreateventclient.callbacks import CommonThreatEventCallback
from dxlthreateventclient.cli.arguments import port, positive
from dxlthreateventclient.cli.errors import CommandError
from dxlthreateventclient.client import CommonThreatEventClient
from dxlthreateventclient.testing.events import publish_threat_event, varied_threat_events

if TYPE_CHECKING:
    from dxlthreateventclient.testing import LocalFabric

_ARRIVAL_TIMEOUT = 30.0


def add_subcommands(subcommands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parsers of ``fabric`` and ``demo``."""
    fabric = subcommands.add_parser(
        "fabric",
        help="run a DXL fabric on this machine until Ctrl-C",
        description="Run a DXL fabric on this machine (127.0.0.1) until Ctrl-C.",
        epilog="Example: python -m dxlthreateventclient fabric --directory my-fabric --port 8883",
    )
    fabric.add_argument(
        "--directory",
        type=Path,
        help="where to write dxlclient.config and the certificates (default: a temporary directory);"
        " they are removed at the end",
    )
    fabric.add_argument("--port", type=port, default=0, help="the TCP port (default: a free one)")
    fabric.set_defaults(run=run_fabric)

    demo = subcommands.add_parser(
        "demo",
        help="see threat events arrive: a fabric, a simulated ePO and a callback, all on this machine",
        description="Run a DXL fabric on this machine, a simulated ePO that publishes a threat event every"
        " second, and a callback that prints them.",
        epilog="Example: python -m dxlthreateventclient demo --count 3",
    )
    demo.add_argument("--count", type=positive, default=5, help="how many events (default: %(default)s)")
    demo.set_defaults(run=run_demo)


def run_fabric(options: argparse.Namespace) -> int:
    """Run a local fabric until Ctrl-C."""
    with _local_fabric(port=options.port, directory=options.directory) as fabric:
        print(
            f"A DXL fabric runs on 127.0.0.1:{fabric.port} until Ctrl-C. Its configuration for clients:\n"
            f"  {fabric.config_file}\n"
            "Now try, in another terminal:\n"
            f"  DXLCLIENT_CONFIG={fabric.config_file}"
            " python sample/basic/basic_threat_event_callback_example.py",
            flush=True,
        )
        while True:
            time.sleep(1)


def run_demo(options: argparse.Namespace) -> int:
    """Show events arriving over a local fabric."""
    callback = _Print()
    with (
        _local_fabric() as fabric,
        DxlClient(fabric.client_config()) as dxl_client,
        DxlClient(fabric.client_config()) as epo,
    ):
        dxl_client.connect()
        epo.connect()
        CommonThreatEventClient(dxl_client).add_epo_threat_event_response_callback(callback)
        print("Waiting for threat events...", file=sys.stderr)
        for number, threat_event in enumerate(islice(varied_threat_events(), options.count)):
            if number:
                time.sleep(1)
            publish_threat_event(epo, threat_event)
            if not callback.printed.acquire(timeout=_ARRIVAL_TIMEOUT):
                raise CommandError(f"no event arrived within {_ARRIVAL_TIMEOUT:.0f} seconds", status=1)
    return 0


class _Print(CommonThreatEventCallback):
    """Prints each event as the basic sample does."""

    def __init__(self) -> None:
        super().__init__()
        self.printed = threading.Semaphore(0)

    def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        print(f"Threat event on topic: {original_event.destination_topic}")
        print(json.dumps(threat_event_dict, sort_keys=True, indent=4), flush=True)
        self.printed.release()


@contextmanager
def _local_fabric(*, port: int = 0, directory: Path | None = None) -> "Iterator[LocalFabric]":
    try:
        from dxlthreateventclient.testing import LocalFabric  # noqa: PLC0415 - needs the extra
    except ModuleNotFoundError as error:
        raise CommandError(str(error), status=2) from error
    fabric = LocalFabric(port=port, directory=directory)
    try:
        fabric.start()
    except OSError as error:
        file = f": {error.filename}" if error.filename else ""
        raise CommandError(f"{error.strerror}{file}", status=2) from error
    try:
        yield fabric
    finally:
        fabric.stop()
