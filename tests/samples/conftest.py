"""One fabric per test: all samples listen on the topic of ePO, so a shared fabric would connect the tests."""

from collections.abc import Iterator

import pytest
from dxlclient.client import DxlClient

from dxlthreateventclient.testing import LocalFabric


@pytest.fixture
def fabric() -> Iterator[LocalFabric]:
    with LocalFabric() as local_fabric:
        yield local_fabric


@pytest.fixture
def dxl_client(fabric: LocalFabric) -> Iterator[DxlClient]:
    """The client that publishes."""
    with DxlClient(fabric.client_config()) as connected_client:
        connected_client.connect()
        yield connected_client
