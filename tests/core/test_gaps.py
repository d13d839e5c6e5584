"""A feed reports its gaps. Every event published outside the reported gaps arrives."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone

import pytest
from dxlclient.client import DxlClient
from dxlclient.exceptions import WaitTimeoutException
from helpers.clients import Connect, clients
from helpers.feed import Feed
from helpers.program import freeze, running, until_printed
from helpers.receiving import Publisher, Receiver, publish_numbers
from helpers.stub_broker import GRANTED, REFUSED, WITHHELD, StubBroker, stub_broker
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient, Gap
from dxlthreateventclient._feed import clients as feed_clients
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
    """A list of reported gaps, usable as ``on_gap``."""

    def __call__(self, gap: Gap) -> None:
        self.append(gap)

    def until_ended(self, number: int) -> None:
        until(lambda: len([gap for gap in self if gap.end]) >= number, f"{number} gaps are over")


class ReportingFeed(Feed):
    """A client whose callback listens to a topic on a stub broker."""

    def __init__(self, broker: StubBroker, dxl_client: DxlClient, topic: str) -> None:
        self.broker, self.gaps, self.receiver = broker, Gaps(), Receiver()
        super().__init__(CommonThreatEventClient(dxl_client, self.gaps), dxl_client, topic)
        self.add(self.receiver)

    def send(self) -> int:
        """Send an event to each subscribed client and return the number of clients."""
        return self.broker.publish(self.topic, EVENT)

    def check_receives(self) -> None:
        """Check that a new event arrives."""
        before = len(self.receiver.handled)
        assert self.send() == 1
        until(lambda: len(self.receiver.handled) > before, "an event arrives")

    def answer(self, *answers: int | None) -> None:
        """Set the responses to the topic's next subscriptions and grant all later ones."""
        left = iter(answers)
        self.broker.answer = lambda topic: next(left, GRANTED) if topic == self.topic else GRANTED


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StubBroker]:
    with stub_broker(tmp_path_factory.mktemp("stub")) as stub:
        yield stub


@pytest.fixture
def connect_to_stub(broker: StubBroker) -> Iterator[Connect]:
    broker.answer = lambda _: GRANTED
    with clients(broker.client_config) as connect:
        yield connect


@pytest.fixture
def feed(broker: StubBroker, connect_to_stub: Connect, topic: str) -> Iterator[ReportingFeed]:
    one = ReportingFeed(broker, connect_to_stub(), topic)
    with one.client:
        yield one


def pause(seconds: float) -> None:
    """Let time pass, because a gap starts one second before the last sign of a working connection."""
    time.sleep(seconds)


