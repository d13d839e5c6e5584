"""Streams deliver threat events to a for loop or an async for loop.

Tests that use the "kind" fixture run with a ThreatEventStream, and with an AsyncThreatEventStream on each
event loop. test_async_stream.py tests the promises that only asynchronous streams make.
"""

import math
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from unittest.mock import Mock

import pytest
from dxlclient.client import DxlClient
from dxlclient.exceptions import WaitTimeoutException
from dxlclient.message import Event
from helpers.clients import is_subscribed, queue_is_full
from helpers.feed import Feed
from helpers.program import running, until_printed
from helpers.receiving import Publisher, Receiver, number_of, numbered, publish_numbers
from helpers.waiting import until
from helpers.worker import Blocking, Kind, Worker

from dxlthreateventclient import CommonThreatEventClient, ThreatEventDecodeError
from dxlthreateventclient.testing import LocalFabric


@pytest.fixture(params=["for", "asyncio", "uvloop"])
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """Opens streams of one kind."""
    if request.param == "for":
        yield CommonThreatEventClient.threat_events
        return
    loop = pytest.importorskip(request.param).new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda client, *arguments, **options: Blocking(
        client.async_threat_events(*arguments, **options), loop
    )
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def worker(kind: Kind) -> Worker:
    return Worker(kind)


def taken(events: Iterable[tuple[dict[str, Any], Event]]) -> list[int]:
    return [number_of(threat_event) for threat_event, _ in events]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelname == "WARNING" and record.name.startswith("dxlthreateventclient")
    ]


def full(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in warnings(caplog) if "buffer is full" in message]


class TestTheLoop:
    def test_gets_each_event_in_order_with_the_original(self, kind: Kind, feed: Feed) -> None:
        with kind(feed.client, feed.topic) as exact, kind(feed.client, f"{feed.topic}/below/#") as below:
            published = feed.publish(range(100))
            feed.publish([100], "/below/one")
            for number, sent in enumerate(published):
                threat_event, original_event = exact.get(timeout=30)
                assert threat_event == numbered(number)
                assert original_event.message_id == sent.message_id
                assert original_event.destination_topic == feed.topic
            assert next(below)[0] == numbered(100)
        until(lambda: not is_subscribed(feed.topic), "it is unsubscribed")

    def test_does_not_delay_callbacks_if_it_is_slow(self, feed: Feed) -> None:
        with feed.client.threat_events(feed.topic) as events:
            feed.add(receiver := Receiver())
            feed.publish(range(100))
            receiver.until_received(99)
            assert events.get(timeout=0)[0] == numbered(0), "none has been taken until now"

    def test_loses_nothing_if_it_is_late_and_its_buffer_small(
        self, kind: Kind, crowded: DxlClient, dxl_client: DxlClient, topic: str
    ) -> None:
        with CommonThreatEventClient(crowded) as client, kind(client, topic, max_buffered=10) as events:
            publish_numbers(dxl_client, range(300), topic)
            until(lambda: client.status().buffered == 10 and queue_is_full(crowded), "all is full")
            assert [number_of(events.get(timeout=30)[0]) for _ in range(300)] == list(range(300))

    def test_runs_in_a_with_statement_and_once(self, worker: Worker) -> None:
        events = worker.stream()
        for take in (events.__next__, events.get):
            with pytest.raises(RuntimeError, match="with"):
                take()
        with events:
            pass
        with pytest.raises(RuntimeError, match="once"):
            events.__enter__()

    def test_runs_no_code_when_an_event_is_dropped(self, worker: Worker) -> None:
        """Python ignores signal handlers' exceptions in a finalizer, such as that of dxlclient's events."""
        called: set[object] = set()
        with worker.stream() as events:
            worker.number(1)
            worker.delivered.clear()
            taken = [next(events)]
            sys.setprofile(lambda frame, *_: called.add(frame.f_code))
            taken.clear()
            sys.setprofile(None)
        assert called == {sys._getframe().f_code}


