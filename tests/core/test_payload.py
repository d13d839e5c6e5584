import json
import pickle
from typing import Any

import pytest
from dxlclient.message import Event
from helpers.corpus import MALFORMED
from helpers.receiving import Receiver
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dxlthreateventclient.payload import ThreatEventDecodeError, decode_threat_event
from dxlthreateventclient.testing import sample_threat_event


def test_a_threat_event_decodes_to_what_was_encoded() -> None:
    threat_event = sample_threat_event()
    assert decode_threat_event(json.dumps(threat_event).encode()) == threat_event


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b'{"event": "\xc3\xa9"}', id="utf-8"),
        pytest.param(b'\xef\xbb\xbf{"event": "\xc3\xa9"}', id="byte order mark"),
        pytest.param(b'{"event": "\xc3\xa9"}\0', id="a trailing NUL"),
        pytest.param(b'{"event": "\xc3\xa9"}\0\0\0', id="trailing NULs"),
        pytest.param(b'{"event": "\xc3\xa9"}\n', id="a trailing new line"),
        pytest.param(b' \r\n\t{"event": "\xc3\xa9"} \0\n\0 \v\f', id="white space and NULs, mixed"),
        pytest.param(b'\xef\xbb\xbf {"event": "\xc3\xa9"}\0', id="all of it"),
    ],
)
def test_a_byte_order_mark_and_trailing_nuls_and_white_space_are_accepted(payload: bytes) -> None:
    assert decode_threat_event(payload) == {"event": "é"}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "payload is empty"),
        (b"\0\0", "payload is empty"),
        (b"\xef\xbb\xbf \n", "payload is empty"),
        (b"\xff\xfe", "payload is not UTF-8"),
        (b'{"event": "\xed\xa0\x80"}', "payload is not UTF-8"),
        ('{"event": 1}'.encode("utf-16"), "payload is not UTF-8"),
        (b"not JSON", "payload is not JSON"),
        (b'{"event": 1', "payload is not JSON"),
        (b'{"event": 1} {}', "payload is not JSON"),
        (b'{"event": "a\0b"}', "payload is not JSON"),
        (b"\0{}", "payload is not JSON"),
        (b'{"event": NaN}', "payload is not JSON: NaN is not a JSON number"),
        (b'{"event": Infinity}', "payload is not JSON: Infinity"),
        (b'{"event": -Infinity}', "payload is not JSON: -Infinity"),
        (b'{"event": 1e999}', "payload is not JSON: the number '1e999' is too large"),
        (b'{"event": ' + b"1" * 5000 + b"}", "payload is not JSON: Exceeds the limit"),
        (b'{"event":' + b"[" * 200_000, "payload is nested too deeply"),
        (b'{"a":' * 200_000, "payload is nested too deeply"),
        (b"[]", "payload is a JSON array, not a JSON object"),
        (b"1", "payload is a JSON number, not a JSON object"),
        (b"1.5", "payload is a JSON number, not a JSON object"),
        (b'"event"', "payload is a JSON string, not a JSON object"),
        (b"true", "payload is a JSON boolean, not a JSON object"),
        (b"null", "payload is a JSON null, not a JSON object"),
        (None, "payload is of type NoneType, not bytes"),
        (5, "payload is of type int, not bytes"),
        ("{}", "payload is of type str, not bytes"),
        ({"event": 1}, "payload is of type dict, not bytes"),
        ([b"{}"], "payload is of type list, not bytes"),
    ],
)
def test_anything_else_raises_an_error_that_carries_the_reason_and_the_payload(
    payload: bytes, reason: str
) -> None:
    with pytest.raises(ThreatEventDecodeError) as raised:
        decode_threat_event(payload)
    assert raised.value.reason.startswith(reason)
    assert raised.value.payload is payload
    assert str(raised.value).startswith(raised.value.reason)


