"""One callback cannot hurt another: whatever a handler raises, all others still get every event."""

import sys
from typing import Any

import pytest
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.receiving import Raiser, Receiver, publish_numbers

from dxlthreateventclient import CommonThreatEventCallback, CommonThreatEventClient
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC


class EndOfTheWorld(BaseException):
    """Nobody expects it."""


ERRORS = [ValueError("mine"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), EndOfTheWorld()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_a_callback_raises_goes_to_its_hook_and_every_other_callback_gets_all_events(
    dxl_client: DxlClient, error: BaseException
) -> None:
    first, second, third = Raiser(error), Receiver(), Receiver()
    with CommonThreatEventClient(dxl_client) as client:
        for callback in (first, second, third):
            client.add_threat_event_callback(callback)
        published = publish_numbers(dxl_client, range(5))
        third.until_received(4)
    assert [raised for raised, _ in first.errors] == [error] * 5
    assert [event.message_id for _, event in first.errors] == [event.message_id for event in published]
    assert second.numbers == third.numbers == list(range(5))
    assert len(third.threads) == 1, "dxlclient's only worker has lived"


def test_without_a_hook_the_log_has_the_topic_the_message_id_and_the_traceback(
    dxl_client: DxlClient, caplog: pytest.LogCaptureFixture
) -> None:
    def handle(threat_event_dict: dict[str, Any], original_event: Event) -> None:
        raise ValueError("a bug of mine")

    second = Receiver()
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(handle)
        client.add_threat_event_callback(second)
        [event] = publish_numbers(dxl_client, [1])
        second.until_received(1)
    [record] = [record for record in caplog.records if record.name.startswith("dxlthreateventclient")]
    assert record.levelname == "ERROR"
    assert EPO_THREAT_EVENT_RESPONSE_TOPIC in record.getMessage()
    assert event.message_id in record.getMessage()
    assert "ValueError: a bug of mine" in caplog.text
    assert 'raise ValueError("a bug of mine")' in caplog.text


def test_sys_exit_in_a_callback_ends_nothing_and_the_log_says_so(
    dxl_client: DxlClient, caplog: pytest.LogCaptureFixture
) -> None:
    class Exiting(CommonThreatEventCallback):
        def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
            sys.exit("I have seen enough")

    second = Receiver()
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(Exiting())
        client.add_threat_event_callback(second)
        events = publish_numbers(dxl_client, [1, 2])
        second.until_received(2)
    for event in events:
        assert f"Message {event.message_id} on topic {EPO_THREAT_EVENT_RESPONSE_TOPIC}" in caplog.text
    assert caplog.text.count("raised SystemExit, which ended nothing") == 2
    assert "threading.Event" in caplog.text


@pytest.mark.parametrize("in_the_hook", ERRORS, ids=lambda error: type(error).__name__)
def test_a_hook_that_raises_too_is_logged_with_the_first_error_and_stops_nothing(
    dxl_client: DxlClient, caplog: pytest.LogCaptureFixture, in_the_hook: BaseException
) -> None:
    class Hopeless(Raiser):
        def on_threat_event_error(self, error: BaseException, original_event: Event) -> None:
            raise in_the_hook

    second = Receiver()
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(Hopeless(ArithmeticError("the first error")))
        client.add_threat_event_callback(second)
        events = publish_numbers(dxl_client, range(3))
        second.until_received(2)
    assert second.numbers == [0, 1, 2]
    assert caplog.text.count("ArithmeticError: the first error") >= 3
    assert type(in_the_hook).__name__ in caplog.text
    for event in events:
        assert event.message_id in caplog.text


def test_a_function_that_raises_is_isolated_too_and_its_on_error_gets_the_error(
    dxl_client: DxlClient,
) -> None:
    def handle(threat_event_dict: dict[str, Any], original_event: Event) -> None:
        raise SystemExit(threat_event_dict["event"]["id"])

    first, second = Receiver(), Receiver()
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(handle, on_error=first.on_threat_event_error)
        client.add_threat_event_callback(second)
        publish_numbers(dxl_client, range(3))
        second.until_received(2)
    assert [error.code for error, _ in first.errors if isinstance(error, SystemExit)] == [0, 1, 2]
    assert second.numbers == [0, 1, 2]


def test_a_callback_class_that_raises_is_isolated_too(
    dxl_client: DxlClient, caplog: pytest.LogCaptureFixture
) -> None:
    class Exiting(CommonThreatEventCallback):
        def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
            sys.exit()

    second = Receiver()
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(Exiting)
        client.add_threat_event_callback(second)
        publish_numbers(dxl_client, range(3))
        second.until_received(2)
    assert second.numbers == [0, 1, 2]
    assert caplog.text.count("raised SystemExit") == 3


def test_of_10_000_events_a_callback_gets_10_000_behind_one_that_raises_on_every_other(
    dxl_client: DxlClient,
) -> None:
    class RaisesOnEveryOther(Receiver):
        def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
            super().on_threat_event(threat_event_dict, original_event)
            if len(self.handled) % 2:
                raise (ValueError, SystemExit)[len(self.errors) % 2]

    first, second = RaisesOnEveryOther(), Receiver()
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(first)
        client.add_threat_event_callback(second)
        publish_numbers(dxl_client, range(10_000))
        second.until_received(9_999)
    assert second.numbers == first.numbers == list(range(10_000))
    assert len(first.errors) == 5_000
