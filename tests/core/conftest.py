"""Fixtures for the core tests."""

import sys
from collections.abc import Iterator

import pytest
from dxlclient.client import DxlClient
from helpers.clients import clients
from helpers.feed import Feed

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.testing import LocalFabric


@pytest.fixture
def feed(dxl_client: DxlClient, topic: str) -> Iterator[Feed]:
    """Yield a client with helpers that add callbacks and publish events, and close it after the test."""
    with CommonThreatEventClient(dxl_client) as client:
        yield Feed(client, dxl_client, topic)


@pytest.fixture(scope="session")
def crowded(fabric: LocalFabric) -> Iterator[DxlClient]:
    """A connected client with a small queue of incoming messages."""
    with clients(fabric.client_config) as connect:
        yield connect(incoming_message_queue_size=5)


@pytest.fixture
def restless() -> Iterator[None]:
    """Make Python switch threads as often as possible, so that each run covers many interleavings."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)
