"""What all tests share: a local fabric, and clients connected to it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from dxlclient.client import DxlClient
from helpers.waiting import until

from dxlthreateventclient.testing import LocalFabric

Connect = Callable[[], DxlClient]


@pytest.fixture(scope="module")
def fabric() -> Iterator[LocalFabric]:
    """One running fabric for each test module."""
    with LocalFabric() as local_fabric:
        yield local_fabric


@pytest.fixture(scope="module")
def dxl_client(fabric: LocalFabric) -> Iterator[DxlClient]:
    """One connected client for each test module: dxlclient takes a second to disconnect."""
    connected_client = DxlClient(fabric.client_config())
    connected_client.connect()
    yield connected_client
    # A test that ended dxlclient's worker would keep destroy() waiting for ever, and pytest's timeout is over
    # once a test has failed.
    destroying = threading.Thread(target=connected_client.destroy, daemon=True)
    destroying.start()
    destroying.join(30)
    assert not destroying.is_alive(), "dxlclient waits for a worker that has died"


@pytest.fixture
def nothing_is_left_behind(dxl_client: DxlClient) -> Iterator[None]:
    """The test ends with the subscriptions with which it began."""
    before = dxl_client.subscriptions
    yield
    until(lambda: dxl_client.subscriptions == before, "the subscriptions are as before")


@pytest.fixture
def connect(fabric: LocalFabric) -> Iterator[Connect]:
    """A function that returns a new client, connected to the fabric."""
    with ExitStack() as clients:

        def connected_client() -> DxlClient:
            config = fabric.client_config()
            config.reconnect_delay = 0.1
            dxl_client = clients.enter_context(DxlClient(config))
            dxl_client.connect()
            return dxl_client

        yield connected_client
