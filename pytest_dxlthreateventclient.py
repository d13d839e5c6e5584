"""Fixtures for pytest: ``dxl_fabric``, ``dxl_client`` and ``publish_and_wait``.

Pytest imports this module in every run, so the module imports the package only when a test uses a fixture.
The public fixtures depend only on private fixtures. A ``conftest.py`` file can therefore replace one public
fixture without affecting the others.

The module works with pytest 6.2.5 and newer. Annotations are not evaluated, because some of their names do
not exist in pytest 6.2.5.
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
    # If a client is destroyed while reconnecting, dxlclient's threads raise exceptions.
    (
        r"ignore:Exception in thread Thread-\d+ \(_(connect_thread_main|on_connect_run|on_disconnect_run)\)"
        ":pytest.PytestUnhandledThreadExceptionWarning"
    ),
]
if sys.version_info < (3, 11):
    # If a client disconnects before the TLS handshake, as dxlclient does when it probes the port, asyncio
    # does not close the transport.
    _FILTERS.append("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")


def pytest_configure(config: pytest.Config) -> None:
    """Ignore third-party warnings, which ``filterwarnings = error`` would turn into errors."""
    if config.pluginmanager.has_plugin("warnings"):  # otherwise the setting is unknown
        for line in _FILTERS:
            config.addinivalue_line("filterwarnings", line)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Ignore third-party warnings even if ``pytest -W error`` overrides the configuration."""
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
    """Return a running ``LocalFabric``, shared by the whole session."""
    return _dxlthreateventclient_fabric


@pytest.fixture
def dxl_client(_dxlthreateventclient_client: DxlClient) -> DxlClient:
    """For each test, return a new ``DxlClient`` connected to ``dxl_fabric``."""
    return _dxlthreateventclient_client


@pytest.fixture
def publish_and_wait(
    _dxlthreateventclient_client: DxlClient, _dxlthreateventclient_clients: FixtureClients
) -> Callable[..., Event]:
    """Return a function that publishes a threat event and waits until ``dxl_client`` has handled it.

    ``publish_and_wait(threat_event=None, *, topic=..., dxl_client=None, timeout=10.0)`` publishes the given
    event, or a sample event by default. The call returns the DXL event once all of the client's callbacks
    have run, or raises ``TimeoutError`` after ``timeout`` seconds. Pass ``dxl_client`` to wait for a
    different client.
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
