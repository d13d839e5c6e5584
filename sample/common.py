"""What all samples share: the configuration of the DXL client, logging, and what is wrong with a command."""

import argparse
import logging
import os
import sys
from pathlib import Path

from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient.configuration import ConfigurationError, load_configuration

# Warnings and errors of dxlclient and of this library, such as a broker that cannot be reached, on stderr.
logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", level=logging.WARNING)


def client_config() -> DxlClientConfig:
    """Load the file that DXLCLIENT_CONFIG names, else dxlclient.config beside this module; or exit with 2."""
    config_file = os.environ.get("DXLCLIENT_CONFIG") or Path(__file__).with_name("dxlclient.config")
    try:
        return load_configuration(config_file)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def positive(text: str) -> int:
    """Return a whole number above 0, or have argparse report what is wrong."""
    if not text.isdecimal() or not 0 < int(text) <= sys.maxsize:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to {sys.maxsize}")
    return int(text)


def missing_extra(error: ModuleNotFoundError) -> int:
    """Say how to install what an advanced sample needs; return the exit status."""
    print(f"{error}: pip install 'dxlthreateventclient[samples]'", file=sys.stderr)
    return 2
