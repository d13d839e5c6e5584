"""Whatever a threat event holds: both formats take it, and what comes out is what their readers accept."""

import copy
import csv
import ipaddress
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dxlthreateventclient.formats import to_cef, to_ecs
from dxlthreateventclient.other_data import convert_aggregate_fields
from dxlthreateventclient.payload import decode_threat_event

# A loaded machine is no reason to fail.
patient = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# The fields of ECS that can come out, a subset of its schema: generated/csv/fields.csv of 9.5.0-dev.
with (Path(__file__).parent / "ecs_fields.csv").open(encoding="utf-8", newline="") as table:
    ECS_FIELDS = {
        row["field"]: row for row in csv.DictReader(line for line in table if not line.startswith("#"))
    }

DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
TYPES: dict[str, Callable[[Any], Any]] = {
    "date": lambda value: isinstance(value, str) and DATE.fullmatch(value),
    "ip": lambda value: isinstance(value, str) and ipaddress.ip_address(value),
    "keyword": lambda value: isinstance(value, str) and value,
    "long": lambda value: type(value) is int and -(2**63) <= value < 2**63,
    "match_only_text": lambda value: isinstance(value, str) and value,
    "wildcard": lambda value: isinstance(value, str) and value,
}

PLAUSIBLE = st.sampled_from(
    [
        "",
        " ",
        "{category}",
        "blocked",
        "user",
        "Malware detected",
        "CORP\\alice",
        "C:\\a\\b.c",
        "/a/b.c",
        "10.0.0.1",
        "::ffff:10.0.0.1",
        "fe80::1%1",
        "001122334455",
        "0",
        "1",
        "80",
        "TCP",
        "Windows 10",
        "2016-12-13T22:18:34.000Z",
        "http://a.example:1/b.c?d#e",
        "http://[::1",
        "a" * 32,
        "b" * 40,
        "c" * 64,
        *(0, 1, 2, 2.0, 80, 65536, 10**400, True, None),
    ]
)
TEXT = st.text(
    st.one_of(st.characters(), st.sampled_from("|=\\\n\r\t\0\x1b\x85\u2028\u202e\ud800 {}😀")), max_size=9
)
SCALARS = st.one_of(
    PLAUSIBLE, TEXT, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.none(), st.booleans()
)
ANYTHING = st.recursive(
    SCALARS,
    lambda children: st.one_of(
        st.lists(children, max_size=3),
        st.dictionaries(TEXT, children, max_size=3),
        st.dictionaries(st.integers(), children, max_size=3),
        st.sets(TEXT, max_size=3),
    ),
    max_leaves=8,
)


COMPLETE: dict[str, Any] = {
    "_receivedUTC": "2016-12-13T22:18:35.000Z",
    "event": {
        "analyzer": {
            "detectedUTC": "2016-12-13T22:18:34.000Z",
            "detectionMethod": "Exploit Prevention",
            "hostName": "WS",
            "ipv4": "10.0.0.10",
            "ipv6": "2001:db8::10",
            "mac": "001122334455",
            "name": "Endpoint Security",
            "version": "10.5.0",
        },
        "category": "Host intrusion buffer overflow",
        "entity": {
            "id": "1",
            "osPlatform": "Workstation",
            "osType": "Windows 7",
            "ruleName": "Rule",
            "type": "device",
        },
        "eventDesc": "Description",
        "files": [
            {"name": "a.exe", "hash": {"MD5": "a" * 32, "SHA-1": "b" * 40, "SHA-256": "c" * 64}},
        ],
        "id": 18052,
        "otherData": {"count": "1", "sc_evtFileMd5": "{sc_evtFileMd5}"},
        "source": {
            "hostName": "A",
            "ipv4": "10.0.0.11",
            "ipv6": "",
            "mac": "001122334456",
            "port": 1,
            "processName": "C:\\b.exe",
            "url": "http://a.example:1/b.c?d#e",
            "userName": "CORP\\alice",
        },
        "target": {
            "fileName": "C:\\a.exe",
            "hostName": "B",
            "ipv4": "10.0.0.12",
            "ipv6": "::ffff:10.0.0.12",
            "mac": "001122334457",
            "port": 2,
            "processName": "a.exe",
            "protocol": "TCP",
            "userName": "CORP\\bob",
        },
        "threatActionTaken": "blocked",
        "threatHandled": 1,
        "threatName": "ExP:Heap",
        "threatSeverity": 2,
        "threatType": "Exploit Prevention",
        "uri": None,
    },
}


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths_of(item, (*path, key))


