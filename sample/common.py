"""What all samples share: the configuration of the DXL client, and logging."""

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
