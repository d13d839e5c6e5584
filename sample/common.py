"""What the samples share: the configuration file, logging, and how a sample ends."""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from dxlthreateventclient.exceptions import BrokerConnectionError, ConfigurationError

CONFIG_FILE = os.environ.get("DXLCLIENT_CONFIG") or Path(__file__).with_name("dxlclient.config")
"""The file that the environment variable DXLCLIENT_CONFIG names, or ``sample/dxlclient.config``."""

# Show warnings and errors of dxlclient and of this library, such as a lost connection, on stderr.
logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", level=logging.WARNING)


def run(main: Callable[[], None]) -> None:
    """Run a sample until it ends or Ctrl-C is pressed.

    A wrong configuration (exit status 2) and a broker that cannot be reached (1) are reported in one line.
    """
    try:
        main()
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except BrokerConnectionError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


def positive(text: str) -> int:
    """Return an option's value, a whole number above 0, or let argparse report what is wrong."""
    if not text.isdecimal() or not 0 < int(text) <= sys.maxsize:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {sys.maxsize}, got {text!r}")
    return int(text)


def missing_extra(error: ModuleNotFoundError) -> int:
    """Print how to install what an advanced sample needs; return the exit status."""
    print(f"{error}: pip install 'dxlthreateventclient[samples]'", file=sys.stderr)
    return 2
