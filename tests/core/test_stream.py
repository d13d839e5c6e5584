"""The stream by itself: events are put in by hand, as dxlclient's worker puts them in."""

import logging
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any, TypeAlias
from unittest.mock import Mock

import pytest
from dxlclient.client import DxlClient
from dxlclient.exceptions import WaitTimeoutException
from dxlclient.message import Event
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient, ThreatEventDecodeError, ThreatEventStream

TraceFunction: TypeAlias = Callable[[FrameType, str, Any], Any]


def stream(**options: Any) -> ThreatEventStream:
    return CommonThreatEventClient(Mock(spec=DxlClient)).threat_events(**options)


def event(payload: Any) -> Event:
    dxl_event = Event("/topic")
    dxl_event.payload = payload
    return dxl_event


def fill(events: ThreatEventStream, numbers: Iterable[int]) -> None:
    for number in numbers:
        events.on_event(event(b'{"number": %d}' % number))


def taken(events: ThreatEventStream) -> list[int]:
    return [threat_event["number"] for threat_event, _ in events]


def filling(events: ThreatEventStream, numbers: Iterable[int]) -> threading.Thread:
    """Fill on another thread, as a worker that may have to wait."""
    thread = threading.Thread(target=fill, args=[events, numbers])
    thread.start()
    return thread


def wait_for(threads: Iterable[threading.Thread]) -> None:
    for thread in threads:
        thread.join()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_the_loop_gets_each_event_in_order_with_the_original() -> None:
    first, second = event(b'{"number": 1}'), event(b'{"number": 2}')
    with stream() as events:
        events.on_event(first)
        events.on_event(second)
        events.close()
        assert list(events) == [({"number": 1}, first), ({"number": 2}, second)]


def test_payloads_are_decoded_when_they_are_taken() -> None:
    errors: list[BaseException] = []
    with stream(on_error=lambda error, _: errors.append(error)) as events:
        events.on_event(event(b"junk"))
        fill(events, [1])
        assert errors == []
        assert events.get()[0] == {"number": 1}
        assert len(errors) == 1


class TestMalformedPayloads:
    def test_go_to_on_error_with_their_event_and_the_loop_goes_on(self) -> None:
        errors: list[tuple[ThreatEventDecodeError, Event]] = []
        junk, number = event(b"junk"), event(5)
        with stream(on_error=lambda *error: errors.append(error)) as events:
            fill(events, [1])
            events.on_event(junk)
            events.on_event(number)
            fill(events, [2])
            events.close()
            assert taken(events) == [1, 2]
        assert [original for _, original in errors] == [junk, number]
        assert [error.payload for error, _ in errors] == [b"junk", 5]

    def test_go_to_the_log_by_default(self, caplog: pytest.LogCaptureFixture) -> None:
        junk = event(b"junk")
        with stream() as events:
            events.on_event(junk)
            fill(events, [1])
            events.close()
            assert taken(events) == [1]
        [record] = caplog.records
        assert record.levelname == "ERROR"
        for part in (junk.message_id, "/topic", "not JSON", "b'junk'"):
            assert part in record.getMessage()

    def test_come_out_of_the_loop_if_on_error_raises_and_the_next_event_is_still_there(self) -> None:
        def raise_it(error: ThreatEventDecodeError, original_event: Event) -> None:
            raise error

        with stream(on_error=raise_it) as events:
            events.on_event(event(b"junk"))
            fill(events, [1])
            with pytest.raises(ThreatEventDecodeError):
                next(events)
            assert next(events)[0] == {"number": 1}

    def test_do_not_prolong_the_timeout_of_get(self) -> None:
        with stream(on_error=lambda *_: None) as events:
            events.on_event(event(b"junk"))
            with pytest.raises(TimeoutError):
                events.get(timeout=0.01)


