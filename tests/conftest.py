"""What all tests share: a fabric, a client connected to it, and a topic for each test.

Starting a fabric takes a moment, and leaving a client takes a second. So each process of pytest has one
fabric and one client for all its tests. What keeps the tests apart is the topic: each takes one of its own,
and leaves the shared client with the subscriptions that it found.
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

# Few examples where people wait, many where machines do. Always the same ones, and without a limit of time:
# a test neither fails nor passes by chance. "make fuzz" looks for new ones.
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
    """Let the programs that tests start take Ctrl-C, even if a shell started pytest in the background.

    Such a shell has SIGINT ignored, and a program that is started with it ignored goes on ignoring it. With a
    handler instead, pytest ignores it as before, and new programs get the default.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)


def pytest_xdist_auto_num_workers() -> int:
    """Run more processes than there are cores: tests wait for brokers and programs most of the time."""
    return 3 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the slow tests more time than the others get, unless they ask for more themselves."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def fabric() -> Iterator[LocalFabric]:
    """The running fabric of all tests. A test that stops or freezes a fabric starts one of its own."""
    with LocalFabric() as local_fabric:
        yield local_fabric


@pytest.fixture(scope="session")
def shared_client(fabric: LocalFabric) -> Iterator[DxlClient]:
    with clients(fabric.client_config) as connect:
        yield connect()


@pytest.fixture
def dxl_client(shared_client: DxlClient) -> Iterator[DxlClient]:
    """A connected client. The test has to leave its subscriptions as they were."""
    before = set(shared_client.subscriptions)
    yield shared_client
    until(lambda: set(shared_client.subscriptions) == before, f"only {before} are subscribed")


@pytest.fixture
def connect(fabric: LocalFabric) -> Iterator[Connect]:
    """A function that returns a new client, connected to the fabric."""
    with clients(fabric.client_config) as connected_client:
        yield connected_client


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"/test/{uuid4().hex}"


@pytest.fixture
def without_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no coverage of the programs that a test starts: they have no room for its data, either."""
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
        monkeypatch.delenv(name, raising=False)
