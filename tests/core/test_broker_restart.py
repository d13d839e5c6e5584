"""A broker that restarts, while a stream still holds what arrived before."""

from collections.abc import Callable, Iterator

import pytest
from dxlclient.client import DxlClient
from helpers.numbered import Publisher, Tap, number_of, until_settled
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.testing import LocalFabric

BACKLOG = 50


@pytest.fixture(scope="module")
def fabric() -> Iterator[LocalFabric]:
    """A fabric that no other module uses, since it is restarted."""
    with LocalFabric() as local_fabric:
        yield local_fabric


def test_a_stream_and_a_callback_lose_and_double_nothing_over_a_restart_of_the_broker(
    fabric: LocalFabric, connect: Callable[[], DxlClient]
) -> None:
    receiver, epo = connect(), connect()
    tap = Tap(receiver)
    called: list[int] = []
    with (
        CommonThreatEventClient(receiver) as client,
        client.threat_events() as events,
        Publisher(epo, interval=0.01) as publisher,
    ):
        client.add_epo_threat_event_response_callback(
            lambda threat_event, _: called.append(number_of(threat_event))
        )
        until(lambda: len(called) >= BACKLOG, "a backlog has arrived")
        arrived = called[-1]
        fabric.stop()
        stopped = publisher.count
        fabric.start()
        until_settled(publisher, [tap])
        publisher.stop()
        until(lambda: called[-1] == publisher.count, "the last event has arrived")
        taken = [number_of(events.get(timeout=0)[0]) for _ in tap.numbers]
        with pytest.raises(TimeoutError):
            events.get(timeout=0)
    subscribed_again = min(number for number in taken if number > stopped)
    assert taken == sorted(set(taken))
    assert {*range(1, arrived + 1), *range(subscribed_again, publisher.count + 1)} <= set(taken)
    assert called == taken[-len(called) :]
