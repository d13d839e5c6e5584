"""Callbacks are isolated from each other, and neither hostile code nor hostile senders can disrupt a feed."""

import functools
import logging
import threading
from contextlib import nullcontext
from datetime import datetime, timezone
from typing import Any

import pytest
from dxlclient.client import DxlClient
from dxlclient.message import Event, Request
from helpers.clients import Connect, is_subscribed, queue_is_full, queue_length
from helpers.feed import Feed
from helpers.receiving import Receiver, event, number_of, numbered, publish_numbers, publish_payload
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient


class Equal(Receiver):
    """An unhashable callback that compares equal to every other instance of its class."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class Incomparable(Equal):
    """A callback whose comparisons, like those of a NumPy array, have no truth value."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value is ambiguous")

    __hash__ = None


class TestAnEvent:
    def test_can_be_changed_and_sent_on_by_a_callback(self, feed: Feed) -> None:
        """Each callback and each stream receives its own copy of an event."""

        def forward(threat_event: dict[str, Any], event: Event) -> None:
            threat_event.clear()
            event.destination_topic, event.payload = f"{feed.topic}/forwarded", b"changed"
            event.broker_ids.append("mine")
            event.other_fields["mine"] = "mine"
            feed.dxl_client.send_event(event)

        feed.add(forward)
        feed.add(kept := Receiver())
        feed.add(forwarded := Receiver(), "/forwarded")
        with feed.client.threat_events(feed.topic) as events:
            [sent] = feed.publish([1])
            until(lambda: bool(forwarded.errors), "the changed event arrives")
            originals = [*kept.handled, events.get(timeout=30)]
        for threat_event, original in originals:
            assert (threat_event, original.payload) == (numbered(1), sent.payload)
            assert original.destination_topic == feed.topic
            assert (original.broker_ids, original.other_fields) == ([], {})

    @pytest.mark.parametrize("in_a_loop", [False, True])
    def test_can_be_sent_on_while_all_queues_are_full(
        self, connect: Connect, dxl_client: DxlClient, topic: str, in_a_loop: bool
    ) -> None:
        """Without our hook, the network thread would hold the sending lock while waiting for queue space."""
        crowded, receiver = connect(incoming_message_queue_size=1), Receiver()

        def send_on(threat_event: dict[str, Any], event: Event) -> None:
            if number_of(threat_event) == 0:
                until(lambda: queue_is_full(crowded), "dxlclient's queue is full")
            event.destination_topic = f"{topic}/forwarded"
            crowded.send_event(event)

        with CommonThreatEventClient(dxl_client) as others, CommonThreatEventClient(crowded) as client:
            others.add_threat_event_callback(receiver, f"{topic}/forwarded")
            with client.threat_events(topic, max_buffered=1) if in_a_loop else nullcontext() as stream:
                if stream is None:
                    client.add_threat_event_callback(send_on, topic)
                publish_numbers(dxl_client, range(20), topic)
                if stream is not None:
                    for _ in range(20):
                        send_on(*stream.get(timeout=30))
                receiver.until_received(19)
        assert receiver.numbers == list(range(20))


@pytest.mark.parametrize("kind", [Equal, Incomparable])
def test_equal_and_incomparable_callbacks_are_two_callbacks(feed: Feed, kind: type[Receiver]) -> None:
    first, second = kind(), kind()
    feed.add(first)
    feed.add(second)
    feed.publish([1])
    second.until_received(1)
    feed.remove(first)
    feed.publish([2])
    second.until_received(2)
    assert (first.numbers, second.numbers) == ([1], [1, 2])


def test_removing_a_filter_leaves_an_exact_topic_alone(feed: Feed) -> None:
    exact, filtered = Receiver(), Receiver()
    feed.add(exact)
    feed.add(filtered, "/#")
    feed.remove(filtered, "/#")
    until(lambda: not is_subscribed(f"{feed.topic}/#"), "the filter is unsubscribed")
    feed.publish([1])
    exact.until_received(1)
    assert (exact.numbers, filtered.numbers) == ([1], [])


def test_a_message_that_is_no_event_does_not_count_as_dropped(feed: Feed) -> None:
    """A wildcard filter also matches the requests and responses of DXL services."""
    feed.add(receiver := Receiver(), "/#")
    feed.dxl_client.async_request(Request(f"{feed.topic}/service"))
    feed.publish([1])
    receiver.until_received(1)
    feed.client.close()
    assert feed.client.status().dropped == 0


def test_each_callback_gets_the_error_of_a_nested_payload(feed: Feed) -> None:
    errors: list[str] = []
    for _ in range(2):
        feed.add(lambda *_: None, on_error=lambda error, _: errors.append(str(error)))
    nested = Event(feed.topic)
    nested.payload = functools.reduce(lambda inner, _: [inner], range(500), 1)  # type: ignore[arg-type, return-value]
    feed.dxl_client.send_event(nested)
    until(lambda: len(errors) == 2, "each callback gets it")