def with_changes(changes: list[tuple[tuple[Any, ...], Any]]) -> dict[str, Any]:
    """Return the complete event with other values at some of its paths."""
    threat_event = copy.deepcopy(COMPLETE)
    for (*parents, key), value in changes:
        node = threat_event
        for name in parents:
            node = node[name] if isinstance(node, dict) and name in node else {}
        if isinstance(node, dict):
            node[key] = value
    return threat_event


CHANGES = st.tuples(st.sampled_from(list(paths_of(COMPLETE))), st.one_of(PLAUSIBLE, ANYTHING))
EVENTS = st.lists(CHANGES, max_size=12).map(with_changes)
ANY_EVENT = st.one_of(EVENTS, EVENTS, st.dictionaries(TEXT, ANYTHING, max_size=4))


def fields_of(document: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from fields_of(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def check_against_the_schema(document: dict[str, Any]) -> None:
    for field, value in fields_of({key: value for key, value in document.items() if key != "epo"}):
        row = ECS_FIELDS[field]
        assert isinstance(value, list) == (row["normalization"] == "array"), field
        values = value if isinstance(value, list) else [value]
        assert values, field
        assert all(map(TYPES[row["type"]], values)), (field, value)


def texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_of(item)
    elif isinstance(value, str):
        yield value


def is_harmless(text: str) -> bool:
    return not (
        any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)
        or re.search("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)
    )


@patient
@given(ANY_EVENT)
def test_a_document_is_json_in_utf_8_of_fields_that_ecs_defines(threat_event: Any) -> None:
    original = copy.deepcopy(threat_event)
    document = to_ecs(threat_event)
    assert threat_event == original
    assert json.loads(json.dumps(document, ensure_ascii=False, allow_nan=False).encode()) == document
    assert all(is_harmless(text.replace("\n", "").replace("\t", "")) for text in texts_of(document))
    assert document["event"]["kind"] == "alert"
    check_against_the_schema(document)


@patient
@given(ANY_EVENT)
def test_a_cef_event_is_one_line_of_utf_8_with_a_severity_from_0_to_10(threat_event: Any) -> None:
    original = copy.deepcopy(threat_event)
    line = to_cef(threat_event)
    assert threat_event == original
    assert line.encode().decode() == line
    assert is_harmless(line)
    assert re.fullmatch(r"CEF:0(?:\|(?:[^|\\]|\\[|\\])*){5}\|(?:10|[0-9])\|.*", line)


SAYING = st.recursive(
    st.one_of(st.text("abc.é😀", min_size=1), st.integers(-(2**63), 2**63 - 1), st.booleans()),
    lambda children: st.one_of(
        st.lists(children, min_size=1, max_size=3),
        st.dictionaries(st.text("abc.é😀", min_size=1), children, min_size=1, max_size=3),
    ),
    max_leaves=10,
)


@patient
@given(st.dictionaries(st.text("abc.é😀", min_size=1), SAYING, min_size=1, max_size=4))
def test_what_says_something_is_kept_as_it_is(other: Any) -> None:
    assert to_ecs({"event": {"otherData": other}, "other": other})["epo"] == {
        "event": {"otherData": other},
        "other": other,
    }


@patient
@given(st.dictionaries(st.sampled_from(["listOfHosts", "setOfHosts", "count"]), TEXT))
def test_converted_aggregates_are_taken_too(other_data: Any) -> None:
    threat_event = {"event": {"otherData": convert_aggregate_fields(other_data)}}
    assert json.loads(json.dumps(to_ecs(threat_event)))
    assert to_cef(threat_event)


@pytest.mark.parametrize("opening", ['{"a":', "["])
def test_what_is_nested_as_deeply_as_json_can_be_is_cut(opening: Any) -> None:
    depth = 800
    closing = "}" if opening[0] == "{" else "]"
    payload = f'{{"event": {{"target": {opening * depth}1{closing * depth}}}}}'.encode()
    threat_event = decode_threat_event(payload)
    assert to_cef(threat_event).startswith("CEF:0|")
    assert json.dumps(to_ecs(threat_event)["epo"], ensure_ascii=False).count("…") == 1


def test_every_field_of_the_table_comes_out_of_a_complete_event() -> None:
    document = to_ecs(COMPLETE)
    check_against_the_schema(document)
    # A protocol is one of the transport or another one.
    document["network"] |= to_ecs({"event": {"target": {"protocol": "HTTP"}}})["network"]
    del document["epo"]
    assert dict(fields_of(document)).keys() == ECS_FIELDS.keys()
