"""The command-line interface: ``python -m dxlthreateventclient``.

The commands use only the package's public names, as any other program would.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence

from dxlclient.exceptions import DxlException

from dxlthreateventclient import BrokerConnectionError, ConfigurationError, __version__
from dxlthreateventclient._cli import check, listen, local, publish
from dxlthreateventclient._cli.arguments import PROGRAM
from dxlthreateventclient._cli.signals import interrupt_on_signals
from dxlthreateventclient._cli.terminal import CommandError, report_faults, tell

_ON_THE_WAY = BrokerConnectionError, DxlException, TimeoutError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    :param arguments: the command line without the program name; the default comes from ``sys.argv``
    :return: the exit status: 0 for success, 1 for a problem on the fabric, 2 for wrong usage or
        configuration, 130 for an interruption before the end
    """
    parser = make_parser()
    options = parser.parse_args(arguments)
    if sys.stdout is None:
        parser.error("stdout is closed, so all output would be lost")
    interrupt_on_signals()
    report_faults(verbose=options.verbose)
    # Ignore deprecation and resource warnings, as Python does by default. With "-W error", a warning from
    # dxlclient would otherwise end the program.
    for category in (DeprecationWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)
    try:
        status: int = options.run(options)
    except KeyboardInterrupt:
        status = options.interrupted
    except BrokenPipeError:
        # The reader closed the pipe, as "head -1" does.
        status = 0
    except (CommandError, ConfigurationError, DxlException, ModuleNotFoundError, OSError) as error:
        what = getattr(error, "strerror", None) or str(error)
        file = getattr(error, "filename", None)
        tell(f"{PROGRAM}: {file}: {what}" if file else f"{PROGRAM}: {what}")
        status = getattr(error, "status", 1 if isinstance(error, _ON_THE_WAY) else 2)
    return status


def make_parser() -> argparse.ArgumentParser:
    """Return the argument parser for the command line."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Work with ePO threat events on a DXL fabric.",
        epilog=f"Try it without any setup: {PROGRAM} demo",
    )
    parser.add_argument("--version", action="version", version=f"dxlthreateventclient {__version__}")
    subcommands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (listen, publish, check, local):
        module.add_subcommands(subcommands)
    return parser
