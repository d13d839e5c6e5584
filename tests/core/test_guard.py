"""Callbacks are isolated from each other, and no hostile code or sender can disturb a feed."""

import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pytest
from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.message import Event, Request
from helpers.clients import Connect, is_subscribed, queue_is_full, queue_length
from helpers.receiving import Receiver, event, number_of, publish_numbers, publish_payload
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventCallback, CommonThreatEventClient


@dataclass
class Equal(CommonThreatEventCallback):
    """Equal to every other instance, like a dataclass with equal fields."""

    name: str = "same"
    numbers: list[int] = field(default_factory=list, compare=False)

    def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        self.numbers.append(threat_event_dict["event"]["id"])


class Incomparable(Receiver):
    """Like a NumPy array, whose comparisons have no truth value."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value is ambiguous")

    __hash__ = None  # type: ignore[assignment]


class TestAnEvent:
    @pytest.mark.parametrize("payload", [b'{"event": {"id": 1}}', {b"not": [b"bytes"]}])
    def test_can_be_changed_and_sent_on_by_a_callback(
        self, dxl_client: DxlClient, topic: str, payload: Any
    ) -> None:
        """Each callback and each stream receives its own copy."""

        class Forwarding(EventCallback):
            def on_event(self, event: Event) -> None:
                if event.destination_topic != topic:
                    return
                event.destination_topic = f"{topic}/forwarded"
                if isinstance(event.payload, dict):
                    event.payload.clear()
                event.payload = b"changed"
                event.broker_ids.append("mine")
                event.other_fields["mine"] = "mine"
                dxl_client.send_event(event)

        seen: list[Event] = []

        class Keeping(EventCallback):
            def on_event(self, event: Event) -> None:
                seen.append(event)

        with (
            CommonThreatEventClient(dxl_client) as client,
            client.threat_events(topic, on_error=lambda _, event: seen.append(event)) as stream,
        ):
            client.add_threat_event_callback(Forwarding(), topic)
            client.add_threat_event_callback(Keeping(), f"{topic}/#")
            publish_payload(dxl_client, payload, topic)
            until(
                lambda: {kept.destination_topic for kept in seen} == {topic, f"{topic}/forwarded"},
                "both arrive",
            )
            with suppress(TimeoutError):
                seen.append(stream.get(timeout=1)[1])
        originals = [kept for kept in seen if kept.destination_topic == topic]
        assert originals
        for kept in originals:
            assert (kept.payload, kept.broker_ids, kept.other_fields) == (payload, [], {})

    @pytest.mark.parametrize("in_a_loop", [False, True])
    def test_can_be_sent_on_while_all_queues_are_full(
        self, connect: Connect, dxl_client: DxlClient, topic: str, in_a_loop: bool
    ) -> None:
        """By itself, DxlClient would deadlock: its waiting network thread holds a lock for sending."""
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


class TestEqualCallbacks:
    def test_are_two_callbacks(self, dxl_client: DxlClient, topic: str) -> None:
        first, second = Equal(), Equal()
        assert first == second
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(first, topic)
            client.add_threat_event_callback(second, topic)
            publish_numbers(dxl_client, [1], topic)
            until(lambda: first.numbers == second.numbers == [1], "both get it")
            client.remove_threat_event_callback(first, topic)
            publish_numbers(dxl_client, [2], topic)
            until(lambda: second.numbers == [1, 2], "the one that stays gets the next")
        assert first.numbers == [1]

    def test_need_not_be_comparable_at_all(self, dxl_client: DxlClient, topic: str) -> None:
        first, second = Incomparable(), Incomparable()
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(first, topic)
            client.add_threat_event_callback(second, topic)
            publish_numbers(dxl_client, [1], topic)
            for receiver in (first, second):
                receiver.until_received(1)
            client.remove_threat_event_callback(first, topic)
            publish_numbers(dxl_client, [2], topic)
            second.until_received(2)
        assert first.numbers == [1]


class TestAFilter:
    def test_gets_the_events_of_the_topic_above_it(self, dxl_client: DxlClient, topic: str) -> None:
        """MQTT defines filters in this way, so the broker sends these events."""
        receiver = Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(receiver, f"{topic}/#")
            publish_numbers(dxl_client, range(5), topic)
            publish_numbers(dxl_client, [5], f"{topic}/below")
            receiver.until_received(5)
        assert receiver.numbers == list(range(6))

    def test_leaves_an_exact_topic_alone_when_it_is_removed(self, dxl_client: DxlClient, topic: str) -> None:
        exact, filtered = Receiver(), Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(exact, topic)
            client.add_threat_event_callback(filtered, f"{topic}/#")
            client.remove_threat_event_callback(filtered, f"{topic}/#")
            until(lambda: not is_subscribed(f"{topic}/#"), "the filter is unsubscribed")
            publish_numbers(dxl_client, [1], topic)
            exact.until_received(1)
            client.remove_threat_event_callback(exact, topic)
            until(lambda: not is_subscribed(topic), "the topic is unsubscribed")
        assert (exact.numbers, filtered.numbers) == ([1], [])


class RaisingHandler(logging.Handler):
    """A logging handler that raises, as when writing to a full disk."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("no space left on device")


