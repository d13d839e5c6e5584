"""Callback arguments and exceptions. No callback can prevent others from receiving events."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.feed import Feed
from helpers.receiving import Receiver, event, publish_numbers, publish_payload

from dxlthreateventclient import CommonThreatEventCallback, CommonThreatEventClient, ThreatEventDecodeError


class EndOfTheWorld(BaseException):
    """An exception that nobody expects."""


class Exiting(CommonThreatEventCallback):
    def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        sys.exit("seen enough")


class Unreachable(CommonThreatEventCallback):
    @property
    def on_threat_event(self) -> Any:
        sys.exit("seen enough")


class CallableObject:
    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def __call__(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        self.receiver.on_threat_event(threat_event_dict, original_event)


class Plain(EventCallback):
    """A plain dxlclient callback, which does not handle threat events."""

    def __init__(self, receiver: Receiver) -> None:
        super().__init__()
        self.receiver = receiver

    def on_event(self, event: Event) -> None:
        self.receiver.on_event(event)


def log_of(caplog: pytest.LogCaptureFixture, *parts: str) -> str:
    """Return the only error in the library's log that contains all the given parts."""
    [record] = [
        record
        for record in caplog.records
        if record.name.startswith("dxlthreateventclient")
        and all(part in caplog.handler.format(record) for part in parts)
    ]
    assert record.levelname == "ERROR"
    return caplog.handler.format(record)


class TestAddingACallback:
    @pytest.mark.parametrize(
        "kind", [lambda receiver: receiver, lambda receiver: receiver.on_threat_event, CallableObject, Plain]
    )
    def test_it_gets_each_event_once_with_the_original(
        self, feed: Feed, kind: Callable[[Receiver], Any]
    ) -> None:
        """A callback receives each event once, even if it is added more than once or by several clients."""
        receiver, last = Receiver(), Receiver()
        callback = kind(receiver)
        with CommonThreatEventClient(feed.dxl_client) as other:
            for _ in range(2):
                feed.add(callback)
                other.add_threat_event_callback(callback, feed.topic)
            feed.add(last)
            published = feed.publish(range(3))
            last.until_received(2)
        assert receiver.numbers == [0, 1, 2]
        for (_, original_event), sent in zip(receiver.handled, published, strict=True):
            assert original_event.message_id == sent.message_id
            assert original_event.destination_topic == feed.topic
            assert original_event.payload == sent.payload

    def test_a_class_gives_a_new_instance_for_each_event(self, feed: Feed) -> None:
        class EachTime(Receiver):
            def __init__(self) -> None:
                super().__init__()
                instances.append(self)

        instances: list[EachTime] = []
        feed.add(EachTime)
        feed.add(last := Receiver())
        feed.publish(range(3))
        last.until_received(2)
        assert [instance.numbers for instance in instances] == [[0], [1], [2]]

    def test_ours_may_be_added_to_the_dxl_client_directly(self, dxl_client: DxlClient, topic: str) -> None:
        receiver = Receiver()
        dxl_client.add_event_callback(topic, receiver)
        publish_numbers(dxl_client, [1], topic)
        receiver.until_received(1)
        dxl_client.remove_event_callback(topic, receiver)

    @pytest.mark.parametrize("in_front", [True, False])
    def test_a_filter_receives_from_its_topic_and_all_below(self, feed: Feed, in_front: bool) -> None:
        """In MQTT, the filter ``a/#`` matches both ``a`` and all topics below it."""
        feed.client.add_threat_event_callback(receiver := Receiver(), f"{feed.topic}/#" if in_front else "#")
        for number, below in enumerate(["", "/one", "/one/two"]):
            feed.publish([number], below)
        receiver.until_received(2)
        ours = [event for _, event in receiver.handled if event.destination_topic.startswith(feed.topic)]
        assert len(ours) == 3


class TestACallbackThatRaises:
    @pytest.mark.parametrize("as_function", [False, True])
    @pytest.mark.parametrize(
        "error",
        [ValueError("mine"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), EndOfTheWorld()],
        ids=lambda error: type(error).__name__,
    )
    def test_gets_the_error_and_all_others_every_event(
        self, feed: Feed, error: BaseException, as_function: bool
    ) -> None:
        first, second, third = Receiver(error), Receiver(), Receiver()
        if as_function:
            feed.add(first.on_threat_event, on_error=first.on_threat_event_error)
        for callback in (first, second, third)[as_function:]:
            feed.add(callback)
        published = [
            *feed.publish(range(3)),
            publish_payload(feed.dxl_client, b"-", feed.topic),
            *feed.publish([3]),
        ]
        third.until_received(3)
        raised = [first_error for first_error, _ in first.errors]
        assert raised[:3] == [error] * 3
        assert [type(one) for one in raised] == [type(error)] * 3 + [ThreatEventDecodeError, type(error)]
        assert [event.message_id for _, event in first.errors] == [event.message_id for event in published]
        assert second.numbers == third.numbers == [0, 1, 2, 3]
        assert len(third.threads) == 1, "dxlclient's only worker has lived"

    @pytest.mark.parametrize("exiting", [Exiting(), Exiting, Exiting().on_threat_event, Unreachable()])
    def test_is_logged_if_it_has_no_hook(
        self, feed: Feed, exiting: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A callback cannot end the program with sys.exit(). The log explains how to end the program."""
        feed.add(exiting)
        feed.add(last := Receiver())
        [sent] = feed.publish([1])
        last.until_received(1)
        text = log_of(caplog, feed.topic, sent.message_id, "SystemExit: seen enough", "threading.Event")
        assert 'sys.exit("seen enough")' in text, "with the traceback"

    @pytest.mark.parametrize("in_the_hook", [ArithmeticError("hook"), SystemExit("hook")])
    def test_is_logged_if_its_hook_raises_too(
        self, feed: Feed, in_the_hook: BaseException, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Hopeless(Receiver):
            def on_threat_event_error(self, error: BaseException, original_event: Event) -> None:
                raise in_the_hook from None

        feed.client.add_threat_event_callback(Hopeless(ValueError("first")), feed.topic)
        feed.add(last := Receiver())
        [sent] = feed.publish([1])
        last.until_received(1)
        assert f"{type(in_the_hook).__name__}: hook" in caplog.text
        log_of(caplog, feed.topic, sent.message_id, "ValueError: first")

    def test_for_lack_of_a_method_hears_which(self, caplog: pytest.LogCaptureFixture) -> None:
        with pytest.raises(NotImplementedError, match="on_threat_event"):
            CommonThreatEventCallback().on_threat_event({}, event(b"{}"))
        CommonThreatEventCallback().on_event(event(b"{}"))
        log_of(caplog, "override on_threat_event")
