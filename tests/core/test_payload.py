"""Decoding turns every payload that a fabric may deliver into a dictionary or an error."""

import json
import pickle
from typing import Any

import pytest
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.corpus import MALFORMED, ODD, REASONS
from helpers.decoding import check_is_decoded_alike
from helpers.receiving import Receiver, event, numbered, publish_numbers, publish_payload
from hypothesis import example, given
from hypothesis import strategies as st

from dxlthreateventclient import CommonThreatEventClient, ThreatEventDecodeError
from dxlthreateventclient.payload import decode_threat_event
from dxlthreateventclient.testing import sample_threat_event

# Text that the reason must contain in addition to the kind of error.
DETAILS = {
    "NaN": "NaN",
    "minus Infinity": "-Infinity",
    "a number beyond a float": "1e400",
    "an array": "array",
    "a string": "string",
    "a fraction": "number",
    "true": "boolean",
    "null": "null",
    "None": "NoneType",
    "an integer": "int",
    "a dictionary": "dict",
}


class TestAPayload:
    @pytest.mark.parametrize("name", MALFORMED)
    def test_that_is_malformed_raises_an_error_that_says_why(self, name: str) -> None:
        with pytest.raises(ThreatEventDecodeError) as raised:
            decode_threat_event(MALFORMED[name])
        error = raised.value
        assert error.payload is MALFORMED[name]
        assert REASONS[name] in error.reason
        assert DETAILS.get(name, "") in error.reason
        assert error.reason in str(error)
        assert len(str(error)) < 500

    @pytest.mark.parametrize("payload", ODD.values(), ids=ODD)
    def test_that_is_odd_is_decoded_to_what_json_says(self, payload: bytes) -> None:
        """The decoder ignores a leading byte order mark, trailing NULs and trailing whitespace."""
        text = payload.rstrip(b"\0\r\n\t\v\f ").decode("utf-8-sig")
        assert decode_threat_event(payload) == json.loads(text)

    def test_is_shown_in_the_message_by_size_and_first_bytes(self) -> None:
        with pytest.raises(ValueError, match="105 bytes: b'<xml>xxx") as raised:
            decode_threat_event(b"<xml>" + b"x" * 100)
        assert len(str(raised.value)) < 200

    def test_that_is_a_huge_object_is_shown_in_short(self) -> None:
        with pytest.raises(ThreatEventDecodeError) as raised:
            decode_threat_event(["x" * 100_000] * 1000)  # type: ignore[arg-type]
        assert len(str(raised.value)) < 300

    def test_survives_pickling_with_its_error(self) -> None:
        error = ThreatEventDecodeError("payload is empty", b"\0")
        copy = pickle.loads(pickle.dumps(error))
        assert (copy.reason, copy.payload, str(copy)) == ("payload is empty", b"\0", str(error))


