"""Payloads that a fabric may deliver: a complete threat event, odd payloads and invalid payloads."""

import copy
import gzip
import json
from collections.abc import Sequence
from typing import Any

from dxlthreateventclient.testing import sample_threat_event

_EVENT = json.dumps(sample_threat_event()).encode()
# A broker accepts messages of up to 1 MiB, including the DXL envelope.
_LARGE = 1024 * 1024 - 1024

# Invalid payloads and their names, grouped by the reason given in the error message.
_MALFORMED: dict[str, dict[str, Any]] = {
    "empty": {
        "empty": b"",
        "one NUL": b"\0",
        "many NULs": b"\0" * 5000,
        "white space": b" \r\n\t\v\f",
        "only a byte order mark": b"\xef\xbb\xbf",
        "a byte order mark and a NUL": b"\xef\xbb\xbf\0",
    },
    "not JSON": {
        "the first half of an event": _EVENT[: len(_EVENT) // 2],
        "all but the last byte": _EVENT[:-1],
        "an opening brace": b"{",
        "two events, a line each": _EVENT + b"\n" + _EVENT,
        "something behind the NUL": _EVENT + b"\0x",
        "a NUL before the event": b"\0" + _EVENT,
        "a NUL within a string": b'{"event": "a\0b"}',
        "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf{}",
        "a byte order mark at the end": b"{}\xef\xbb\xbf",
        "UTF-16 without a byte order mark": json.dumps({"event": {}}).encode("utf-16-le"),
        "XML": b'<?xml version="1.0"?><EPOEvent><MachineInfo/></EPOEvent>',
        "a Python dictionary": b"{'event': None}",
        "a line break in a string": b'{"event": "a\nb"}',
        "a tab in a string": b'{"event": "a\tb"}',
        "half an escape": b'{"event": "\\u12"}',
        "a leading zero": b'{"event": 01}',
        "Arabic digits": '{"event": ١٢}'.encode(),
        "NaN": b'{"event": NaN}',
        "Infinity": b'{"event": [1, {"a": Infinity}]}',
        "minus Infinity": b'{"event": -Infinity}',
        "a number beyond a float": b'{"event": 1e400}',
        "a long integer": b'{"event": ' + b"9" * 5000 + b"}",
        "a mebibyte of digits": b"9" * _LARGE,
    },
    "not UTF-8": {
        "UTF-16": json.dumps({"event": {}}).encode("utf-16"),
        "UTF-32": json.dumps({"event": {}}).encode("utf-32"),
        "Latin-1": '{"event": "é"}'.encode("latin-1"),
        "a surrogate in UTF-8": b'{"event": "\xed\xa0\x80"}',
        "an overlong NUL": b'{"event": "\xc0\x80"}',
        "a code point beyond Unicode": b'{"event": "\xf4\x90\x80\x80"}',
        "a character cut off": b'{"event": "\xe2\x82',
        "a pickle": b"\x80\x04}\x94.",
        "every byte there is": bytes(range(256)),
        "compressed": gzip.compress(_EVENT),
    },
    "nested too deeply": {
        "arrays in arrays": b'{"event": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "objects in objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "open arrays": b"[" * _LARGE,
    },
    "not a JSON object": {
        "an array": b"[]",
        "an event in an array": b"[" + _EVENT + b"]",
        "a string": b'"event"',
        "an event in a string": json.dumps(_EVENT.decode()).encode(),
        "a number": b"18052",
        "null": b"null",
    },
    # The DXL envelope may contain any MessagePack value.
    "not bytes": {
        "None": None,
        "an integer": 18052,
        "a float": 1.5,
        "True": True,
        "a dictionary": {b"event": {b"id": 1}},
        "a list": [_EVENT],
        "a nested list": [[[[[[[[[[]]]]]]]]]],
    },
}

MALFORMED: dict[str, Any] = {
    name: payload for payloads in _MALFORMED.values() for name, payload in payloads.items()
}
REASONS = {name: reason for reason, payloads in _MALFORMED.items() for name in payloads}

ODD: dict[str, bytes] = {
    "an empty object": b"{}",
    "no event inside": b'{"eventMessageType": "McAfee Common Event"}',
    "an event that is null": b'{"event": null}',
    "an event that is an array": b'{"event": [1, 2]}',
    "every part of the wrong type": json.dumps(
        {"event": dict.fromkeys(sample_threat_event()["event"], 5)}
    ).encode(),
    "every part null": json.dumps({"event": dict.fromkeys(sample_threat_event()["event"])}).encode(),
    "every part a list": json.dumps({"event": {key: [] for key in sample_threat_event()["event"]}}).encode(),
    "an event": _EVENT,
    "a byte order mark": b"\xef\xbb\xbf" + _EVENT,
    "a trailing NUL": _EVENT + b"\0",
    "NULs and white space behind": _EVENT + b" \r\n\0\n\0\0 \v\f",
    "white space before": b" \r\n\t" + _EVENT,
    "all of these": b"\xef\xbb\xbf \n" + _EVENT + b"\n\0",
    "the same key twice": b'{"event": 1, "event": {"threatName": "x"}}',
    "an empty key": b'{"": {"": ""}}',
    "a lone surrogate, escaped": b'{"event": {"threatName": "\\ud800"}}',
    "surrogates the wrong way around": b'{"event": {"threatName": "\\udc00\\ud800"}}',
    "an escaped NUL": b'{"event": {"threatName": "a\\u0000b"}}',
    "every control character": json.dumps({"event": {"threatName": "".join(map(chr, range(32)))}}).encode(),
    "characters beyond the basic plane": '{"event": {"threatName": "😀🦠"}}'.encode(),
    "text from right to left": '{"event": {"threatName": "\u202eexe.txt"}}'.encode(),
    "a large integer": b'{"event": {"id": 123456789012345678901234567890}}',
    "the longest integer": b'{"event": {"id": ' + b"9" * 4300 + b"}}",
    "a negative zero": b'{"event": {"id": -0.0}}',
    "a tiny number": b'{"event": {"id": 1e-400}}',
    "the largest float": b'{"event": {"id": 1.7976931348623157e308}}',
    "a number as a string": b'{"event": {"id": "18052"}}',
    "a thousand keys": json.dumps({"event": {"otherData": {f"key{n}": "" for n in range(1000)}}}).encode(),
    "nested, but not too deeply": b'{"event": ' + b"[" * 100 + b"]" * 100 + b"}",
    "almost a mebibyte": json.dumps({"event": {"threatName": "x" * (_LARGE - 100)}}).encode(),
    "pipes, equal signs and backslashes": b'{"event": {"threatName": "a|b=c\\\\d\\ne"}}',
}

COMPLETE: dict[str, Any] = sample_threat_event(
    _receivedUTC="2026-03-02T09:41:07.332Z",
    analyzer={"detectedUTC": "2026-03-02T09:40:51.000Z", "ipv6": "2001:db8::1"},
    category="Malware detected",
    entity={"ruleName": "Rule", "groupName": "Group"},
    files=[
        {"name": "other.dll"},
        {"name": "tool.exe", "hash": {"MD5": "a" * 32, "SHA-1": "b" * 40, "SHA-256": "c" * 64}},
    ],
    otherData={
        "sc_evtFileSha256": "d" * 64,
        "setOfSourceHostName": "A, B",
        "setOfSourceIPV4": "10.1.0.1, 10.1.0.2",
        "setOfTargetUserName": "eve, mallory",
    },
    source={
        "hostName": "SOURCE",
        "ipv4": "10.0.0.2",
        "ipv6": "2001:db8::2",
        "mac": "001122334466",
        "port": 50814,
        "processName": "C:\\source.exe -x",
        "url": "https://malware.example:8443/a/b.exe?c#d",
        "userName": "CORP\\bob",
    },
    target={
        "fileName": "C:\\tools\\tool.exe",
        "hostName": "TARGET",
        "ipv4": "10.0.0.3",
        "ipv6": "2001:db8::3",
        "mac": "001122334477",
        "port": 445,
        "protocol": "TCP",
    },
)


def with_value(threat_event: dict[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """Copy a threat event. If the parent of ``path`` is an object, set ``path`` to ``value`` in the copy."""
    threat_event = copy.deepcopy(threat_event)
    *parents, key = path
    node: Any = threat_event
    for parent in parents:
        node = node.get(parent) if isinstance(node, dict) else None
    if isinstance(node, dict):
        node[key] = copy.deepcopy(value)
    return threat_event