class TestGet:
    def test_returns_what_is_there_even_without_time_to_wait(self) -> None:
        with stream() as events:
            fill(events, [1])
            assert events.get(timeout=0)[0] == {"number": 1}

    @pytest.mark.parametrize("timeout", [-1, 0, 0.01])
    def test_raises_the_builtin_timeout_error_if_nothing_arrives(self, timeout: float) -> None:
        with stream() as events, pytest.raises(TimeoutError):
            events.get(timeout)

    @pytest.mark.parametrize("timeout", [None, 30])
    def test_waits_for_an_event_that_arrives_later(self, timeout: float | None) -> None:
        with stream() as events, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(events.get, timeout)
            fill(events, [1])
            assert waiting.result(10)[0] == {"number": 1}

    def test_raises_eof_error_when_the_stream_is_closed_and_empty(self) -> None:
        with stream() as events:
            fill(events, [1])
            events.close()
            assert events.get()[0] == {"number": 1}
            for _ in range(2):
                with pytest.raises(EOFError):
                    events.get(timeout=5)


class TestClosing:
    def test_ends_the_loop_after_what_is_buffered_and_for_good(self) -> None:
        with stream() as events:
            fill(events, range(3))
            events.close()
            assert taken(events) == [0, 1, 2]
            assert taken(events) == []

    def test_ends_a_loop_that_waits_on_another_thread(self) -> None:
        with stream() as events, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(taken, events)
            fill(events, range(3))
            events.close()
            assert waiting.result(10) == [0, 1, 2]

    def test_ends_every_loop_of_several_threads(self) -> None:
        with stream() as events, ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(taken, events) for _ in range(4)]
            fill(events, range(100))
            events.close()
            assert sorted(number for loop in waiting for number in loop.result(10)) == list(range(100))

    @pytest.mark.parametrize("step", range(6))
    def test_in_the_middle_of_closing_is_closing_once(self, step: int) -> None:
        # As a signal handler does that interrupts close(), before whichever of its lines.
        seen = 0

        def trace(frame: FrameType, what: str, argument: object) -> TraceFunction:
            nonlocal seen
            if frame.f_code is ThreatEventStream.close.__code__:
                seen += 1
                if seen == step:
                    events.close()
            return trace

        with stream() as events:
            sys.settrace(trace)
            events.close()
            sys.settrace(None)
            assert seen > step
            assert events._events.qsize() == 1, "there is one end, however often it is closed"

    def test_lets_a_waiting_worker_go(self) -> None:
        with stream(max_buffered=2) as events:
            worker = filling(events, range(5))
            until(lambda: events._is_waiting, "the worker waits for room")
            events.close()
            worker.join(10)
            assert not worker.is_alive()
            assert taken(events) == [0, 1]

    def test_before_opening_makes_an_empty_stream(self) -> None:
        events = stream()
        events.close()
        with events:
            assert taken(events) == []


