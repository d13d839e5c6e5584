"""The library never reports a connection as alive if it cannot check the connection."""

from typing import Any

import pytest
from dxlclient.client import DxlClient
from helpers.clients import clients
from helpers.ports import reserve_port
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.testing import LocalFabric

NAMES = [
    "_client",
    "_client._in_packet",
    "_client._ping_t",
    "_connected",
    "_on_packet_ack",
    "_subscriptions",
    "_thread_pool",
    "_thread_pool._threads",
]


class TestAMissingPartOfDxlclient:
    @pytest.mark.parametrize("name", NAMES)
    def test_is_named_by_the_constructor(
        self, dxl_client: DxlClient, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """If part of dxlclient were missing, a feed could appear connected after its broker had died."""
        owner: Any = dxl_client
        *path, attribute = name.split(".")
        for part in path:
            owner = getattr(owner, part)
        with monkeypatch.context() as patches:
            patches.delattr(owner if attribute in vars(owner) else type(owner), attribute)
            with pytest.raises(RuntimeError, match=rf"DxlClient\.{name}, .* is missing in dxlclient 5\.7\."):
                CommonThreatEventClient(dxl_client)
        CommonThreatEventClient(dxl_client).close()


def test_a_broker_that_has_died_is_not_connected(topic: str) -> None:
    with LocalFabric(port=reserve_port()) as own, clients(own.client_config) as connect:
        dxl_client = connect(connect_retries=0)
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(print, topic)
            assert client.status().connected is True
            own.stop()
            until(lambda: client.status().connected is False, "the loss shows")
            assert client.status().subscribed == ()
            own.start()
            until(lambda: client.status().subscribed == (topic,), "it listens again")