class TestAGap:
    def test_is_reported_when_it_begins_and_when_it_is_over(self, feed: ReportingFeed) -> None:
        before = datetime.now(timezone.utc)
        assert feed.client.status().open_gap is None
        feed.broker.reset()
        feed.gaps.until_ended(1)
        begun, ended = feed.gaps
        assert (begun.start, begun.topics, begun.reason) == (ended.start, ended.topics, ended.reason)
        assert (begun.end, begun.duration, begun.topics) == (None, None, (feed.topic,))
        assert ended.end is not None
        assert before - timedelta(seconds=2) < ended.start <= ended.end <= datetime.now(timezone.utc)
        assert ended.end.tzinfo == timezone.utc
        feed.check_receives()
        status = feed.client.status()
        assert (status.gaps, status.open_gap, status.subscribed) == (1, None, (feed.topic,))
        assert ended.duration is not None
        assert status.gap_seconds == pytest.approx(ended.duration.total_seconds())

    def test_is_a_warning_in_the_log_by_default(
        self, feed: ReportingFeed, caplog: pytest.LogCaptureFixture
    ) -> None:
        with CommonThreatEventClient(feed.dxl_client) as client:
            client.add_threat_event_callback(Receiver(), feed.topic)
            feed.broker.reset()
            until(lambda: "may be missing from" in caplog.text, "the end of the gap is logged")
        records = [record for record in caplog.records if "may be missing" in record.getMessage()]
        assert {record.levelno for record in records} == {logging.WARNING}
        assert all(feed.topic in record.getMessage() for record in records)

    def test_is_reported_to_each_client_that_shares_a_callback(self, feed: ReportingFeed) -> None:
        with CommonThreatEventClient(feed.dxl_client, gaps := Gaps()) as other:
            other.add_threat_event_callback(feed.receiver, feed.topic)
            feed.broker.reset()
            feed.gaps.until_ended(1)
            gaps.until_ended(1)

    def test_starts_before_an_event_of_which_half_was_read(self, feed: ReportingFeed) -> None:
        published = datetime.now(timezone.utc)
        for piece in (b"\x30\x50", feed.topic.encode(), EVENT):
            feed.broker.send_raw(piece)
            pause(0.6)
        feed.broker.reset()
        feed.gaps.until_ended(1)
        assert feed.gaps[0].start < published

    def test_is_not_missed_however_short_it_is(self, feed: ReportingFeed) -> None:
        for number in range(1, 9):
            feed.broker.reset()
            feed.gaps.until_ended(number)
        assert feed.client.status().gaps == 8

    def test_is_what_dxlclient_itself_ends(self, feed: ReportingFeed) -> None:
        """After a connection loss, dxlclient empties its queue and then closes any new connection."""
        started, go_on = threading.Event(), threading.Event()

        def slow(*_: object) -> None:
            started.set()
            go_on.wait(30)

        feed.add(slow)
        feed.send()
        assert started.wait(30)
        feed.broker.reset()
        feed.gaps.until_ended(1)
        go_on.set()
        feed.gaps.until_ended(2)

    def test_lasts_until_the_subscription_is_acknowledged(
        self, feed: ReportingFeed, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Unless the feed resends SUBSCRIBE, dxlclient waits two minutes and receives no more events."""
        feed.answer(WITHHELD)
        feed.broker.reset()
        until(lambda: feed.broker.subscribes.count(feed.topic) == 2, "it is connected again")
        withheld = datetime.now(timezone.utc)
        assert feed.client.status().subscribed == ()
        feed.gaps.until_ended(1)
        end = feed.gaps[-1].end
        assert end is not None
        assert end > withheld
        feed.check_receives()
        assert feed.dxl_client.connected, "dxlclient does not wait any more, either"
        assert f"not acknowledged the subscription to {feed.topic}" in caplog.text

    def test_covers_what_was_not_read_when_the_connection_was_lost(
        self, connect_to_stub: Connect, broker: StubBroker, topic: str
    ) -> None:
        """The network thread waits for room in the queue, so unread events may predate the last read."""
        go_on = threading.Event()
        feed = ReportingFeed(broker, connect_to_stub(incoming_message_queue_size=1), topic)
        with feed.client:
            feed.add(lambda *_: go_on.wait(30))
            feed.send()
            until(lambda: bool(feed.client.status().connected), "it is connected")
            full = datetime.now(timezone.utc)
            for _ in range(5):
                feed.send()
            pause(1.2)
            go_on.set()
            broker.reset()
            feed.gaps.until_ended(1)
        assert feed.gaps[0].start < full

    def test_starts_just_before_it_if_events_come_in_bunches(self, feed: ReportingFeed) -> None:
        """If a proxy forwards events four times per second, the network thread always finds unread events."""
        for bunch in range(1, 9):
            for _ in range(20):
                feed.send()
            pause(0.25)
            until(lambda: len(feed.receiver.handled) == 20 * bunch, "all have arrived")  # noqa: B023
        last = feed.client.status().last_event_at
        feed.broker.reset()
        feed.gaps.until_ended(1)
        assert last is not None
        assert feed.gaps[0].start > last - timedelta(seconds=1.8)

    def test_leaves_a_callback_that_was_added_again_in_vain(
        self, feed: ReportingFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = threading.Event()

        def withhold(_: str) -> int | None:
            asked.set()
            return WITHHELD

        feed.broker.answer = withhold
        feed.broker.reset()
        assert asked.wait(30)
        with monkeypatch.context() as patches:
            patches.setattr(feed_clients, "_LONGEST_WAIT", 0.05)
            with pytest.raises(WaitTimeoutException):
                feed.add(feed.receiver)
        feed.broker.answer = lambda _: GRANTED
        feed.broker.acknowledge_withheld()
        feed.gaps.until_ended(1)
        feed.check_receives()

    def test_ends_after_a_malformed_packet(self, feed: ReportingFeed) -> None:
        """Without this library, the MQTT client would lose its network thread but still appear connected."""
        feed.broker.send_raw(b"\x30\x02\xff\xff")  # an event whose topic is longer than the packet
        feed.gaps.until_ended(1)
        until(lambda: bool(feed.send() and feed.receiver.handled), "it listens again")

    def test_is_not_what_somebody_else_unsubscribes(self, feed: ReportingFeed) -> None:
        """Removing a callback directly from a DxlClient makes dxlclient unsubscribe from its topic."""
        feed.dxl_client.add_event_callback(feed.topic, direct := Receiver())
        feed.dxl_client.remove_event_callback(feed.topic, direct)
        feed.check_receives()
        assert feed.gaps == []

    @pytest.mark.parametrize(
        "end", [lambda feed: feed.client.close(), lambda feed: feed.dxl_client.destroy()]
    )
    def test_ends_when_nobody_listens_any_more(
        self, feed: ReportingFeed, end: Callable[[ReportingFeed], None]
    ) -> None:
        feed.answer(WITHHELD)
        feed.broker.reset()
        until(lambda: feed.broker.subscribes.count(feed.topic) >= 2, "it waits for the acknowledgement")
        end(feed)
        feed.gaps.until_ended(1)

    @pytest.mark.parametrize("end", ["disconnect", "destroy"])
    def test_is_not_what_the_user_wants(self, feed: ReportingFeed, end: str) -> None:
        getattr(feed.dxl_client, end)()
        assert not feed.client.status().connected
        if end == "disconnect":
            feed.dxl_client.connect()
            until(lambda: feed.client.status().subscribed == (feed.topic,), "it listens again")
        assert (feed.client.status().gaps, feed.gaps) == (0, [])

    def test_covers_what_was_published_while_the_broker_was_silent(
        self, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A half-open connection is detected late, but the gap begins just before the last message.

        Without this library, the MQTT client would report the loss twice, and dxlclient would connect twice.
        """
        gaps, receiver = Gaps(), Receiver()
        with LocalFabric() as own, clients(own.client_config) as connect:
            dxl_client = connect(keep_alive_interval=1)
            with CommonThreatEventClient(dxl_client, gaps) as client:
                client.add_threat_event_callback(receiver, topic)
                own.freeze()
                frozen = datetime.now(timezone.utc)
                until(lambda: bool(gaps), "it is noticed")
                own.thaw()
                gaps.until_ended(1)
                # On a busy machine, the client may lose its connection again.
                with Publisher(dxl_client, topic):
                    until(lambda: bool(receiver.handled), "events arrive again")
                assert caplog.text.count("Unexpected disconnect") == client.status().gaps
        assert gaps[0].start < frozen

    def test_covers_the_time_for_which_the_process_was_stopped(self, topic: str) -> None:
        """After waking up, a laptop first reads the events that arrived while it slept."""
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
            pause(1.5)
            own.freeze()
            process.send_signal(signal.SIGCONT)
            assert process.stdout
            printed = iter(process.stdout.readline, "")
            start = float(next(line for line in printed if line != "event\n"))
            own.thaw()
        assert start < stopped


def test_on_gap_may_take_its_time_raise_and_call_the_client(
    connect_to_stub: Connect, broker: StubBroker, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()
    seen: list[Gap] = []

    def on_gap(gap: Gap) -> None:
        go_on.wait(30)
        seen.append(gap)
        client.add_threat_event_callback(print, f"{topic}/{len(seen)}")
        raise ValueError("a bug")

    with CommonThreatEventClient(connect_to_stub(), on_gap) as client:
        client.add_threat_event_callback(print, topic)
        broker.reset()
        until(lambda: client.status().gaps == 1 and client.status().open_gap is None, "it listens again")
        go_on.set()
        until(lambda: len(seen) == 2 and caplog.text.count("ValueError: a bug") == 2, "both are reported")
        until(lambda: len(client.status().subscribed) == 3, "what it added is subscribed")


class TestASubscription:
    """dxlclient's own two-minute timeout is longer than a test's time limit."""

    @pytest.mark.parametrize("what", ["remove", "close"])
    def test_that_the_broker_withholds_delays_no_removal(self, feed: ReportingFeed, what: str) -> None:
        """Removing a callback takes effect before the next event, even if the broker never answers."""

        def one_shot(*_: object) -> None:
            seen.append(1)
            client.close() if what == "close" else client.remove_threat_event_callback(one_shot, feed.topic)

        seen: list[int] = []
        client, other = CommonThreatEventClient(feed.dxl_client), f"{feed.topic}/other"
        client.add_threat_event_callback(one_shot, feed.topic)
        feed.broker.answer = lambda _: WITHHELD
        waiting = threading.Thread(target=feed.client.add_threat_event_callback, args=[print, other])
        waiting.start()
        until(lambda: other in feed.broker.subscribes, "it waits for the broker")
        feed.check_receives()
        feed.check_receives()
        feed.broker.acknowledge_withheld()
        waiting.join(30)
        assert seen == [1]

    def test_that_the_broker_refuses_is_an_error_in_the_log(
        self, feed: ReportingFeed, caplog: pytest.LogCaptureFixture
    ) -> None:
        feed.broker.answer = lambda _: REFUSED
        feed.client.add_threat_event_callback(print, other := f"{feed.topic}/other")
        assert feed.client.status().subscribed == (feed.topic,)
        until(lambda: f"refused the subscription to {other}" in caplog.text, "it is logged")

    def test_whose_acknowledgement_is_lost_is_asked_for_again(self, feed: ReportingFeed) -> None:
        answers = iter([WITHHELD])
        feed.broker.answer = lambda _: next(answers, GRANTED)
        feed.client.add_threat_event_callback(print, other := f"{feed.topic}/other")
        assert other in feed.client.status().subscribed

    def test_of_dxlclient_itself_is_asked_for_again(self, feed: ReportingFeed) -> None:
        """While dxlclient waits for its own subscription, callbacks cannot be added or removed."""
        before, answers = len(feed.broker.subscribes), iter([WITHHELD])
        feed.broker.answer = lambda topic: GRANTED if topic == feed.topic else next(answers, GRANTED)
        feed.broker.reset()
        until(lambda: len(feed.broker.subscribes) >= before + 2, "it subscribes again")
        feed.remove(feed.receiver)
        feed.add(print, "/another")

    def test_of_others_that_is_withheld_delays_nobody(self, feed: ReportingFeed) -> None:
        """While dxlclient waits for one subscription, it holds the lock for all subscriptions."""
        others = f"{feed.topic}/others"
        feed.broker.answer = lambda topic: WITHHELD if topic == others else GRANTED
        waiting = threading.Thread(target=feed.dxl_client.subscribe, args=[others], daemon=True)
        waiting.start()
        until(lambda: others in feed.broker.subscribes, "the broker is asked")
        feed.remove(feed.receiver)
        feed.add(print, "/another")
        feed.client.close()
        assert waiting.is_alive()
        feed.broker.acknowledge_withheld()
        waiting.join(30)

    def test_made_before_needs_an_acknowledgement_of_its_own(self, feed: ReportingFeed) -> None:
        """dxlclient sends no SUBSCRIBE for a topic to which it is already subscribed."""
        feed.dxl_client.subscribe(direct := f"{feed.topic}/direct")
        feed.client.add_threat_event_callback(print, direct)
        assert direct in feed.client.status().subscribed
        assert feed.broker.subscribes.count(direct) == 2

    def test_that_is_made_again_needs_another_acknowledgement(self, feed: ReportingFeed) -> None:
        feed.remove(feed.receiver)
        until(lambda: feed.send() == 0, "it is unsubscribed")
        feed.broker.answer = lambda _: WITHHELD
        adding = threading.Thread(target=feed.client.add_threat_event_callback, args=[print, feed.topic])
        adding.start()
        until(lambda: feed.broker.subscribes.count(feed.topic) >= 2, "it is subscribed to again")
        assert feed.client.status().subscribed == ()
        feed.broker.acknowledge_withheld()
        adding.join(30)
        assert feed.client.status().subscribed == (feed.topic,)

    def test_sent_as_the_connection_is_lost_makes_nobody_wait(self, feed: ReportingFeed) -> None:
        """Without this library, resubscribing would wait two minutes for a lock that dxlclient holds."""

        def reset(_: str) -> int | None:
            feed.broker.answer = lambda _: GRANTED
            feed.broker.reset()
            return WITHHELD

        feed.broker.answer = reset
        feed.client.add_threat_event_callback(print, other := f"{feed.topic}/other")
        until(lambda: feed.client.status().subscribed == (feed.topic, other), "both are subscribed again")
        feed.check_receives()


def test_a_slow_consumer_keeps_its_connection(
    connect_to_stub: Connect, broker: StubBroker, topic: str
) -> None:
    """A ping response waits behind queued events, but each new event proves that the broker is alive."""
    feed = ReportingFeed(broker, connect_to_stub(keep_alive_interval=1, incoming_message_queue_size=5), topic)
    with feed.client:
        feed.add(lambda *_: time.sleep(0.03))
        for _ in range(100):
            feed.send()
        until(lambda: len(feed.receiver.handled) == 100, "all events are handled")
    assert feed.gaps == []
