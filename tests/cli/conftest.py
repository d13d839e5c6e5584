"""Fixtures shared by the ``listen`` tests."""

from functools import partial

import pytest
from dxlclient.client import DxlClient
from helpers.command_line import Listen, Start
from helpers.receiving import Epo

from dxlthreateventclient.testing import LocalFabric


@pytest.fixture
def listen(fabric: LocalFabric, topic: str) -> Start:
    """A function that starts ``listen`` with the topic and any additional arguments."""
    return partial(Listen, fabric.config_file, topic)


@pytest.fixture
def epo(dxl_client: DxlClient, topic: str) -> Epo:
    return Epo(dxl_client, topic)