class TestLeaving:
    def test_lets_a_waiting_worker_go_before_it_waits_for_the_broker(self) -> None:
        dxl_client = Mock(spec=DxlClient)
        with CommonThreatEventClient(dxl_client).threat_events(max_buffered=1) as events:
            worker = filling(events, range(5))
            # The broker's answer waits behind the worker.
            dxl_client.remove_event_callback.side_effect = lambda *_: worker.join()
            until(lambda: events._is_waiting, "the worker waits for room")
        assert not worker.is_alive()

    def test_the_client_lets_the_workers_of_all_its_streams_go_first(self) -> None:
        dxl_client = Mock(spec=DxlClient)
        with CommonThreatEventClient(dxl_client) as client:
            streams = [client.threat_events("/" + topic, max_buffered=1) for topic in "ab"]
            workers = [filling(events.__enter__(), range(5)) for events in streams]
            dxl_client.remove_event_callback.side_effect = lambda *_: wait_for(workers)
            until(lambda: all(events._is_waiting for events in streams), "both workers wait for room")
        assert not any(worker.is_alive() for worker in workers)

    def test_says_how_many_events_had_arrived_and_were_not_taken(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with stream() as events:
            fill(events, range(5))
            next(events)
            events.close()
            fill(events, range(3))
        assert warnings(caplog) == ["A stream was left with 7 events that had arrived and were not taken"]

    def test_an_empty_stream_says_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        with stream() as events:
            fill(events, [1])
            next(events)
        assert caplog.records == []


class TestTheBuffer:
    def test_never_holds_more_than_it_may_and_loses_nothing_with_several_workers(self) -> None:
        sizes = []
        with stream(max_buffered=3) as events:
            workers = [filling(events, range(start, start + 100)) for start in (0, 100, 200)]
            numbers = []
            for _ in range(300):
                sizes.append(events._events.qsize())
                numbers.append(events.get(timeout=10)[0]["number"])
            for worker in workers:
                worker.join(10)
        assert max(sizes) <= 3
        assert sorted(numbers) == list(range(300))

    def test_warns_once_for_each_time_it_fills_up_with_the_count(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with stream(max_buffered=3) as events:
            for episode in (1, 2):
                worker = filling(events, range(6))
                for number in range(6):
                    if number <= 3:
                        until(lambda: events._events.qsize() == 3, "the buffer is full")
                    if number < 3:
                        until(lambda: events._is_waiting, "the worker waits for room")
                    assert events.get(timeout=10)[0] == {"number": number}
                worker.join(10)
                assert len(warnings(caplog)) == episode
        assert set(warnings(caplog)) == {
            "The stream's buffer is full: 3 events wait for the loop, and now dxlclient waits too"
        }

    def test_does_not_warn_as_long_as_there_is_room(self, caplog: pytest.LogCaptureFixture) -> None:
        with stream(max_buffered=3) as events:
            fill(events, range(3))
            events.close()
            assert taken(events) == [0, 1, 2]
        assert caplog.records == []

    def test_takes_all_that_arrives_while_the_stream_is_being_opened(self) -> None:
        # The broker's answer to the subscription waits behind the worker, which must not wait for room then.
        dxl_client = Mock(spec=DxlClient)
        dxl_client.add_event_callback.side_effect = lambda _, events: fill(events, range(10))
        with CommonThreatEventClient(dxl_client).threat_events(max_buffered=1) as events:
            events.close()
            assert taken(events) == list(range(10))


def test_two_threads_that_take_from_one_stream_share_its_events() -> None:
    with stream() as events, ThreadPoolExecutor(2) as pool:
        loops = [pool.submit(taken, events) for _ in range(2)]
        fill(events, range(1000))
        events.close()
        numbers = [loop.result(10) for loop in loops]
    assert sorted(numbers[0] + numbers[1]) == list(range(1000))
    assert all(loop == sorted(loop) for loop in numbers), "each gets its own in order"


def test_a_stream_is_used_in_a_with_statement_and_once() -> None:
    events = stream()
    with pytest.raises(RuntimeError, match="use it in a with statement"):
        next(events)
    with pytest.raises(RuntimeError, match="use it in a with statement"):
        events.get(timeout=0)
    with events:
        pass
    with pytest.raises(RuntimeError, match="opened once"):
        events.__enter__()


def test_a_stream_that_could_not_be_opened_makes_no_worker_wait() -> None:
    dxl_client = Mock(spec=DxlClient)
    dxl_client.add_event_callback.side_effect = WaitTimeoutException("no answer")
    events = CommonThreatEventClient(dxl_client).threat_events(max_buffered=1)
    with pytest.raises(WaitTimeoutException):
        events.__enter__()
    fill(events, range(5))
    dxl_client.remove_event_callback.assert_called_once()


@pytest.mark.parametrize("no_function", [5, "print", [print]])
def test_on_error_has_to_be_a_function(no_function: Any) -> None:
    with pytest.raises(TypeError, match="is no function"):
        stream(on_error=no_function)
