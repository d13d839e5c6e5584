"""A redundant stream misses no events while its two brokers are killed in turn.

A third broker forwards the events to the other two.
"""

from contextlib import ExitStack

import pytest
from helpers.clients import clients
from helpers.mosquitto import Mosquitto
from helpers.receiving import Publisher, number_of
from helpers.restarting import Tap, looping, until_settled
from helpers.waiting import until

from dxlthreateventclient import Gap, redundant_threat_events

pytestmark = [
    pytest.mark.slow,
    # If dxlclient loses the connection again while reconnecting, its reconnection thread fails.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

TOPIC = "/test/redundancy"
KILLS = 10  # per broker
INTERVAL = 0.01  # seconds between events


def until_published(publisher: Publisher, number: int) -> None:
    number += publisher.count
    until(lambda: publisher.count >= number, f"event {number} is published")


def test_a_redundant_stream_misses_and_repeats_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    received: list[int] = []
    gaps: list[Gap] = []
    with ExitStack() as stack:
        hub = stack.enter_context(Mosquitto())
        brokers = [stack.enter_context(Mosquitto(hub)) for _ in range(2)]
        connects = [stack.enter_context(clients(broker.client_config)) for broker in brokers]
        dxl_clients = [connect() for connect in connects]
        taps = [Tap(dxl_client, TOPIC) for dxl_client in dxl_clients]
        events = stack.enter_context(redundant_threat_events(dxl_clients, TOPIC, on_gap=gaps.append))
        publisher_client = stack.enter_context(clients(hub.client_config))()

        # Ignore events published before the bridges connect.
        with (
            looping(events, lambda threat_event, _: received.append(number_of(threat_event))),
            Publisher(publisher_client, TOPIC, INTERVAL) as publisher,
        ):
            until_settled(publisher, taps, 60)
            first = publisher.count + 1
            for broker in brokers * KILLS:
                until_settled(publisher, taps, 60)
                # A gap starts one second before the last packet, so two gaps within a second would overlap.
                until_published(publisher, 150)
                broker.stop()
                until_published(publisher, 20)
                broker.start()
            until_settled(publisher, taps, 60)
            publisher.stop()
            until(lambda: publisher.count in received, "the last one arrives")
    due = range(first, publisher.count + 1)
    counted = [number for number in received if number >= first]
    missed = [len(set(due) - set(numbers)) for numbers in (*(tap.numbers for tap in taps), counted)]
    repeated = len(counted) - len(set(counted))
    with capsys.disabled():
        print(
            f"\n{2 * KILLS} kills, {len(due)} events; the clients missed {missed[0]} and {missed[1]} of them,"
            f" the redundant stream missed {missed[2]} and repeated {repeated}"
        )
    assert all(missed[:2])
    assert sorted(counted) == list(due)
    assert gaps == []
