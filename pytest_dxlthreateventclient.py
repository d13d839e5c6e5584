"""Fixtures for pytest: ``dxl_fabric``, ``dxl_client`` and ``publish_and_wait``.

pytest imports this module in each of its runs, so it imports nothing of the package before a fixture is used.
The fixtures build on private ones: a fixture of the same name in a user's ``conftest.py`` would replace ours
inside our own fixtures, too.

It works from pytest 6.2.5 on, which lacks names that the annotations use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dxlclient.client import DxlClient
    from dxlclient.message import Event

    from dxlthreateventclient.testing import LocalFabric
    from dxlthreateventclient.testing._clients import FixtureClients

_TOPIC = "/mcafee/event/epo/threat/response"
_FILTERS = [
    "ignore:ssl.PROTOCOL_TLS is deprecated:DeprecationWarning:pahoproxy",
    r"ignore:notifyAll\(\) is deprecated:DeprecationWarning:dxlclient",
    r"ignore:currentThread\(\) is deprecated:DeprecationWarning:dxlclient",
    # The threads with which dxlclient reconnects fail if the client is destroyed meanwhile.
    (
        r"ignore:Exception in thread Thread-\d+ \(_(connect_thread_main|on_connect_run|on_disconnect_run)\)"
        ":pytest.PytestUnhandledThreadExceptionWarning"
    ),
]
if sys.version_info < (3, 11):
    # asyncio closes no transport whose connection ends before the TLS handshake, as dxlclient's probe does.
    _FILTERS.append("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")


def pytest_configure(config: pytest.Config) -> None:
    """Ignore warnings about code that is not the user's: ``filterwarnings = error`` makes errors of them."""
    if config.pluginmanager.has_plugin("warnings"):  # else pytest knows no such setting
        for line in _FILTERS:
            config.addinivalue_line("filterwarnings", line)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Ignore them, too, if it is ``pytest -W error``, which goes before the filters of the configuration."""
    uses_fabric = "_dxlthreateventclient_fabric" in getattr(item, "fixturenames", ())
    if uses_fabric and item.config.pluginmanager.has_plugin("warnings"):
        for line in _FILTERS:
            item.add_marker(pytest.mark.filterwarnings(line))


@pytest.fixture(scope="session")
def _dxlthreateventclient_fabric() -> Iterator[LocalFabric]:
    try:
        from dxlthreateventclient.testing import LocalFabric  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    with LocalFabric() as fabric:
        yield fabric


@pytest.fixture(scope="session")
def _dxlthreateventclient_clients(_dxlthreateventclient_fabric: LocalFabric) -> Iterator[FixtureClients]:
    from dxlthreateventclient.testing._clients import FixtureClients  # noqa: PLC0415

    clients = FixtureClients(_dxlthreateventclient_fabric)
    yield clients
    clients.destroy()


@pytest.fixture
def _dxlthreateventclient_client(_dxlthreateventclient_clients: FixtureClients) -> Iterator[DxlClient]:
    client = _dxlthreateventclient_clients.connect()
    yield client
    _dxlthreateventclient_clients.destroy(client)


@pytest.fixture(scope="session")
def dxl_fabric(_dxlthreateventclient_fabric: LocalFabric) -> LocalFabric:
    """Return a running ``LocalFabric``, one for the whole session."""
    return _dxlthreateventclient_fabric


@pytest.fixture
def dxl_client(_dxlthreateventclient_client: DxlClient) -> DxlClient:
    """Return a ``DxlClient`` that is connected to ``dxl_fabric``, a new one for each test."""
    return _dxlthreateventclient_client


@pytest.fixture
def publish_and_wait(
    _dxlthreateventclient_client: DxlClient, _dxlthreateventclient_clients: FixtureClients
) -> Callable[..., Event]:
    """Return a function that publishes a threat event and waits until ``dxl_client`` has handled it.

    ``publish_and_wait(threat_event=None, *, topic=..., dxl_client=None, timeout=10.0)`` publishes a sample
    event if none is given, and returns the DXL event once each callback of the client has run. Name a client
    of your own to wait for that one. It raises ``TimeoutError``.
    """

    def publish(
        threat_event: Mapping[str, Any] | None = None,
        *,
        topic: str = _TOPIC,
        dxl_client: DxlClient | None = None,
        timeout: float = 10.0,
    ) -> Event:
        receiver = dxl_client or _dxlthreateventclient_client
        return _dxlthreateventclient_clients.publish(receiver, threat_event, topic, timeout)

    return publish