class TestAMessageThatIsNoEvent:
    def test_does_not_count_as_a_dropped_event(self, dxl_client: DxlClient, topic: str) -> None:
        """A filter receives the requests and responses of DXL services, too."""
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(receiver := Receiver(), f"{topic}/#")
            dxl_client.async_request(Request(f"{topic}/service"))
            publish_numbers(dxl_client, [1], topic)
            receiver.until_received(1)
        assert client.status().dropped == 0


class TestWhere:
    def test_passes_over_what_is_not_wanted_and_no_more(
        self, dxl_client: DxlClient, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Malformed events are delivered, and so are events for which the predicate raises."""

        def is_wanted(threat_event: dict[str, Any]) -> bool:
            number = number_of(threat_event)
            if number == 1:
                raise ValueError("a bug")
            return number > 0

        malformed: list[BaseException] = []
        before, receiver = datetime.now(timezone.utc), Receiver()
        with (
            CommonThreatEventClient(dxl_client) as client,
            client.threat_events(
                topic, where=is_wanted, on_error=lambda error, _: malformed.append(error)
            ) as stream,
        ):
            client.add_threat_event_callback(receiver, topic, where=is_wanted)
            publish_payload(dxl_client, b"junk", topic)
            publish_numbers(dxl_client, range(3), topic)
            receiver.until_received(2)
            assert [number_of(stream.get(timeout=30)[0]) for _ in range(2)] == [1, 2]
            assert client.status().filtered == 2
            last_event_at = client.status().last_event_at
        assert last_event_at is not None
        assert before <= last_event_at <= datetime.now(timezone.utc)
        assert receiver.numbers == [1, 2]
        assert len(receiver.errors) == len(malformed) == 1
        assert caplog.text.count("ValueError: a bug") == 2


class TestALoggingHandlerThatRaises:
    def test_costs_no_callback_an_event(
        self, dxl_client: DxlClient, topic: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        logger, handler = logging.getLogger("dxlthreateventclient"), RaisingHandler()
        receiver = Receiver()
        logger.addHandler(handler)
        try:
            with CommonThreatEventClient(dxl_client) as client:
                client.add_threat_event_callback(Receiver(ValueError("a bug")).on_threat_event, topic)
                client.add_threat_event_callback(receiver, topic)
                publish_numbers(dxl_client, range(3), topic)
                receiver.until_received(2)
        finally:
            logger.removeHandler(handler)
        assert receiver.numbers == [0, 1, 2]
        assert "a bug" in capsys.readouterr().err


class TestAHookThatCannotEvenBeReached:
    def test_is_like_a_hook_that_raises(
        self, dxl_client: DxlClient, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Trap(CommonThreatEventCallback):
            @property
            def on_threat_event_error(self) -> Any:
                raise SystemExit("trapped")

        receiver = Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(Trap(), topic)
            client.add_threat_event_callback(receiver, topic)
            publish_numbers(dxl_client, [1, 2], topic)
            receiver.until_received(2)
        assert caplog.text.count("SystemExit: trapped") == 2


class TestWhatTheSenderChooses:
    def test_neither_forges_a_log_line_nor_steers_a_terminal(
        self, dxl_client: DxlClient, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A sender can choose any text as a message id, or as a topic below a filter."""
        receiver = Receiver()
        hostile = event(b"junk", f"{topic}/a\x1b[2Jb\nERROR forged")
        hostile._message_id = "id\r\nCRITICAL forged \u202e"  # type: ignore[attr-defined]
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(lambda *_: None, f"{topic}/#")
            client.add_threat_event_callback(receiver, topic)
            dxl_client.send_event(hostile)
            publish_numbers(dxl_client, [1], topic)
            receiver.until_received(1)
        [message] = [
            record.getMessage() for record in caplog.records if "was not handled" in record.getMessage()
        ]
        assert message.isprintable()
        assert r"id\r\nCRITICAL forged \u202e" in message


async def coroutine(threat_event: dict[str, Any], original_event: Event) -> None: ...


def generator(threat_event: dict[str, Any], original_event: Event) -> Iterator[int]:
    yield 1


async def asynchronous_generator(threat_event: dict[str, Any], original_event: Event) -> AsyncIterator[int]:
    yield 1


class AsynchronousEventCallback(EventCallback):
    async def on_event(self, event: Event) -> None: ...  # type: ignore[override]


class TestACallbackThatWouldNeverRun:
    @pytest.mark.parametrize(
        "callback",
        [generator, asynchronous_generator, AsynchronousEventCallback(), AsynchronousEventCallback],
    )
    def test_is_refused(self, dxl_client: DxlClient, topic: str, callback: Any) -> None:
        with (
            CommonThreatEventClient(dxl_client) as client,
            pytest.raises(TypeError, match="must not be asynchronous or a generator"),
        ):
            client.add_threat_event_callback(callback, topic)

    @pytest.mark.parametrize("function", [coroutine, generator, asynchronous_generator])
    def test_is_an_error_for_each_event_if_it_cannot_be_seen_before(
        self, dxl_client: DxlClient, topic: str, function: Callable[..., Any]
    ) -> None:
        errors: list[tuple[BaseException, Event]] = []
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(
                lambda *arguments: function(*arguments),  # noqa: PLW0108
                topic,
                on_error=lambda *error: errors.append(error),
            )
            [sent] = publish_numbers(dxl_client, [1], topic)
            until(lambda: bool(errors), "the error is handed over")
        [(error, failed)] = errors
        assert "which nothing runs" in str(error)
        assert failed.message_id == sent.message_id


class TestLeaving:
    def test_leaves_none_of_what_other_threads_add_meanwhile(self, dxl_client: DxlClient, topic: str) -> None:
        """This is true however adding, removing and leaving overlap."""
        receiver = Receiver()
        for _ in range(20):
            ended = threading.Event()

            def add_and_remove(client: CommonThreatEventClient, ended: threading.Event) -> None:
                while not ended.is_set():
                    try:
                        client.add_threat_event_callback(receiver, topic)
                    except RuntimeError:
                        return  # the client is closed
                    client.remove_threat_event_callback(receiver, topic)

            with CommonThreatEventClient(dxl_client) as client:
                threads = [
                    threading.Thread(target=add_and_remove, args=[client, ended], daemon=True)
                    for _ in range(8)
                ]
                for thread in threads:
                    thread.start()
            ended.set()
            for thread in threads:
                thread.join(30)
            until(lambda: not is_subscribed(topic), "it is unsubscribed")

    @pytest.mark.parametrize("below", ["", "/#"])
    def test_says_what_had_arrived_and_was_passed_over(
        self, dxl_client: DxlClient, topic: str, caplog: pytest.LogCaptureFixture, below: str
    ) -> None:
        first, go_on = threading.Event(), threading.Event()

        def slow(threat_event: dict[str, Any], original_event: Event) -> None:
            first.set()
            go_on.wait(30)

        arrived, earlier = Receiver(), Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(earlier, topic)
            publish_numbers(dxl_client, range(5), topic)
            earlier.until_received(4)
            client.add_threat_event_callback(slow, topic + below)
            client.remove_threat_event_callback(earlier, topic)
            client.add_threat_event_callback(arrived, f"{topic}-last")
            publish_numbers(dxl_client, range(50), topic)
            publish_numbers(dxl_client, [1], f"{topic}-last")
            assert first.wait(30)
            until(lambda: queue_length(dxl_client) == 50, "all have arrived")
            leaving = threading.Thread(target=client.remove_threat_event_callback, args=[slow, topic + below])
            leaving.start()
            leaving.join(30)  # while the first event is handled
            go_on.set()
            arrived.until_received(1)
            until(lambda: "passed over" in caplog.text, "it is logged")
            assert client.status().dropped == 49
        assert "1 events handed over, 49 passed over" in caplog.text

    def test_says_what_of_a_full_stream_was_not_handed_over(
        self, dxl_client: DxlClient, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with CommonThreatEventClient(dxl_client) as client:
            with client.threat_events(topic, max_buffered=10) as stream:
                publish_numbers(dxl_client, range(500), topic)
                until(lambda: "buffer is full" in caplog.text, "the buffer is full")
                assert stream.get(timeout=30)[0] == {"event": {"id": 0}}
                until(lambda: queue_length(dxl_client) == 488, "all have arrived")
            [line] = [record.getMessage() for record in caplog.records if " closed: " in record.getMessage()]
            assert client.status().dropped == 499
        numbers = [int(word) for word in line.partition(" closed: ")[2].split() if word.isdigit()]
        assert numbers[0] == 1
        assert sum(numbers) == 500
