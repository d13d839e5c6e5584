"""Validates SIEM documents against the ECS and OCSF schemas and additional rules."""

import csv
import functools
import ipaddress
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from dxlthreateventclient.formats import explain, to_cef, to_ecs, to_ocsf

FORMATS = Path(__file__).parents[1] / "formats"

_Allowed: TypeAlias = dict[str, dict[str, list[str] | None]]
_TEXT = {"type": "string", "minLength": 1}
_OBJECT = {"type": "object", "minProperties": 1}
_ECS_TYPES: dict[str, dict[str, Any]] = {
    "boolean": {"type": "boolean"},
    "date": {
        "type": "string",
        "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
    },
    "ip": {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
    "integer": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "long": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    **dict.fromkeys(("constant_keyword", "keyword", "match_only_text", "wildcard"), _TEXT),
    **{name: {"type": "number"} for name in ("double", "float", "scaled_float")},
    **dict.fromkeys(("flattened", "geo_point", "nested", "object"), _OBJECT),
}


def _ecs_schema() -> dict[str, Any]:
    """Return a JSON schema with the types and allowed values of all fields in ECS and in our namespace.

    The fields (generated/csv/fields.csv) and their allowed values come from the ECS repository (9.5.0-dev,
    May 2026).
    """
    with (FORMATS / "ecs_fields.csv").open(encoding="utf-8", newline="") as table:
        fields = {row["field"]: row for row in csv.DictReader(table)}
    allowed: _Allowed = json.loads((FORMATS / "ecs_allowed_values.json").read_text(encoding="utf-8"))
    root: dict[str, Any] = {"properties": {"epo": _OBJECT}, "required": ["ecs"]} | _OBJECT
    for field, row in fields.items():
        if field.endswith(".text"):  # added by Elasticsearch
            continue
        *parents, name = field.split(".")
        node = root
        for parent in parents:
            node = node.setdefault("properties", {}).setdefault(parent, dict(_OBJECT))
        schema = dict(_ECS_TYPES[row["type"]])
        if field in allowed:
            schema["enum"] = list(allowed[field])
        if row["normalization"] == "array":
            schema = {"type": "array", "items": schema, "minItems": 1, "uniqueItems": True}
        node.setdefault("properties", {}).setdefault(name, {}).update(schema)
    for node in _nodes(root):
        node["additionalProperties"] = False
    root["properties"]["event"]["allOf"] = list(_expected_types(allowed))
    return root


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "properties" in node:
        yield node
        for child in node["properties"].values():
            yield from _nodes(child)


def _expected_types(allowed: _Allowed) -> Iterator[dict[str, Any]]:
    """Yield schema rules that allow a category only with one of its types, and a type only with one of its
    categories."""
    categories = allowed["event.category"]
    for category, types in categories.items():
        yield _implies("category", [category], "type", types or [])
    for name in allowed["event.type"]:
        yield _implies(
            "type", [name], "category", [key for key, types in categories.items() if name in (types or ())]
        )


def _implies(field: str, values: list[str], other: str, others: list[str]) -> dict[str, Any]:
    has, also = (
        {"properties": {name: {"contains": {"enum": found}}}, "required": [name]}
        for name, found in ((field, values), (other, others))
    )
    return {"if": has, "then": also}


@functools.cache
def _ocsf() -> dict[str, Any]:
    schema: dict[str, Any] = get_ocsf_schema(version="1.5.0")
    return schema


@functools.cache
def _validators() -> dict[str, jsonschema.Draft202012Validator]:
    finding = OcsfJsonSchemaEmbedded(_ocsf()).get_class_schema(
        "detection_finding", profiles=["security_control"]
    )
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return {
        "ecs": jsonschema.Draft202012Validator(_ecs_schema(), format_checker=checker),
        "ocsf": jsonschema.Draft202012Validator(finding),
    }


def check_ecs(document: dict[str, Any]) -> None:
    """Raise jsonschema.ValidationError unless ``document`` is valid ECS."""
    _validators()["ecs"].validate(document)


def check_ocsf(finding: dict[str, Any]) -> None:
    """Raise jsonschema.ValidationError or AssertionError for an invalid OCSF 1.5.0 Detection Finding."""
    _validators()["ocsf"].validate(finding)
    assert finding["type_uid"] == finding["class_uid"] * 100 + finding["activity_id"]
    _check_attributes(finding, _ocsf()["classes"]["detection_finding"]["attributes"])
    for observable in finding.get("observables", ()):
        texts = _texts_of(value_at(finding, observable["name"]))
        assert any(_is_same(observable["value"], text) for text in texts), observable


def _check_attributes(value: dict[str, Any], attributes: dict[str, Any]) -> None:
    """Check for deprecated attributes and mismatched captions, which the JSON schema ignores."""
    for key, item in value.items():
        attribute = attributes[key]
        assert "@deprecated" not in attribute, key
        captions, caption = attribute.get("enum", {}), value.get(attribute.get("sibling"))
        if captions and caption and item != 99:
            assert captions[str(item)]["caption"] == caption, key
        if attribute["type"] == "object_t" and key != "unmapped":
            children = _ocsf()["objects"][attribute["object_type"]]["attributes"]
            for child in item if isinstance(item, list) else [item]:
                _check_attributes(child, children)


def _texts_of(value: Any) -> list[str]:
    if isinstance(value, (dict, list)):
        return [
            text
            for item in (value.values() if isinstance(value, dict) else value)
            for text in _texts_of(item)
        ]
    whole = [str(int(value))] if isinstance(value, float) and value.is_integer() else []
    return [*whole, str(value), *str(value).split(",")]


def _is_same(value: str, written: str) -> bool:
    """Return True if ``written`` contains the observable's ``value`` or represents the same IP address."""
    if value.lower() in written.lower():
        return True
    try:
        address = ipaddress.ip_address(written.strip().removeprefix("/").partition("%")[0])
        return ipaddress.ip_address(value) in (address, getattr(address, "ipv4_mapped", None))
    except ValueError:
        return False


def value_at(document: Any, path: str) -> Any:
    """Return the value at a path such as ``evidences[0].file.name``."""
    for part in path.replace("[", ".[").split("."):
        document = document[int(part[1:-1])] if part.startswith("[") else document[part]
    return document


_HARMFUL = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def is_harmless(text: str) -> bool:
    """Return True if no character ends a line, controls a terminal or changes the text direction."""
    if text.isprintable():
        return True
    categories = {unicodedata.category(character) for character in text}
    return not categories & {"Cc", "Cs", "Zl", "Zp"} and not _HARMFUL.search(text)


def check_formats(threat_event: dict[str, Any]) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Check a threat event's conversion into each of the three formats.

    :return: the event in ECS, CEF and OCSF
    """
    original = repr(threat_event)
    ecs, cef, ocsf = to_ecs(threat_event), to_cef(threat_event), to_ocsf(threat_event)
    assert repr(threat_event) == original, "it stays as it is"
    for document in ecs, ocsf:
        encoded = json.dumps(document, ensure_ascii=False, allow_nan=False)
        assert json.loads(encoded.encode()) == document, "it is JSON in UTF-8"
        assert is_harmless(encoded), "nothing in it does harm"
    check_ecs(ecs)
    check_ocsf(ocsf)
    assert (explain(threat_event).stopped is True) == (ocsf.get("disposition_id") in (2, 3, 4, 5, 11))
    assert cef.encode().decode() == cef, "it is UTF-8"
    assert len(cef.encode()) <= 7800, "it is short enough for syslog"
    assert is_harmless(cef), "it is one line, and nothing in it does harm"
    assert re.fullmatch(r"CEF:0(?:\|(?:[^|\\]|\\[|\\])+){5}\|(?:10|[0-9])\|.*", cef), "its header is complete"
    return ecs, cef, ocsf
