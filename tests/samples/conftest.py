"""Provides a separate fabric for the samples, because they all listen on ePO's topic."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from dxlclient.client import DxlClient
from helpers.samples import WAITING, Sample, Start, until_passed_on
from helpers.waiting import until

from dxlthreateventclient.testing import LocalFabric


@pytest.fixture(scope="session")
def fabric() -> Iterator[LocalFabric]:
    with LocalFabric() as local_fabric:
        yield local_fabric


@pytest.fixture(scope="session")
def shared_client(fabric: LocalFabric) -> Iterator[DxlClient]:
    with DxlClient(fabric.client_config()) as connected_client:
        connected_client.connect()
        yield connected_client


@pytest.fixture
def dxl_client(shared_client: DxlClient) -> DxlClient:
    """Return the publishing client after the broker has forwarded all events from earlier tests."""
    until(lambda: shared_client.connected, "it has reconnected after the test of a gap")
    until_passed_on(shared_client)
    return shared_client


@pytest.fixture
def start(tmp_path: Path, fabric: LocalFabric) -> Iterator[Start]:
    """A function that starts a sample with options and waits for it to print a given line."""
    with ExitStack() as samples:

        def started_sample(command: list[str], *options: str, until: str = WAITING) -> Sample:
            sample = samples.enter_context(Sample(tmp_path, fabric, [*command, *options]))
            if until:
                sample.until_printed(until)
            return sample

        yield started_sample
