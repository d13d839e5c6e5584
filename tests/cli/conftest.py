"""What the tests of ``listen`` share."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.command_line import Listen

from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event


@pytest.fixture
def listen(fabric: LocalFabric, topic: str) -> Callable[..., Listen]:
    """A function that starts ``listen`` on the topic, with further arguments."""
    return partial(Listen, fabric.config_file, topic)


@pytest.fixture
def publish(dxl_client: DxlClient, topic: str) -> Callable[..., Event]:
    """A function that publishes a sample event on the topic, with changes."""

    def publish_sample(**changes: Any) -> Event:
        return publish_threat_event(dxl_client, sample_threat_event(**changes), topic)

    return publish_sample