def test_the_message_names_the_reason_the_size_and_the_first_bytes() -> None:
    with pytest.raises(ValueError, match="is not JSON") as raised:
        decode_threat_event(b"<xml>" + b"x" * 100)
    assert "payload of 105 bytes: b'<xml>xxx" in str(raised.value)
    assert str(raised.value).endswith("x'...)")
    assert len(str(raised.value)) < 200


def test_the_message_of_a_huge_payload_that_is_no_bytes_stays_short() -> None:
    with pytest.raises(ThreatEventDecodeError) as raised:
        decode_threat_event(["x" * 100_000] * 1000)  # type: ignore[arg-type]
    assert len(str(raised.value)) < 300


def test_the_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(ThreatEventDecodeError("payload is empty", b"\0")))
    assert (error.reason, error.payload, str(error)) == (
        "payload is empty",
        b"\0",
        r"payload is empty (payload of 1 bytes: b'\x00')",
    )


def test_what_json_can_say_is_kept_as_it_is() -> None:
    document = b'{"big": 123456789012345678901234567890, "float": 1.5e3, "lone": "\\ud800", "": null}'
    assert decode_threat_event(document) == {
        "big": 123456789012345678901234567890,
        "float": 1500.0,
        "lone": "\ud800",
        "": None,
    }


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=15,
)
JSON_OBJECTS = st.dictionaries(st.text(), JSON_VALUES, max_size=5)
TRAILING = st.lists(st.sampled_from([b"\0", b" ", b"\n", b"\r", b"\t"])).map(b"".join)
MESSAGE_PACK_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(),
    lambda values: st.lists(values) | st.dictionaries(st.binary(), values),
    max_leaves=15,
)


class TestProperties:
    @given(st.binary() | st.text().map(str.encode))
    @settings(deadline=None)
    def test_any_bytes_are_a_dictionary_or_an_error_that_carries_them(self, payload: bytes) -> None:
        try:
            threat_event = decode_threat_event(payload)
        except ThreatEventDecodeError as error:
            assert error.payload is payload  # noqa: PT017 - both outcomes are right
            assert f"payload of {len(payload)} bytes" in str(error)  # noqa: PT017
        else:
            assert type(threat_event) is dict

    @given(JSON_OBJECTS, st.booleans(), st.sampled_from([b"", b"\xef\xbb\xbf"]), TRAILING)
    @settings(deadline=None)
    def test_any_json_object_is_decoded_to_what_was_encoded(
        self, document: dict[str, Any], ensure_ascii: bool, byte_order_mark: bytes, trailing: bytes
    ) -> None:
        encoded = json.dumps(document, ensure_ascii=ensure_ascii).encode()
        assert decode_threat_event(byte_order_mark + encoded + trailing) == document

    @given(JSON_VALUES.filter(lambda value: not isinstance(value, dict)))
    @settings(deadline=None)
    def test_any_other_json_value_is_an_error(self, value: Any) -> None:
        with pytest.raises(ThreatEventDecodeError, match="not a JSON object"):
            decode_threat_event(json.dumps(value).encode())

    @given(JSON_OBJECTS.map(json.dumps), st.floats(0, 1, exclude_max=True))
    @settings(deadline=None)
    def test_an_event_that_is_cut_off_anywhere_is_an_error(self, document: str, part: float) -> None:
        with pytest.raises(ThreatEventDecodeError):
            decode_threat_event(document[: int(len(document) * part)].encode())

    @given(MESSAGE_PACK_VALUES)
    @settings(deadline=None)
    @example(MALFORMED["arrays in arrays"])
    @example(MALFORMED["a mebibyte of digits"])
    def test_whatever_arrives_is_handed_over_once_and_nothing_is_raised(self, payload: Any) -> None:
        receiver, event = Receiver(), Event("/topic")
        event.payload = payload
        receiver.on_event(event)
        assert len(receiver.handled) + len(receiver.errors) == 1
        for error, original_event in receiver.errors:
            assert isinstance(error, ThreatEventDecodeError)
            assert original_event is event
