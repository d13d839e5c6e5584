"""The command line, ``python -m dxlthreateventclient``: one module for each group of subcommands."""

import argparse
import sys
from collections.abc import Sequence

from dxlthreateventclient._cli import check, listen, local, publish
from dxlthreateventclient._cli.arguments import PROGRAM
from dxlthreateventclient._cli.errors import CommandError
from dxlthreateventclient._cli.messages import tell, tell_instead_of_tracebacks
from dxlthreateventclient._cli.signals import interrupt_on_signals
from dxlthreateventclient._version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    :param arguments: the command line without the name of the program; the default is ``sys.argv``'s
    :return: the exit status: 0, 1 if something went wrong on the fabric, 2 for wrong usage or configuration,
        130 if it was interrupted before it was done
    """
    parser = make_parser()
    options = parser.parse_args(arguments)
    if sys.stdout is None:
        parser.error("stdout is closed: what is printed would be lost")
    interrupt_on_signals()
    tell_instead_of_tracebacks()
    try:
        status: int = options.run(options)
    except KeyboardInterrupt:
        status = options.interrupted
    except BrokenPipeError:
        # Who reads has what it wanted, as in "listen | head -1".
        status = 0
    except CommandError as error:
        tell(f"{PROGRAM}: {error}")
        status = error.status
    return status


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Work with ePO threat events on a DXL fabric.",
        epilog=f"Try it without any set-up: {PROGRAM} demo",
    )
    parser.add_argument("--version", action="version", version=f"dxlthreateventclient {__version__}")
    # Most subcommands run until Ctrl-C: it is how they end well.
    parser.set_defaults(interrupted=0)
    subcommands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (listen, publish, check, local):
        module.add_subcommands(subcommands)
    return parser
