"""Malformed and odd payloads over a fabric: each reaches the user once, and none stops what follows."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.corpus import MALFORMED, ODD
from helpers.receiving import Raiser, Receiver, numbered, publish_numbers, publish_payload

from dxlthreateventclient import CommonThreatEventClient, ThreatEventDecodeError
from dxlthreateventclient.payload import decode_threat_event

LAST = len(MALFORMED) + len(ODD)


def published(dxl_client: DxlClient) -> tuple[list[Event], list[Event]]:
    """Publish the corpus, a good event behind each payload; return the malformed and the odd ones."""
    good = iter(range(1, LAST + 1))

    def publish(payloads: dict[str, Any]) -> Iterator[Event]:
        for payload in payloads.values():
            yield publish_payload(dxl_client, payload)
            publish_numbers(dxl_client, [next(good)])

    return list(publish(MALFORMED)), list(publish(ODD))


def message_ids(events: list[Event]) -> list[str]:
    return [event.message_id for event in events]


def check(
    handled: list[tuple[dict[str, Any], Event]],
    errors: list[tuple[BaseException, Event]],
    malformed: list[Event],
    odd: list[Event],
) -> None:
    assert message_ids([event for _, event in errors]) == message_ids(malformed), "each once, in order"
    for (error, event), sent in zip(errors, malformed, strict=True):
        assert isinstance(error, ThreatEventDecodeError)
        assert event.payload == sent.payload
        assert error.payload is event.payload
        assert error.reason in str(error)
        assert len(str(error)) < 500
    good = [numbered(number) for number in range(1, LAST + 1)]
    assert [threat_event for threat_event, _ in handled if threat_event in good] == good, "all have arrived"
    odd_ones = [(threat_event, event) for threat_event, event in handled if threat_event not in good]
    assert message_ids([event for _, event in odd_ones]) == message_ids(odd)
    for threat_event, event in odd_ones:
        assert threat_event == decode_threat_event(event.payload)


def test_the_corpus_is_large_enough_and_names_what_is_wrong() -> None:
    assert len(MALFORMED) >= 40
    for payload in MALFORMED.values():
        with pytest.raises(ThreatEventDecodeError):
            decode_threat_event(payload)


@pytest.mark.parametrize("payload", ODD.values(), ids=ODD)
def test_what_is_odd_and_still_a_json_object_decodes_to_what_json_says(payload: bytes) -> None:
    text = payload.rstrip(b"\0\r\n \t").decode("utf-8-sig")
    assert decode_threat_event(payload) == json.loads(text)


def test_every_malformed_payload_reaches_the_hook_once_and_every_good_event_arrives(
    dxl_client: DxlClient,
) -> None:
    receiver, second = Receiver(), Receiver()
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(receiver)
        client.add_threat_event_callback(second.on_threat_event, on_error=second.on_threat_event_error)
        malformed, odd = published(dxl_client)
        second.until_received(LAST)
    check(receiver.handled, receiver.errors, malformed, odd)
    check(second.handled, second.errors, malformed, odd)
    assert len(receiver.threads) == 1, "dxlclient's only worker has lived"


def test_every_malformed_payload_reaches_on_error_of_a_stream_once_and_every_good_event_the_loop(
    dxl_client: DxlClient,
) -> None:
    handled: list[tuple[dict[str, Any], Event]] = []
    errors: list[tuple[BaseException, Event]] = []
    with (
        CommonThreatEventClient(dxl_client) as client,
        client.threat_events(on_error=lambda *error: errors.append(error)) as events,
    ):
        malformed, odd = published(dxl_client)
        for threat_event, event in events:
            handled.append((threat_event, event))
            if threat_event == numbered(LAST):
                break
    check(handled, errors, malformed, odd)


def test_the_log_names_each_malformed_payload_where_nobody_overrides_the_hook(
    dxl_client: DxlClient, caplog: pytest.LogCaptureFixture
) -> None:
    last = Receiver()
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(lambda *_: None)
        client.add_threat_event_callback(last)
        malformed, _ = published(dxl_client)
        last.until_received(LAST)
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("dxlthreatevent")]
    assert len(logged) == len(malformed)
    for message, event in zip(logged, malformed, strict=True):
        assert event.message_id in message
        assert event.destination_topic in message


def test_a_handler_that_raises_for_every_event_stops_nothing(dxl_client: DxlClient) -> None:
    raiser, last = Raiser(ValueError("mine")), Receiver()
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(raiser)
        client.add_threat_event_callback(last)
        malformed, odd = published(dxl_client)
        last.until_received(LAST)
    check(last.handled, last.errors, malformed, odd)
    assert len(raiser.errors) == len(malformed) + len(odd) + LAST