class TestTheCorpusOverAFabric:
    def test_reaches_every_receiver_once_and_in_order(
        self, dxl_client: DxlClient, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Each odd or malformed payload is followed by a valid event, which must arrive."""
        receiver, function, raiser, loop = Receiver(), Receiver(), Receiver(ValueError("mine")), Receiver()
        with (
            CommonThreatEventClient(dxl_client) as client,
            client.threat_events(topic, on_error=loop.on_threat_event_error) as events,
        ):
            client.add_threat_event_callback(lambda *_: None, topic)
            client.add_threat_event_callback(raiser, topic)
            client.add_threat_event_callback(
                function.on_threat_event, topic, on_error=function.on_threat_event_error
            )
            client.add_threat_event_callback(receiver, topic)
            malformed, odd, good = published = list[Event](), list[Event](), list[Event]()
            for kind, payload in (
                *((malformed, payload) for payload in MALFORMED.values()),
                *((odd, payload) for payload in ODD.values()),
            ):
                kind.append(publish_payload(dxl_client, payload, topic))
                good += publish_numbers(dxl_client, [len(good)], topic)
            last = len(good) - 1
            receiver.until_received(last)
            while not loop.handled or loop.handled[-1][0] != numbered(last):
                loop.handled.append(events.get(timeout=30))
        for one in (receiver, function, loop):
            check(one, *published)
        assert len(receiver.threads) == 1, "dxlclient's only worker has lived"
        assert len(raiser.errors) == len(malformed) + len(odd) + len(good)
        logged = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert len(logged) == len(malformed)
        for message, sent in zip(logged, malformed, strict=True):
            assert sent.message_id in message
            assert topic in message


def check(receiver: Receiver, malformed: list[Event], odd: list[Event], good: list[Event]) -> None:
    assert [original_event.message_id for _, original_event in receiver.errors] == ids(malformed)
    for (error, original_event), sent in zip(receiver.errors, malformed, strict=True):
        assert isinstance(error, ThreatEventDecodeError)
        assert error.payload == original_event.payload == sent.payload
    handled = {original_event.message_id: threat_event for threat_event, original_event in receiver.handled}
    assert len(handled) == len(receiver.handled)
    assert [message_id for message_id in handled if message_id in ids(good)] == ids(good)
    assert [message_id for message_id in handled if message_id not in ids(good)] == ids(odd)
    for sent in (*odd, *good):
        assert handled[sent.message_id] == decode_threat_event(sent.payload)


def ids(events: list[Event]) -> list[str]:
    return [sent.message_id for sent in events]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=15,
)
SAMPLE_EVENT = json.dumps(sample_threat_event()).encode()
# Prefer bytes that are significant in JSON.
JSON_BYTES = st.lists(st.sampled_from(b'{}[]",:\\u0d8-+.eE19 \n\0') | st.integers(0, 255), max_size=6).map(
    bytes
)
JSON_OBJECTS = st.dictionaries(st.text(), JSON_VALUES, max_size=5)
TRAILING = st.lists(st.sampled_from([b"\0", b" ", b"\n", b"\r", b"\t"])).map(b"".join)
MESSAGE_PACK_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(),
    lambda values: st.lists(values) | st.dictionaries(st.binary(), values),
    max_leaves=15,
)


class TestMsgspec:
    """msgspec only makes decoding faster. Without msgspec, these tests compare a function with itself."""

    @pytest.mark.parametrize("payload", [*MALFORMED.values(), *ODD.values()], ids=[*MALFORMED, *ODD])
    def test_decodes_the_corpus_as_the_standard_library_does(self, payload: Any) -> None:
        check_is_decoded_alike(payload)

    @given(st.data())
    def test_decodes_a_damaged_event_as_the_standard_library_does(self, data: st.DataObject) -> None:
        start = data.draw(st.integers(0, len(SAMPLE_EVENT)))
        end = start + data.draw(st.integers(0, 8))
        check_is_decoded_alike(SAMPLE_EVENT[:start] + data.draw(JSON_BYTES) + SAMPLE_EVENT[end:])


class TestAny:
    @given(JSON_OBJECTS, st.booleans(), st.sampled_from([b"", b"\xef\xbb\xbf"]), TRAILING)
    def test_json_object_is_decoded_to_what_was_encoded(
        self, document: dict[str, Any], ensure_ascii: bool, byte_order_mark: bytes, trailing: bytes
    ) -> None:
        encoded = byte_order_mark + json.dumps(document, ensure_ascii=ensure_ascii).encode() + trailing
        assert decode_threat_event(encoded) == document
        check_is_decoded_alike(encoded)

    @given(JSON_VALUES.filter(lambda value: not isinstance(value, dict)))
    def test_other_json_value_is_an_error(self, value: Any) -> None:
        with pytest.raises(ThreatEventDecodeError, match="not a JSON object"):
            decode_threat_event(json.dumps(value).encode())

    @given(JSON_OBJECTS.map(json.dumps), st.floats(0, 1, exclude_max=True))
    def test_object_that_is_cut_off_is_an_error(self, document: str, part: float) -> None:
        with pytest.raises(ThreatEventDecodeError):
            decode_threat_event(document[: int(len(document) * part)].encode())

    @given(MESSAGE_PACK_VALUES | st.text().map(str.encode))
    @example(MALFORMED["arrays in arrays"])
    @example(MALFORMED["a mebibyte of digits"])
    def test_payload_is_handed_over_once_and_nothing_raised(self, payload: Any) -> None:
        receiver, original_event = Receiver(), event(payload)
        receiver.on_event(original_event)
        assert len(receiver.handled) + len(receiver.errors) == 1
        for threat_event, _ in receiver.handled:
            assert type(threat_event) is dict
        for error, _ in receiver.errors:
            assert isinstance(error, ThreatEventDecodeError)
            assert error.payload is payload
