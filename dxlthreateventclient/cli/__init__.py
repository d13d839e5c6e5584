"""The command line, ``python -m dxlthreateventclient``: one module for each group of subcommands."""

import argparse
import signal
import sys
from collections.abc import Sequence

from dxlthreateventclient._version import __version__
from dxlthreateventclient.cli import local
from dxlthreateventclient.cli.errors import CommandError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    :param arguments: the command line without the name of the program; the default is ``sys.argv``'s
    :return: the exit status: 0, 1 if something went wrong on the fabric, 2 for wrong usage
    """
    parser = argparse.ArgumentParser(
        prog="python -m dxlthreateventclient",
        description="Work with ePO threat events on a DXL fabric.",
        epilog="Try it: python -m dxlthreateventclient demo",
    )
    parser.add_argument("--version", action="version", version=f"dxlthreateventclient {__version__}")
    subcommands = parser.add_subparsers(metavar="COMMAND", required=True)
    local.add_subcommands(subcommands)

    options = parser.parse_args(arguments)
    # What ends a service ends this as Ctrl-C does: with everything closed and put away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status: int = options.run(options)
    except KeyboardInterrupt:
        return 0
    except CommandError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.status
    return status
