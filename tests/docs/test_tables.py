"""The tables in the docs say what the code does."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers.pages import DOCS, blocks, table

from dxlthreateventclient import constants
from dxlthreateventclient.formats import to_cef, to_ecs
from dxlthreateventclient.testing import sample_threat_event

PROPS = [props for name, props in vars(constants).items() if name.endswith("Props")]


@pytest.mark.parametrize("props", PROPS)
def test_the_page_explains_each_key_and_its_constant(props: type) -> None:
    rows = table("threatevent.rst", props.__name__)
    assert {constant: key for key, constant, _ in rows} == {
        name: key for name, key in vars(props).items() if name.isupper()
    }
    assert all(meaning for *_, meaning in rows)


COMPLETE = sample_threat_event(
    _receivedUTC="2026-03-02T09:41:07.332Z",
    analyzer={"detectedUTC": "2026-03-02T09:40:51.000Z", "ipv6": "2001:db8::1"},
    entity={"ruleName": "Rule"},
    category="Malware detected",
    files=[
        {"name": "other.dll"},
        {"name": "tool.exe", "hash": {"MD5": "a" * 32, "SHA-1": "b" * 40, "SHA-256": "c" * 64}},
    ],
    source={
        "hostName": "SOURCE",
        "ipv4": "10.0.0.2",
        "ipv6": "2001:db8::2",
        "mac": "001122334466",
        "port": 50814,
        "processName": "C:\\source.exe",
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
OVER_HTTP = copy.deepcopy(COMPLETE)
OVER_HTTP["event"]["target"]["protocol"] = "HTTP"


def ecs_fields(threat_event: dict[str, Any]) -> dict[str, Any]:
    def fields(document: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in document.items():
            if isinstance(value, dict):
                yield from fields(value, f"{prefix}{key}.")
            else:
                yield prefix + key, value

    document = to_ecs(threat_event)
    document.pop("epo", None)
    return dict(fields(document, ""))


def cef_fields(threat_event: dict[str, Any]) -> dict[str, Any]:
    extension = to_cef(threat_event).split("|", 7)[7]
    return dict(re.findall(r"(\w+)=(.*?)(?= \w+=|$)", extension))


def without(threat_event: dict[str, Any], path: str) -> dict[str, Any]:
    changed = copy.deepcopy(threat_event)
    *parents, key = path.split(".")
    node = changed
    for parent in parents:
        node = node[parent]
    del node[key]
    return changed


@pytest.mark.parametrize(("name", "convert"), [("ecs", ecs_fields), ("cef", cef_fields)])
def test_each_field_in_the_table_of_a_format_comes_from_where_the_table_says(
    name: str, convert: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    for path, fields, _ in table("formats.rst", name):
        for field in fields.split():
            complete = COMPLETE if field in convert(COMPLETE) else OVER_HTTP
            before, after = convert(complete), convert(without(complete, path))
            assert before[field] != after.get(field), (path, field)


def test_every_field_of_an_ecs_document_is_in_a_table() -> None:
    named = {field for _, fields, _ in table("formats.rst", "ecs") for field in fields.split()}
    constant = {row[0]: row[1] for row in table("formats.rst", "ecs-constant")}
    produced = ecs_fields(COMPLETE) | ecs_fields(OVER_HTTP)
    assert named | set(constant) == set(produced)
    assert constant == {field: produced[field] for field in constant}


def test_every_key_of_a_cef_extension_is_in_the_table() -> None:
    named = {key for _, keys, _ in table("formats.rst", "cef") for key in keys.split()}
    assert named == set(cef_fields(COMPLETE)) | set(cef_fields(OVER_HTTP))
    labels = {
        label for *_, remark in table("formats.rst", "cef") for label in re.findall(r"label \*(.+)\*", remark)
    }
    assert labels == {value for key, value in cef_fields(COMPLETE).items() if key.endswith("Label")}


def test_the_header_of_a_cef_line_comes_from_where_the_table_says() -> None:
    for number, (_, path, _) in enumerate(table("formats.rst", "cef-header"), start=1):
        before = to_cef(COMPLETE).split("|")
        after = to_cef(without(COMPLETE, path)).split("|") if path else before
        assert (before[number] != after[number]) == bool(path)


def test_the_severities_are_scaled_as_the_table_says() -> None:
    rows = table("formats.rst", "cef-severity")
    assert [int(epo) for epo, *_ in rows] == [1, 2, 3, 4, 5, 6, 7]
    for epo, cef, _ in rows:
        assert to_cef({"event": {"threatSeverity": int(epo)}}).split("|")[6] == cef


def test_the_event_on_the_basic_page_is_the_sample_event() -> None:
    [example] = blocks(DOCS / "basicthreateventcallbackexample.rst", "json")
    shown, sample = json.loads(example.content), sample_threat_event()
    for threat_event in (shown, sample):
        threat_event["event"]["_receivedUTC"] = threat_event["event"]["analyzer"]["detectedUTC"] = "now"
    assert shown == sample
