"""The ``fabric`` and ``demo`` subcommands, which run a local DXL fabric."""

import argparse
import shlex
from pathlib import Path

from dxlthreateventclient import CommonThreatEventClient, testing
from dxlthreateventclient._cli import arguments
from dxlthreateventclient._cli.broker import closing_client
from dxlthreateventclient._cli.signals import pause
from dxlthreateventclient._cli.terminal import tell, text_of, write
from dxlthreateventclient.testing.events import varied_threat_events


def add_subcommands(subcommands: arguments.Subcommands) -> None:
    """Add the parsers for ``fabric`` and ``demo``."""
    fabric = arguments.add_subcommand(
        subcommands,
        "fabric",
        run_fabric,
        "Run a DXL fabric on this machine until Ctrl-C. It listens on 127.0.0.1 only.",
        ("", "--directory my-fabric --port 8883"),
    )
    what = "where to write the configuration and the certificates (default: a temporary directory)"
    fabric.add_argument("--directory", type=Path, help=what)
    fabric.add_argument("--port", type=arguments.port, default=0, help="the TCP port (default: a free one)")
    demo = arguments.add_subcommand(
        subcommands,
        "demo",
        run_demo,
        "See threat events arrive: a fabric, a simulated ePO and a client, all on this machine. The simulated"
        " ePO publishes a threat event every second.",
        ("", "--format text --count 20"),
    )
    what = "how many events (default: %(default)s)"
    demo.add_argument("--count", metavar="N", type=arguments.positive, default=5, help=what)
    arguments.add_format(demo, default="json")


def run_fabric(options: argparse.Namespace) -> int:
    """Run a local fabric until Ctrl-C is pressed."""
    with testing.LocalFabric(port=options.port, directory=options.directory) as fabric:
        config_file = shlex.quote(str(fabric.config_file))
        write(
            f"A DXL fabric runs on 127.0.0.1:{fabric.port} until Ctrl-C. Its configuration for clients:\n"
            f"  {fabric.config_file}\n"
            "Now try, in another terminal:\n"
            f"  DXLCLIENT_CONFIG={config_file} python sample/basic/basic_threat_event_callback_example.py\n"
            "or, without a sample:\n"
            f"  {arguments.PROGRAM} listen --config {config_file}\n"
            "and send it an event from a third terminal:\n"
            f"  {arguments.PROGRAM} publish --config {config_file}"
        )
        while True:
            pause(1)


def run_demo(options: argparse.Namespace) -> int:
    """Show threat events as they arrive over a local fabric."""
    with (
        testing.LocalFabric() as fabric,
        closing_client(fabric.client_config()) as client,
        closing_client(fabric.client_config()) as epo,
        CommonThreatEventClient(client).threat_events() as stream,
    ):
        for dxl_client in (client, epo):
            # Disable reconnection, because the fabric may stop before the clients are closed.
            dxl_client.config.reconnect_when_disconnected = False
            dxl_client.connect()
        tell("Waiting for threat events...")
        threat_events = varied_threat_events()
        for number in range(options.count):
            if number:
                pause(1)
            testing.publish_threat_event(epo, next(threat_events))
            threat_event, event = stream.get(timeout=30)
            write(text_of(threat_event, event, options.format))
    return 0
