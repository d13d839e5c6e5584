"""Provides one fabric per test, because all samples listen on ePO's topic."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from dxlclient.client import DxlClient
from helpers.samples import WAITING, Sample, Start

from dxlthreateventclient.testing import LocalFabric


@pytest.fixture
def fabric() -> Iterator[LocalFabric]:
    with LocalFabric() as local_fabric:
        yield local_fabric


@pytest.fixture
def dxl_client(fabric: LocalFabric) -> Iterator[DxlClient]:
    """The publishing client."""
    with DxlClient(fabric.client_config()) as connected_client:
        connected_client.connect()
        yield connected_client


@pytest.fixture
def start(tmp_path: Path, fabric: LocalFabric) -> Iterator[Start]:
    """A function that starts a command with options and returns the sample once a given line is printed."""
    with ExitStack() as samples:

        def started_sample(command: list[str], *options: str, until: str = WAITING) -> Sample:
            sample = samples.enter_context(Sample(tmp_path, fabric, [*command, *options]))
            if until:
                sample.until_printed(until)
            return sample

        yield started_sample
