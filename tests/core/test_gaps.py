"""A feed reports its gaps. All events published outside the reported gaps arrive."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from dxlclient.client import DxlClient
from helpers.clients import Connect, clients
from helpers.program import freeze, running, until_printed
from helpers.receiving import Publisher, Receiver, publish_numbers
from helpers.restarting import reconnecting
from helpers.stub_broker import GRANTED, REFUSED, WITHHELD, StubBroker, stub_broker
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient, Gap
from dxlthreateventclient.testing import LocalFabric

EVENT = b'{"event": {"id": 1}}'


STOPPED = """
import sys
from dxlclient.client import DxlClient
from dxlthreateventclient import CommonThreatEventClient, connect, load_configuration

config = load_configuration(sys.argv[1])
config.keep_alive_interval = 1
with DxlClient(config) as dxl_client:
    connect(dxl_client)
    report = lambda gap: print(gap.start.timestamp(), flush=True)
    with CommonThreatEventClient(dxl_client, report) as client:
        client.add_threat_event_callback(lambda *_: print("event", flush=True), sys.argv[2])
        print("ready", flush=True)
        sys.stdin.readline()
"""


class Gaps(list[Gap]):
    """The reported gaps, for use as ``on_gap``."""

    def __call__(self, gap: Gap) -> None:
        self.append(gap)

    @property
    def ended(self) -> list[Gap]:
        return [gap for gap in self if gap.end]

    def until_ended(self, number: int) -> None:
        until(lambda: len(self.ended) >= number, f"{number} gaps are over")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StubBroker]:
    with stub_broker(tmp_path_factory.mktemp("stub")) as stub:
        yield stub


@pytest.fixture
def connect_to_stub(broker: StubBroker) -> Iterator[Connect]:
    broker.answer = lambda _: GRANTED
    with clients(broker.client_config) as connect:
        yield connect


class TestAGap:
    def test_is_reported_when_it_begins_and_when_it_is_over(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str
    ) -> None:
        gaps, receiver = Gaps(), Receiver()
        before = datetime.now(timezone.utc)
        with CommonThreatEventClient(connect_to_stub(), gaps) as client:
            client.add_threat_event_callback(receiver, topic)
            assert client.status().open_gap is None
            broker.reset()
            gaps.until_ended(1)
            begun, ended = gaps
            assert (begun.start, begun.topics, begun.reason) == (ended.start, ended.topics, ended.reason)
            assert (begun.end, begun.duration, begun.topics) == (None, None, (topic,))
            assert ended.end is not None
            assert before - timedelta(seconds=2) < ended.start <= ended.end <= datetime.now(timezone.utc)
            assert ended.end.tzinfo == timezone.utc
            assert broker.publish(topic, EVENT) == 1
            receiver.until_received(1)
            status = client.status()
            assert (status.gaps, status.open_gap, status.subscribed) == (1, None, (topic,))
            assert ended.duration is not None
            assert status.gap_seconds == pytest.approx(ended.duration.total_seconds())

    def test_is_a_warning_in_the_log_by_default(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with CommonThreatEventClient(connect_to_stub()) as client:
            client.add_threat_event_callback(Receiver(), topic)
            broker.reset()
            until(lambda: "may be missing from" in caplog.text, "the end of the gap is logged")
        records = [record for record in caplog.records if "may be missing" in record.getMessage()]
        assert {record.levelno for record in records} == {logging.WARNING}
        assert all(topic in record.getMessage() for record in records)

    def test_is_reported_to_each_client_that_shares_a_callback(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str
    ) -> None:
        dxl_client, receiver, gaps = connect_to_stub(), Receiver(), [Gaps(), Gaps()]
        first, second = (CommonThreatEventClient(dxl_client, on_gap) for on_gap in gaps)
        with first, second:
            for client in (first, second):
                client.add_threat_event_callback(receiver, topic)
            broker.reset()
            for each in gaps:
                each.until_ended(1)

    def test_starts_before_an_event_of_which_half_was_read(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str
    ) -> None:
        gaps = Gaps()
        with CommonThreatEventClient(connect_to_stub(), gaps) as client:
            client.add_threat_event_callback(Receiver(), topic)
            quiet = time.monotonic() + 1.5
            until(lambda: time.monotonic() > quiet, "nothing has come for a while")
            published = datetime.now(timezone.utc)
            for piece in (b"\x30\x50", topic.encode(), EVENT):
                broker.send_raw(piece)
                late = time.monotonic() + 1
                until(lambda: time.monotonic() > late, "the rest is late")  # noqa: B023
            broker.reset()
            gaps.until_ended(1)
        assert gaps[0].start < published

    def test_is_not_missed_however_short_it_is(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str
    ) -> None:
        gaps = Gaps()
        with CommonThreatEventClient(connect_to_stub(), gaps) as client:
            client.add_threat_event_callback(Receiver(), topic)
            for number in range(1, 9):
                broker.reset()
                gaps.until_ended(number)
            assert client.status().gaps == 8

    def test_is_what_dxlclient_itself_ends(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str
    ) -> None:
        """After a loss, dxlclient waits until its queue is empty, then closes even a restored connection."""
        gaps, started, go_on = Gaps(), threading.Event(), threading.Event()

        def slow(*_: object) -> None:
            started.set()
            go_on.wait(30)

        with CommonThreatEventClient(connect_to_stub(), gaps) as client:
            client.add_threat_event_callback(slow, topic)
            broker.publish(topic, EVENT)
            assert started.wait(30)
            broker.reset()
            gaps.until_ended(1)
            go_on.set()
            gaps.until_ended(2)

    def test_lasts_until_the_subscription_is_acknowledged(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The feed repeats the SUBSCRIBE. dxlclient itself would wait two minutes, then receive nothing."""
        gaps, receiver = Gaps(), Receiver()
        withheld: list[datetime] = []

        def withhold_two(subscribed: str) -> int | None:
            if subscribed != topic or len(withheld) == 2:
                return GRANTED
            withheld.append(datetime.now(timezone.utc))
            return WITHHELD

        dxl_client = connect_to_stub()
        with CommonThreatEventClient(dxl_client, gaps) as client:
            client.add_threat_event_callback(receiver, topic)
            broker.answer = withhold_two
            broker.reset()
            until(lambda: bool(client.status().connected and withheld), "it is connected again")
            assert client.status().subscribed == ()
            gaps.until_ended(1)
            [gap] = gaps.ended
            assert gap.end is not None
            assert gap.end > withheld[-1]
            assert broker.publish(topic, EVENT) == 1
            receiver.until_received(1)
            assert dxl_client.connected, "dxlclient does not wait any more, either"
        assert f"not acknowledged the subscription to {topic}" in caplog.text

    def test_covers_what_was_not_read_when_the_connection_was_lost(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str
    ) -> None:
        """The network thread was waiting for room, so unread events are older than the last packet."""
        gaps, go_on = Gaps(), threading.Event()
        dxl_client = connect_to_stub(incoming_message_queue_size=1)
        with CommonThreatEventClient(dxl_client, gaps) as client:
            client.add_threat_event_callback(lambda *_: go_on.wait(30), topic)
            broker.publish(topic, EVENT)
            until(lambda: bool(client.status().connected), "it is connected")
            full = datetime.now(timezone.utc)
            for _ in range(5):
                broker.publish(topic, EVENT)
            until(lambda: datetime.now(timezone.utc) > full + timedelta(seconds=2), "some time has passed")
            go_on.set()
            broker.reset()
            gaps.until_ended(1)
        assert gaps[0].start < full

    def test_starts_just_before_it_if_events_come_in_bunches(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str
    ) -> None:
        """If a proxy forwards events four times a second, there are always unread events."""
        gaps, receiver = Gaps(), Receiver()
        with CommonThreatEventClient(connect_to_stub(), gaps) as client:
            client.add_threat_event_callback(receiver, topic)
            for bunch in range(1, 13):
                next_bunch = time.monotonic() + 0.25
                for _ in range(20):
                    broker.publish(topic, EVENT)
                until(lambda: time.monotonic() > next_bunch, "the next bunch is due")  # noqa: B023
                until(lambda: len(receiver.handled) == 20 * bunch, "all have arrived")  # noqa: B023
            last = client.status().last_event_at
            broker.reset()
            gaps.until_ended(1)
        assert last is not None
        assert gaps[0].start > last - timedelta(seconds=2)

    def test_ends_after_a_malformed_packet(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str
    ) -> None:
        """By itself, the MQTT client would lose its network thread but still seem connected."""
        gaps, receiver = Gaps(), Receiver()
        with CommonThreatEventClient(connect_to_stub(), gaps) as client:
            client.add_threat_event_callback(receiver, topic)
            broker.send_malformed()
            gaps.until_ended(1)
            until(lambda: bool(broker.publish(topic, EVENT)) and bool(receiver.handled), "it listens again")

    def test_is_not_what_somebody_else_unsubscribes(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str
    ) -> None:
        """Removing a callback with the DxlClient's own method unsubscribes its topic."""
        gaps, receiver, direct = Gaps(), Receiver(), Receiver()
        dxl_client = connect_to_stub()
        with CommonThreatEventClient(dxl_client, gaps) as client:
            client.add_threat_event_callback(receiver, topic)
            dxl_client.add_event_callback(topic, direct)
            dxl_client.remove_event_callback(topic, direct)
            assert broker.publish(topic, EVENT) == 1
            receiver.until_received(1)
        assert gaps == []

    def test_ends_when_its_client_is_left(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str
    ) -> None:
        gaps = Gaps()
        with CommonThreatEventClient(connect_to_stub(), gaps) as client:
            client.add_threat_event_callback(Receiver(), topic)
            broker.answer = lambda subscribed: WITHHELD if subscribed == topic else GRANTED
            broker.reset()
            until(lambda: broker.subscribes.count(topic) >= 2, "it waits for the acknowledgement")
        gaps.until_ended(1)

    @pytest.mark.parametrize("end", ["disconnect", "destroy"])
    def test_is_not_what_the_user_wants(self, connect_to_stub: Connect, topic: str, end: str) -> None:
        gaps = Gaps()
        dxl_client = connect_to_stub()
        client = CommonThreatEventClient(dxl_client, gaps)
        client.add_threat_event_callback(Receiver(), topic)
        getattr(dxl_client, end)()
        assert not client.status().connected
        if end == "disconnect":
            dxl_client.connect()
            until(lambda: client.status().subscribed == (topic,), "it listens again")
            client.close()
        assert (client.status().gaps, gaps) == (0, [])

    def test_is_closed_by_destroying_the_dxl_client(self, fabric: LocalFabric, topic: str) -> None:
        gaps = Gaps()
        with LocalFabric() as own, clients(own.client_config) as connect:
            dxl_client = connect(reconnect_delay=1, reconnect_delay_max=1)
            client = CommonThreatEventClient(dxl_client, gaps)
            client.add_threat_event_callback(Receiver(), topic)
            own.stop()
            until(lambda: len(gaps) == 1, "the gap begins")
            # If the client were destroyed, dxlclient's cleanup thread would wait forever.
            until(lambda: reconnecting("_connect_thread_main"), "dxlclient tries to connect again")
            until(lambda: not reconnecting("_on_disconnect_run"), "dxlclient has cleared up")
            dxl_client.destroy()
            gaps.until_ended(1)
            until(lambda: not reconnecting(), "the thread that would have connected again has ended")

    def test_covers_what_was_published_while_the_broker_was_silent(self, topic: str) -> None:
        """A half-open connection is noticed late, but the gap covers all the time since the last message."""
        gaps, receiver = Gaps(), Receiver()
        with LocalFabric() as own, clients(own.client_config) as connect:
            dxl_client = connect(keep_alive_interval=2)
            with CommonThreatEventClient(dxl_client, gaps) as client:
                client.add_threat_event_callback(receiver, topic)
                own.freeze()
                frozen = datetime.now(timezone.utc)
                until(lambda: bool(gaps), "it is noticed")
                own.thaw()
                gaps.until_ended(1)
                # On a busy machine, the connection may be lost once more.
                with Publisher(dxl_client, topic):
                    until(lambda: bool(receiver.handled), "events arrive again")
        assert gaps[0].start < frozen

    def test_covers_the_time_for_which_the_process_was_stopped(self, topic: str) -> None:
        """Only after waking up does a sleeping laptop read events that had already arrived."""
        with (
            LocalFabric() as own,
            DxlClient(own.client_config()) as epo,
            running(STOPPED, own.config_file, topic) as process,
        ):
            until_printed(process, "ready")
            epo.connect()
            freeze(process)
            stopped = time.time()
            publish_numbers(epo, range(3), topic)
            until(lambda: time.time() > stopped + 3, "some time has passed")
            own.freeze()
            process.send_signal(signal.SIGCONT)
            assert process.stdout
            printed = iter(process.stdout.readline, "")
            start = float(next(line for line in printed if line != "event\n"))
            own.thaw()
        assert start < stopped + 1

    def test_of_a_silent_broker_is_one_loss(
        self, connect_to_stub: Connect, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """By itself, the MQTT client would report the loss twice, and dxlclient would connect twice."""
        gaps = Gaps()
        dxl_client: Any = connect_to_stub(keep_alive_interval=60)
        with CommonThreatEventClient(dxl_client, gaps) as client:
            client.add_threat_event_callback(Receiver(), topic)
            # Pretend that the last ping and the last message from the broker were long ago.
            vars(dxl_client._client).update(_ping_t=1.0, _last_msg_in=0.0)
            gaps.until_ended(1)
        assert caplog.text.count("Unexpected disconnect") == 1


class TestTwoLossesInQuickSuccession:
    def test_leave_no_client_that_does_not_connect_again(self, topic: str) -> None:
        """dxlclient may believe that a connection is restored although it has already been lost again."""
        gaps, go_on, receiver = Gaps(), threading.Event(), Receiver()
        with LocalFabric() as own, clients(own.client_config) as connect:
            dxl_client: Any = connect(reconnect_delay=0.1)
            with CommonThreatEventClient(dxl_client, gaps) as client:
                client.add_threat_event_callback(receiver, topic)
                dxl_client._thread_pool.add_task(go_on.wait, 30)
                own.stop()
                until(lambda: len(gaps) == 1 and not dxl_client._connected, "dxlclient clears up")
                dxl_client._connected = True
                go_on.set()
                until(lambda: reconnecting("_connect_thread_main"), "dxlclient connects again")
                own.start()
                gaps.until_ended(1)


class TestOnGap:
    def test_may_take_its_time_raise_and_call_the_client(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        go_on = threading.Event()
        seen: list[Gap] = []

        def on_gap(gap: Gap) -> None:
            go_on.wait(30)
            seen.append(gap)
            client.add_threat_event_callback(receiver, f"{topic}/{len(seen)}")
            raise ValueError("a bug")

        receiver = Receiver()
        with CommonThreatEventClient(connect_to_stub(), on_gap) as client:
            client.add_threat_event_callback(receiver, topic)
            broker.reset()
            until(lambda: client.status().gaps == 1 and client.status().open_gap is None, "it listens again")
            go_on.set()
            until(lambda: len(seen) == 2 and caplog.text.count("ValueError: a bug") == 2, "both are reported")
            until(lambda: len(client.status().subscribed) == 3, "what it added is subscribed")


class TestASubscription:
    @pytest.mark.parametrize("what", ["remove", "close"])
    def test_that_the_broker_withholds_delays_no_removal(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str, what: str
    ) -> None:
        """Removal takes effect for the next event, even if the broker never answers."""

        def one_shot(*_: object) -> None:
            seen.append(1)
            client.close() if what == "close" else client.remove_threat_event_callback(one_shot, topic)

        seen: list[int] = []
        dxl_client, last = connect_to_stub(), Receiver()
        client = CommonThreatEventClient(dxl_client)
        with CommonThreatEventClient(dxl_client) as others:
            client.add_threat_event_callback(one_shot, topic)
            others.add_threat_event_callback(last, topic)
            broker.answer = lambda _: WITHHELD
            waiting = threading.Thread(
                target=others.add_threat_event_callback, args=[Receiver(), f"{topic}/other"]
            )
            waiting.start()
            until(lambda: f"{topic}/other" in broker.subscribes, "the helper thread waits for the broker")
            for _ in range(2):
                broker.publish(topic, EVENT)
            until(lambda: len(last.handled) == 2, "both events are handled")
            broker.answer = lambda _: GRANTED
            waiting.join(30)
        assert seen == [1]

    def test_that_the_broker_refuses_is_an_error_in_the_log(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        broker.answer = lambda subscribed: REFUSED if subscribed == topic else GRANTED
        with CommonThreatEventClient(connect_to_stub()) as client:
            client.add_threat_event_callback(Receiver(), topic)
            assert client.status().subscribed == ()
        until(lambda: f"refuses the subscription to {topic}" in caplog.text, "it is logged")

    def test_whose_acknowledgement_is_lost_is_asked_for_again(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str
    ) -> None:
        answers = iter([WITHHELD])
        broker.answer = lambda subscribed: next(answers, GRANTED) if subscribed == topic else GRANTED
        started = time.monotonic()
        with CommonThreatEventClient(connect_to_stub()) as client:
            client.add_threat_event_callback(Receiver(), topic)
            assert client.status().subscribed == (topic,)
        assert time.monotonic() - started < 30, "dxlclient's own patience is two minutes"

    def test_of_dxlclient_itself_is_asked_for_again(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str
    ) -> None:
        """While dxlclient waits for its own subscription, it blocks adding and removing callbacks."""
        with CommonThreatEventClient(connect_to_stub()) as client:
            client.add_threat_event_callback(Receiver(), topic)
            before = len(broker.subscribes)
            answers = iter([WITHHELD])
            broker.answer = lambda subscribed: GRANTED if subscribed == topic else next(answers, GRANTED)
            broker.reset()
            until(lambda: len(broker.subscribes) >= before + 2, "it subscribes again")
            started = time.monotonic()
            client.remove_threat_event_callback(Receiver(), topic)
            client.add_threat_event_callback(Receiver(), f"{topic}/another")
        assert time.monotonic() - started < 30, "dxlclient's own patience is two minutes"

    def test_of_others_that_is_withheld_delays_nobody(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str
    ) -> None:
        """While dxlclient waits for one subscription, it holds the lock for all subscriptions."""
        dxl_client, others = connect_to_stub(), f"{topic}/others"
        client = CommonThreatEventClient(dxl_client)
        waiting = threading.Thread(target=dxl_client.subscribe, args=[others], daemon=True)
        broker.answer = lambda subscribed: WITHHELD if subscribed == others else GRANTED
        waiting.start()
        until(lambda: others in broker.subscribes, "the broker is asked")
        client.remove_threat_event_callback(Receiver(), topic)
        CommonThreatEventClient(dxl_client).close()
        assert waiting.is_alive()
        broker.answer = lambda _: GRANTED
        client.add_threat_event_callback(Receiver(), topic)
        client.close()
        waiting.join(30)

    def test_made_before_needs_an_acknowledgement_of_its_own(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str
    ) -> None:
        """dxlclient sends no SUBSCRIBE for a topic to which it is already subscribed."""
        dxl_client = connect_to_stub()
        dxl_client.subscribe(topic)
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(Receiver(), topic)
            assert client.status().subscribed == (topic,)
        assert broker.subscribes.count(topic) >= 2

    def test_that_is_made_again_needs_another_acknowledgement(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str
    ) -> None:
        with CommonThreatEventClient(connect_to_stub()) as client:
            client.add_threat_event_callback(print, topic)
            client.remove_threat_event_callback(print, topic)
            until(lambda: broker.publish(topic, EVENT) == 0, "it is unsubscribed")
            broker.answer = lambda _: WITHHELD
            adding = threading.Thread(target=client.add_threat_event_callback, args=[print, topic])
            adding.start()
            until(lambda: broker.subscribes.count(topic) >= 2, "it is subscribed to again")
            assert client.status().subscribed == ()
            broker.answer = lambda _: GRANTED
            adding.join(30)
            assert client.status().subscribed == (topic,)

    def test_sent_as_the_connection_is_lost_makes_nobody_wait(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str
    ) -> None:
        """By itself, dxlclient would hold for two minutes the lock it needs to subscribe again."""
        dxl_client: Any = connect_to_stub(keep_alive_interval=60)
        subscribe, losing = dxl_client._client.subscribe, iter([True])

        def lose_the_first(subscribed: str, qos: int = 0) -> Any:
            if not next(losing, False):
                return subscribe(subscribed, qos)
            broker.answer = lambda _: WITHHELD
            sent = subscribe(subscribed, qos)
            broker.reset()
            until(lambda: not client.status().connected, "the connection is lost")
            broker.answer = lambda _: GRANTED
            return sent

        dxl_client._client.subscribe = lose_the_first
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(receiver := Receiver(), topic)
            until(lambda: client.status().subscribed == (topic,), "it is subscribed again")
            assert broker.publish(topic, EVENT) == 1
            receiver.until_received(1)


def test_a_slow_consumer_keeps_its_connection(tmp_path: Path, topic: str) -> None:
    """The answer to a ping is queued behind events, and each event proves that the broker is alive."""
    gaps, receiver = Gaps(), Receiver()

    def slow(*_: object) -> None:
        time.sleep(0.05)

    with stub_broker(tmp_path) as broker, clients(broker.client_config) as connect:
        dxl_client = connect(keep_alive_interval=2, incoming_message_queue_size=5)
        with CommonThreatEventClient(dxl_client, gaps) as client:
            client.add_threat_event_callback(slow, topic)
            client.add_threat_event_callback(receiver, topic)
            for _ in range(100):
                broker.publish(topic, EVENT)
            until(lambda: len(receiver.handled) == 100, "all events are handled")
    assert gaps == []
