"""The subcommands that bring a DXL fabric of their own: ``fabric`` and ``demo``."""

import argparse
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient._cli.arguments import PROGRAM, add_format, add_subcommand, port, positive
from dxlthreateventclient._cli.connection import closing_client
from dxlthreateventclient._cli.errors import CommandError
from dxlthreateventclient._cli.messages import tell
from dxlthreateventclient._cli.output import FORMATS, write
from dxlthreateventclient._cli.signals import pause
from dxlthreateventclient.client import CommonThreatEventClient
from dxlthreateventclient.testing.events import publish_threat_event, varied_threat_events

if TYPE_CHECKING:
    from dxlthreateventclient.testing import LocalFabric

_ARRIVAL_TIMEOUT = 30.0


def add_subcommands(subcommands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parsers of ``fabric`` and ``demo``."""
    fabric = add_subcommand(
        subcommands,
        "fabric",
        summary="run a DXL fabric on this machine until Ctrl-C",
        description="Run a DXL fabric on this machine (127.0.0.1) until Ctrl-C.",
        examples=("", "--directory my-fabric --port 8883"),
    )
    fabric.add_argument(
        "--directory",
        type=Path,
        help="where to write dxlclient.config and the certificates (default: a temporary directory);"
        " they are removed at the end",
    )
    fabric.add_argument("--port", type=port, default=0, help="the TCP port (default: a free one)")
    fabric.set_defaults(run=run_fabric)

    demo = add_subcommand(
        subcommands,
        "demo",
        summary="see threat events arrive: a fabric, a simulated ePO and a client, all on this machine",
        description="Run a DXL fabric on this machine, a simulated ePO that publishes a threat event every"
        " second, and a client that prints them.",
        examples=("", "--format text --count 20"),
    )
    demo.add_argument(
        "--count", metavar="N", type=positive, default=5, help="how many (default: %(default)s)"
    )
    add_format(demo, default="json")
    demo.set_defaults(run=run_demo)


def run_fabric(options: argparse.Namespace) -> int:
    """Run a local fabric until Ctrl-C."""
    with _local_fabric(port=options.port, directory=options.directory) as fabric:
        config_file = shlex.quote(str(fabric.config_file))
        write(
            f"A DXL fabric runs on 127.0.0.1:{fabric.port} until Ctrl-C. Its configuration for clients:\n"
            f"  {fabric.config_file}\n"
            "Now try, in another terminal:\n"
            f"  DXLCLIENT_CONFIG={config_file} python sample/basic/basic_threat_event_callback_example.py\n"
            "or, which needs no sample:\n"
            f"  {PROGRAM} listen --config {config_file}\n"
            "and send it an event from a third terminal:\n"
            f"  {PROGRAM} publish --config {config_file}"
        )
        while True:
            pause(1)


def run_demo(options: argparse.Namespace) -> int:
    """Show events arriving over a local fabric."""
    make_text = FORMATS[options.format]()
    with (
        _local_fabric() as fabric,
        closing_client(_config(fabric)) as client,
        closing_client(_config(fabric)) as epo,
        CommonThreatEventClient(client).threat_events() as stream,
    ):
        client.connect()
        epo.connect()
        tell("Waiting for threat events...")
        threat_events = varied_threat_events()
        for number in range(options.count):
            if number:
                pause(1)
            publish_threat_event(epo, next(threat_events))
            try:
                threat_event, event = stream.get(timeout=_ARRIVAL_TIMEOUT)
            except TimeoutError as error:
                raise CommandError(
                    f"no event arrived within {_ARRIVAL_TIMEOUT:.0f} seconds", status=1
                ) from error
            write(make_text(threat_event, event.destination_topic))
    return 0


def _config(fabric: "LocalFabric") -> DxlClientConfig:
    config = fabric.client_config()
    # The fabric is gone before the clients are through with closing: they are not to look for it.
    config.reconnect_when_disconnected = False
    return config


@contextmanager
def _local_fabric(*, port: int = 0, directory: Path | None = None) -> "Iterator[LocalFabric]":
    try:
        from dxlthreateventclient.testing import LocalFabric  # noqa: PLC0415 - needs the extra
    except ModuleNotFoundError as error:
        raise CommandError(str(error), status=2) from error
    try:
        fabric = LocalFabric(port=port, directory=directory)
        fabric.start()
    except OSError as error:
        what = str(error.strerror)
        if error.filename:  # else the fabric says it all: about its port, or a file of another fabric
            what = f"cannot write to {fabric.directory}: {what}; choose a directory whose parent exists"
        raise CommandError(what, status=2) from error
    try:
        yield fabric
    finally:
        fabric.stop()
