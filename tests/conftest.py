"""Fixtures for all tests: a fabric, a client connected to it, and a topic for each test.

A fabric takes a moment to start, and destroying a client takes about a second. All tests in a pytest process
therefore share one fabric and one client. Separate topics isolate the tests. No test may leave a subscription
behind.
"""

import os
import signal
from collections.abc import Iterator
from uuid import uuid4

import pytest
from dxlclient.client import DxlClient
from helpers.clients import Connect, clients
from helpers.waiting import until
from hypothesis import HealthCheck, settings

from dxlthreateventclient.testing import LocalFabric

# Run only a few examples locally but many in CI. The examples are always the same and have no time limit, so
# that results do not depend on chance. "make fuzz" searches for new examples.
for profile, count in {"quick": 10, "thorough": 200}.items():
    settings.register_profile(
        profile,
        max_examples=count,
        derandomize=True,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile("thorough" if os.environ.get("CI") else "quick")


def pytest_configure() -> None:
    """Let programs started by tests receive Ctrl-C, even if a shell started pytest in the background.

    A shell without job control makes its background processes and their children ignore SIGINT. With a
    handler that does nothing, pytest still ignores Ctrl-C, but the programs that tests start receive it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)


def pytest_xdist_auto_num_workers() -> int:
    """Run more processes than there are cores, because tests mostly wait for brokers and programs."""
    return 3 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Allow slow tests more time unless they set their own time limit."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def fabric() -> Iterator[LocalFabric]:
    """The running fabric that all tests share. Tests that stop or freeze a fabric start their own."""
    with LocalFabric() as local_fabric:
        yield local_fabric


@pytest.fixture(scope="session")
def shared_client(fabric: LocalFabric) -> Iterator[DxlClient]:
    with clients(fabric.client_config) as connect:
        yield connect()


@pytest.fixture
def dxl_client(shared_client: DxlClient) -> Iterator[DxlClient]:
    """The connected client that all tests share. Each test must remove its subscriptions."""
    before = set(shared_client.subscriptions)
    yield shared_client
    until(lambda: set(shared_client.subscriptions) == before, f"only {before} are subscribed")


@pytest.fixture
def connect(fabric: LocalFabric) -> Iterator[Connect]:
    """A function that returns a new client connected to the fabric."""
    with clients(fabric.client_config) as connected_client:
        yield connected_client


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"/test/{uuid4().hex}"


@pytest.fixture
def without_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable coverage for programs started by a test, because coverage cannot save data on a full disk."""
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
        monkeypatch.delenv(name, raising=False)
