import json
import pickle

import pytest

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
