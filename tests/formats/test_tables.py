"""The tables on the format pages match the code."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from helpers.corpus import COMPLETE, with_value
from helpers.pages import DOCS, table
from helpers.schemas import check_formats

from dxlthreateventclient.formats import severity_of, text_columns, to_cef, to_ecs, to_ocsf


def changed(path: str, value: Any, threat_event: dict[str, Any] = COMPLETE) -> dict[str, Any]:
    """Return a copy of an event with a different value at a path (None for no value)."""
    return with_value(threat_event, path.split("."), value)


# No event contains all fields: each has one protocol, one kind of rule, and either a file or a registry key.
EVENTS = [
    COMPLETE,
    changed("event.target.protocol", "HTTP"),
    changed("event.target.fileName", "HKLM\\SOFTWARE\\Run\\x"),
    changed("event.target.fileName", "HKLM\\SOFTWARE\\"),
    changed("event.category", "ops.fw.traffic"),
    changed("event.threatType", "IDS_FW_THREAT_TYPE_TRAFFIC"),
    changed("event.files", None),
    changed("event._receivedUTC", None),
    changed("event.entity", {}),
    changed("event.analyzer.detectedUTC", None, changed("event._receivedUTC", None)) | {"_receivedUTC": None},
]
KNOWN: dict[str, Any] = {"event_id": "{a}", "arrived": datetime(2026, 3, 2, 10, tzinfo=timezone.utc)}


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and value of each field in a document. In a path, ``[]`` marks a list of objects."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flat(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for item in value:
            yield from flat(item, f"{path}[]")
    else:
        yield path, value


def ecs(threat_event: Any, known: Any) -> dict[str, Any]:
    document = to_ecs(threat_event, **known)
    document.pop("epo", None)
    return dict(flat(document))


def cef(threat_event: Any, known: Any) -> dict[str, Any]:
    extension = to_cef(threat_event, **known).split("|", 7)[7]
    return dict(re.findall(r"(\w+)=(.*?)(?= \w+=|$)", extension))


def ocsf(threat_event: Any, known: Any) -> dict[str, Any]:
    finding = to_ocsf(threat_event, **known)
    finding.pop("unmapped", None)
    fields: dict[str, Any] = {}
    for path, value in flat(finding):
        fields.setdefault(path, []).append(value)
    return fields


def without(threat_event: dict[str, Any], path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the event and the message details without the item at a path."""
    if path in KNOWN:
        return threat_event, KNOWN | {path: None}
    return changed(path, None, threat_event), KNOWN


FORMATS = [("ecs", ecs), ("cef", cef), ("ocsf", ocsf)]


@pytest.mark.parametrize(("name", "fields_of"), FORMATS)
class TestTheTableOfAFormat:
    def test_says_where_each_field_comes_from(self, name: str, fields_of: Any) -> None:
        documents = [fields_of(event, KNOWN) for event in EVENTS]
        for path, fields, _ in table(f"formats{name}.rst", name):
            others = [fields_of(*without(event, path)) for event in EVENTS]
            for field in fields.split():
                depends = [
                    document[field] != other.get(field)
                    for document, other in zip(documents, others, strict=True)
                    if field in document
                ]
                assert any(depends), (path, field)

    def test_has_every_field(self, name: str, fields_of: Any) -> None:
        named = {field for _, fields, _ in table(f"formats{name}.rst", name) for field in fields.split()}
        constant = {}
        if name != "cef":
            constant = {row[0]: row[1] for row in table(f"formats{name}.rst", f"{name}-constant")}
        produced = {key: value for event in EVENTS for key, value in fields_of(event, KNOWN).items()}
        assert named | set(constant) == set(produced)
        shown = {field: produced[field] for field in constant}
        assert constant == {
            key: str(value[0] if isinstance(value, list) else value) for key, value in shown.items()
        }

    def test_is_shown_side_by_side(self, name: str, fields_of: Any) -> None:
        threat_event, documents = example()
        known = {"event_id": documents["ecs"]["event"]["id"]}
        convert = {"ecs": to_ecs, "cef": to_cef, "ocsf": to_ocsf}[name]
        assert convert(threat_event, **known) == documents[name]  # type: ignore[operator]
        fields = fields_of(threat_event, known) | {"unmapped.event.threatHandled": ["1"]}
        column = ["", *(name for name, _ in FORMATS)].index(name)
        for row in table("formats.rst", "side-by-side"):
            field, _, value = row[column].partition(" ")
            found = fields.get(field, "the header")
            while isinstance(found, list) and len(found) == 1:
                [found] = found
            shown = ", ".join(map(str, found)) if isinstance(found, list) else str(found)
            assert value == shown, row


def example() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the page's example event and its conversion into each format."""
    threat_event, ecs, ocsf = (
        json.loads((DOCS / "formats" / f"{name}.json").read_text()) for name in ("event", "ecs", "ocsf")
    )
    check_formats(threat_event)
    cef = (DOCS / "formats" / "cef.txt").read_text().rstrip("\n")
    return threat_event, {"ecs": ecs, "cef": cef, "ocsf": ocsf}


class TestThePages:
    def test_name_the_labels_of_cef(self) -> None:
        labels = {
            label
            for *_, remark in table("formatscef.rst", "cef")
            for label in re.findall(r"label \*(.+)\*", remark)
        }
        extensions = (cef(event, KNOWN) for event in EVENTS)
        assert labels == {
            value for fields in extensions for key, value in fields.items() if key.endswith("Label")
        }

    def test_say_where_the_header_of_cef_comes_from(self) -> None:
        for number, (_, path, _) in enumerate(table("formatscef.rst", "cef-header"), start=1):
            before = to_cef(COMPLETE).split("|")
            after = to_cef(without(COMPLETE, path)[0]).split("|") if path else before
            assert (before[number] != after[number]) == bool(path)

    def test_have_the_scales_of_the_severity(self) -> None:
        rows = table("formats.rst", "severity")
        assert [row[0] for row in rows] == ["1", "2", "3", "4", "5", "6", "7", "unknown"]
        words = [row[1] for row in table("whateposays.rst", "epo-severities")] + ["unknown"]
        for (epo, cef_severity, elastic, ocsf_severity), word in zip(rows, words, strict=True):
            threat_event = {"event": {"threatSeverity": epo}}
            assert str(severity_of(threat_event) or "unknown") == epo
            assert to_cef(threat_event).split("|")[6] == cef_severity
            assert str(to_ecs(threat_event, severity="elastic")["event"].get("severity", "")) == elastic
            assert text_columns(threat_event)[1].strip() == word
            finding = to_ocsf(threat_event)
            assert f"{finding['severity_id']} {finding['severity']}" == ocsf_severity

    def test_know_the_words_for_nothing(self) -> None:
        places = (("analyzer", "hostName"), ("target", "fileName"), ("analyzer", "ipv6"), ("analyzer", "mac"))
        for (role, key), (words, _) in zip(places, table("threatevent.rst", "epo-nothing"), strict=True):
            for word in words.split(", "):
                assert not {"host", "file"} & to_ecs({"event": {role: {key: word}}}).keys(), word