class TestMalformedPayloads:
    def test_go_to_on_error_when_they_are_taken(self, worker: Worker) -> None:
        errors: list[tuple[ThreatEventDecodeError, Event]] = []
        with worker.stream(on_error=lambda *error: errors.append(error)) as events:
            worker.number(1)
            junk = worker.deliver(b"junk", 5)
            worker.number(2)
            assert next(events)[0] == numbered(1)
            assert errors == []
            assert next(events)[0] == numbered(2)
        assert [original.message_id for _, original in errors] == [sent.message_id for sent in junk]
        assert [error.payload for error, _ in errors] == [b"junk", 5]

    @pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
    def test_never_end_a_loop_without_a_word(self, worker: Worker, error: type[Exception]) -> None:
        with worker.stream(on_error=Mock(side_effect=error)) as events:
            worker.deliver(b"junk")
            with pytest.raises(RuntimeError, match="on_error"):
                next(events)

    def test_go_to_the_log_by_default(self, worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
        with worker.stream() as events:
            [junk] = worker.deliver(b"junk")
            worker.number(1)
            assert next(events)[0] == numbered(1)
        [message] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        for part in (junk.message_id, "/topic", "not JSON", "b'junk'"):
            assert part in message

    def test_come_out_of_the_loop_if_on_error_raises(self, worker: Worker) -> None:
        def raise_it(error: ThreatEventDecodeError, original_event: Event) -> None:
            raise error

        with worker.stream(on_error=raise_it) as events:
            worker.deliver(b"junk")
            worker.number(1)
            with pytest.raises(ThreatEventDecodeError):
                next(events)
            assert next(events)[0] == numbered(1), "the next event is still there"

    def test_do_not_prolong_the_timeout_of_get(self, worker: Worker) -> None:
        with worker.stream(on_error=lambda *_: None) as events:
            worker.deliver(b"junk")
            with pytest.raises(TimeoutError):
                events.get(timeout=0.01)


class TestGet:
    @pytest.mark.parametrize("timeout", [-math.inf, -1, 0, 0.01, math.nan])
    def test_raises_if_nothing_arrives_in_time(self, worker: Worker, timeout: float) -> None:
        with worker.stream() as events:
            with pytest.raises(TimeoutError):
                events.get(timeout)
            worker.number(1)
            assert events.get(timeout)[0] == numbered(1)

    @pytest.mark.parametrize("timeout", [None, 30, math.inf])
    def test_waits_for_what_arrives_later(self, worker: Worker, timeout: float | None) -> None:
        with worker.stream() as events, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(events.get, timeout)
            worker.number(1)
            assert waiting.result(30)[0] == numbered(1)

    def test_raises_eof_error_if_the_stream_is_closed_and_empty(self, worker: Worker) -> None:
        with worker.stream() as events:
            worker.number(1)
            events.close()
            assert events.get()[0] == numbered(1)
            for _ in range(2):
                with pytest.raises(EOFError):
                    events.get(timeout=5)


class TestClosing:
    def test_ends_the_loop_for_good_after_what_is_buffered(self, worker: Worker) -> None:
        with worker.stream() as events:
            worker.number(0, 1, 2)
            events.close()
            assert taken(events) == [0, 1, 2]
            assert taken(events) == []

    @pytest.mark.parametrize("closed", ["the stream", "the client"])
    def test_ends_all_loops_that_share_the_events(self, worker: Worker, closed: str) -> None:
        with worker.stream() as events, ThreadPoolExecutor(4) as pool:
            loops = [pool.submit(taken, events) for _ in range(4)]
            worker.number(*range(500))
            events.close() if closed == "the stream" else worker.client.close()
            shares = [loop.result(30) for loop in loops]
        assert sorted(number for share in shares for number in share) == list(range(500))
        assert all(share == sorted(share) for share in shares), "each gets its own in order"

    def test_is_possible_in_a_callback(self, feed: Feed) -> None:
        with feed.client.threat_events(feed.topic) as events:
            feed.add(lambda *_: events.close())
            feed.publish([1])
            assert taken(events) == [1]

    def test_before_opening_makes_an_empty_stream(self, worker: Worker) -> None:
        events = worker.stream()
        events.close()
        with events:
            assert taken(events) == []


class TestTheBuffer:
    def test_never_holds_more_than_it_may(self, worker: Worker) -> None:
        with worker.stream(max_buffered=3) as events:
            threads = [worker.start(*range(start, start + 30)) for start in (0, 100, 200)]
            numbers: list[int] = []
            for _ in range(90):
                until(lambda: len(worker.delivered) - len(numbers) in {3, 90 - len(numbers)}, "it is full")
                numbers.append(number_of(events.get(timeout=30)[0]))
            for thread in threads:
                thread.join()
        assert sorted(numbers) == [*range(30), *range(100, 130), *range(200, 230)]

    def test_warns_once_for_each_time_it_fills_up(
        self, worker: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        with worker.stream(max_buffered=3) as events:
            for episode in (1, 2):
                thread = worker.start(*range(6))
                until(lambda: len(full(caplog)) == episode, "it warns")  # noqa: B023
                for number in range(6):
                    expected = 6 * episode - 6 + min(6, number + 3)
                    until(lambda: len(worker.delivered) == expected, "it is full again")  # noqa: B023
                    assert events.get(timeout=30)[0] == numbered(number)
                thread.join()
            worker.number(6)
            assert "has caught up: 3 events" in warnings(caplog)[-1]
            assert events.get(timeout=30)[0] == numbered(6)
        assert len(full(caplog)) == 2
        assert all("3 events" in message for message in full(caplog))

    def test_says_nothing_as_long_as_there_is_room(
        self, worker: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        with worker.stream(max_buffered=3) as events:
            worker.number(0)
            events.close()
            assert taken(events) == [0]
        assert warnings(caplog) == []

    def test_makes_no_worker_wait_if_it_could_not_be_opened(self, worker: Worker) -> None:
        """Events can arrive while the stream waits for the broker's acknowledgement."""
        delivering: list[threading.Thread] = []

        def give_up(*_: object) -> None:
            delivering.append(worker.start(*range(5)))
            until(lambda: len(worker.delivered) == 1, "the worker waits for room")
            raise WaitTimeoutException("no answer")

        worker.dxl_client.add_event_callback.side_effect = give_up
        with pytest.raises(WaitTimeoutException), worker.stream(max_buffered=1):
            pass
        delivering[0].join(30)
        assert len(worker.delivered) == 5
        worker.dxl_client.remove_event_callback.assert_called_once()


class TestLeaving:
    def test_says_how_many_events_had_arrived_and_were_not_taken(
        self, worker: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        with worker.stream() as events:
            worker.number(*range(5))
            assert next(events)[0] == numbered(0)
            events.close()
            worker.number(5, 6, 7)
        [message] = warnings(caplog)
        assert "1 events handed over, 4 unread, 3 passed over" in message

    def test_counts_no_event_as_unread_if_closed_while_opening(
        self, worker: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A loop over a closed stream still receives the buffered events."""
        events = worker.stream()

        def close_early(*_: object) -> None:
            worker.number(0)
            events.close()

        worker.dxl_client.add_event_callback.side_effect = close_early
        with events:
            assert taken(events) == [0]
        assert warnings(caplog) == []

    def test_leaves_all_topics_of_the_stream(self, feed: Feed) -> None:
        with feed.client.threat_events(feed.topic) as events:
            feed.add(events, "/other")
        assert feed.client.status().subscribed == ()


class TestWhileEventsPourIn:
    """The broker's responses wait behind events that only this thread, which waits for them, can take."""

    @pytest.mark.parametrize("leaves_client_first", [False, True])
    def test_a_full_stream_can_be_left(
        self, crowded: DxlClient, dxl_client: DxlClient, topic: str, leaves_client_first: bool
    ) -> None:
        with Publisher(dxl_client, topic), ExitStack() as stack, CommonThreatEventClient(crowded) as client:
            streams = [client.threat_events(one, max_buffered=1) for one in (topic, f"{topic}/#")]
            for events in streams:
                stack.enter_context(events)
            until(lambda: queue_is_full(crowded) and bool(client.status().buffered), "all is full")
            if not leaves_client_first:
                stack.close()
        until(lambda: not (is_subscribed(topic) or is_subscribed(f"{topic}/#")), "both are unsubscribed")

    def test_callbacks_and_streams_can_come_and_go(
        self, crowded: DxlClient, dxl_client: DxlClient, topic: str
    ) -> None:
        with Publisher(dxl_client, topic), CommonThreatEventClient(crowded) as client:
            with client.threat_events(topic, max_buffered=1):
                until(lambda: queue_is_full(crowded), "dxlclient's queue is full")
                client.add_threat_event_callback(print, f"{topic}/other")
                assert client.status().subscribed == (topic, f"{topic}/other")
                with client.threat_events(f"{topic}/others/#"):
                    until(lambda: queue_is_full(crowded), "dxlclient's queue is full again")
                client.remove_threat_event_callback(print, f"{topic}/other")
            until(lambda: not client.status().subscribed, "all is unsubscribed")

    def test_a_stream_can_be_opened(self, crowded: DxlClient, dxl_client: DxlClient, topic: str) -> None:
        """Events arrive before the broker acknowledges the filter."""
        go_on, below = threading.Event(), f"{topic}/below"
        with Publisher(dxl_client, below), CommonThreatEventClient(crowded) as client:
            client.add_threat_event_callback(lambda *_: go_on.wait(30), below)
            until(lambda: queue_is_full(crowded), "dxlclient's queue is full")
            go_on.set()
            with client.threat_events(f"{topic}/#", max_buffered=1) as events:
                events.get(timeout=30)


PROGRAM = """
import os, signal, sys
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig
from dxlthreateventclient import CommonThreatEventClient

def say(*words):  # in a signal handler, too, which must not use the buffer of stdout
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def close(*_):
    events.close()
    say("closed")

config = DxlClientConfig.create_dxl_config_from_file(sys.argv[1])
topic = sys.argv[2]
with DxlClient(config) as dxl_client:
    dxl_client.connect()
    client = CommonThreatEventClient(dxl_client)
    with client, client.threat_events(topic, max_buffered=50) as events:
        client.add_threat_event_callback(lambda event, _: say("arrived", event["event"]["id"]), topic)
        signal.signal(signal.SIGTERM, close)
        taken = []
        try:
            say("ready")
            for threat_event, _ in events:
                taken.append(threat_event["event"]["id"])
                if len(taken) == 1:
                    sys.stdin.readline()
        except KeyboardInterrupt:
            say("interrupted after", *taken)
        else:
            say("took", *taken)
"""


class TestASignal:
    @pytest.mark.parametrize(
        ("number", "output"), [(signal.SIGTERM, "closed\ntook\n"), (signal.SIGINT, "interrupted after\n")]
    )
    def test_ends_a_loop_that_waits(
        self, fabric: LocalFabric, topic: str, number: signal.Signals, output: str
    ) -> None:
        with running(PROGRAM, fabric.config_file, topic) as process:
            until_printed(process, "ready")
            process.send_signal(number)
            assert process.communicate(timeout=30) == (output, "")
        assert process.returncode == 0

    def test_that_closes_a_busy_stream_leaves_what_is_buffered(
        self, fabric: LocalFabric, dxl_client: DxlClient, topic: str
    ) -> None:
        with running(PROGRAM, fabric.config_file, topic) as process:
            until_printed(process, "ready")
            with Publisher(dxl_client, topic):
                # One event is in the loop, 50 are buffered, and the worker waits to buffer the next one.
                until_printed(process, "arrived 51")
                process.send_signal(signal.SIGTERM)
                until_printed(process, "closed")
                output, errors = process.communicate("go on\n", timeout=30)
        assert process.returncode == 0
        assert " ".join(["took", *map(str, range(1, 52))]) in output.splitlines()
        assert "Traceback" not in errors