def test_where_passes_over_what_is_not_wanted_and_no_more(
    feed: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    """An event is delivered even if it is malformed or the predicate raises an exception for it."""

    def is_wanted(threat_event: dict[str, Any]) -> bool:
        number = number_of(threat_event)
        if number == 1:
            raise ValueError("a bug")
        return number > 0

    malformed: list[BaseException] = []
    before, receiver = datetime.now(timezone.utc), Receiver()
    with feed.client.threat_events(
        feed.topic, where=is_wanted, on_error=lambda error, _: malformed.append(error)
    ) as stream:
        feed.add(receiver, where=is_wanted)
        publish_payload(feed.dxl_client, b"junk", feed.topic)
        feed.publish(range(3))
        receiver.until_received(2)
        assert [number_of(stream.get(timeout=30)[0]) for _ in range(2)] == [1, 2]
        assert feed.client.status().filtered == 2
        last_event_at = feed.client.status().last_event_at
    assert last_event_at is not None
    assert before <= last_event_at <= datetime.now(timezone.utc)
    assert receiver.numbers == [1, 2]
    assert len(receiver.errors) == len(malformed) == 1
    assert caplog.text.count("ValueError: a bug") == 2


class RaisingHandler(logging.Handler):
    """A logging handler that raises an exception, like a file handler on a full disk."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("no space left on device")


def test_a_logging_handler_that_raises_costs_no_event(feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    logger, handler, receiver = logging.getLogger("dxlthreateventclient"), RaisingHandler(), Receiver()
    logger.addHandler(handler)
    try:
        feed.add(Receiver(ValueError("a bug")).on_threat_event)
        feed.add(receiver)
        feed.publish(range(3))
        receiver.until_received(2)
    finally:
        logger.removeHandler(handler)
    assert receiver.numbers == [0, 1, 2]
    assert "a bug" in capsys.readouterr().err


def test_a_sender_cannot_forge_log_lines_or_steer_a_terminal(
    feed: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    """A sender can choose any message ID and, if the receiver uses a filter, part of the topic."""
    hostile = event(b"junk", f"{feed.topic}/a\x1b[2Jb\nERROR forged")
    hostile._message_id = "id\r\nCRITICAL forged \u202e"  # type: ignore[attr-defined]
    feed.add(lambda *_: None, "/#")
    feed.dxl_client.send_event(hostile)
    until(lambda: "was not handled" in caplog.text, "it is logged")
    [message] = [record.getMessage() for record in caplog.records if "not handled" in record.getMessage()]
    assert message.isprintable()
    assert r"id\r\nCRITICAL forged \u202e" in message


class TestLeaving:
    @pytest.mark.parametrize("below", ["", "/#"])
    def test_says_what_had_arrived_and_was_passed_over(
        self, feed: Feed, caplog: pytest.LogCaptureFixture, below: str
    ) -> None:
        first, go_on = threading.Event(), threading.Event()

        def slow(threat_event: dict[str, Any], original_event: Event) -> None:
            first.set()
            go_on.wait(30)

        feed.add(earlier := Receiver())
        feed.publish(range(5))
        earlier.until_received(4)
        feed.add(slow, below)
        feed.remove(earlier)
        until(lambda: is_subscribed(feed.topic) == (not below), "one subscription is left")
        feed.publish(range(50))
        assert first.wait(30)
        until(lambda: queue_length(feed.dxl_client) == 49, "all others wait")
        feed.remove(slow, below)
        go_on.set()
        until(lambda: "1 events handed over, 49 passed over" in caplog.text, "it is logged")
        assert feed.client.status().dropped == 49

    def test_counts_well_if_events_were_waiting_when_it_was_added(self, feed: Feed) -> None:
        go_on, late = threading.Semaphore(0), Receiver()
        feed.add(lambda *_: go_on.acquire(timeout=30))
        feed.publish(range(3))
        until(lambda: queue_length(feed.dxl_client) == 2, "the first is handled, and two wait")
        feed.add(late)
        go_on.release(3)
        until(lambda: late.numbers == [1, 2], "those that waited arrive")
        feed.publish(range(5))
        until(lambda: queue_length(feed.dxl_client) == 4, "more have arrived")
        feed.remove(late)
        go_on.release(5)
        assert feed.client.status().dropped == 5

    def test_says_what_of_a_full_stream_was_not_handed_over(
        self, feed: Feed, caplog: pytest.LogCaptureFixture
    ) -> None:
        with feed.client.threat_events(feed.topic, max_buffered=10) as stream:
            feed.publish(range(500))
            until(lambda: "buffer is full" in caplog.text, "the buffer is full")
            assert stream.get(timeout=30)[0] == numbered(0)
            until(lambda: queue_length(feed.dxl_client) == 488, "all have arrived")
        [line] = [record.getMessage() for record in caplog.records if " closed: " in record.getMessage()]
        assert feed.client.status().dropped == 499
        numbers = [int(word) for word in line.partition(" closed: ")[2].split() if word.isdigit()]
        assert numbers[0] == 1
        assert sum(numbers) == 500
