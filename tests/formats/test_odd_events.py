"""Each format accepts any threat event, and its readers accept the result."""

import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.corpus import COMPLETE, with_value
from helpers.schemas import check_formats, check_ocsf
from hypothesis import example, given
from hypothesis import strategies as st

from dxlthreateventclient.formats import explain, severity_of, text_columns, to_cef, to_ecs, to_ocsf
from dxlthreateventclient.other_data import convert_aggregate_fields
from dxlthreateventclient.payload import decode_threat_event

PLAUSIBLE = st.sampled_from(
    [
        *("", " ", "{category}", "none", "(none)", "NULL", "_", "-", "N/A", "user", "TCP", "HTTP", "Linux"),
        *("blocked", "IDS_ALERT_ACT_TAK_DEL", "IDS_ACTION_WOULD_BLOCK", "quarantined", "no such action"),
        *("1026", "35102", "35002", 1027, "Unknown filename", "WS|unknown process"),
        *("Malware detected", "hip.registry", "hip.file", "ops.fw.traffic", "fw.intrusion", "av.detect"),
        *("CORP\\alice", "CORP\\\\bob", "\\", "C:\\a\\b.c", "/a/b.c", "C:\\a b\\c.exe -x /y", "C:\\dir\\"),
        *("HKLM\\a\\b", "HKEY_USERS", "\\REGISTRY\\MACHINE\\x", "\\Device\\HarddiskVolume2\\x.exe", '"a" b'),
        *("10.0.0.1", "::ffff:10.0.0.1", "fe80::1%1", "/2001:db8::1", "0.0.0.0", "::", "::1.2.3.4"),
        *("10.0.0.1, 10.0.0.2", "a, b,, c", "001122334455", "000000000000"),
        *("0", "1", "80", "2016-12-13T22:18:34.000Z", "2021-05-03 06:26:21 UTC", "0001-01-01T00:00:00Z"),
        *("http://a.example:1/b.c?d#e", "http://[::1", "a" * 32, "b" * 40, "c" * 64, "x|=\\" * 3000),
        *(0, 1, 2, 2.0, 80, 65536, 1481667514, 1481667514000, 10**400, -1, True, None),
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


def paths_of(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if path:
        yield path
    for key, item in value.items() if isinstance(value, dict) else ():
        yield from paths_of(item, (*path, key))


def with_changes(changes: list[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    """Return the complete event with changed values at some paths."""
    return functools.reduce(lambda threat_event, change: with_value(threat_event, *change), changes, COMPLETE)


PATHS = st.sampled_from(list(paths_of(COMPLETE)))
EVENTS = st.lists(st.tuples(PATHS, st.one_of(PLAUSIBLE, ANYTHING)), max_size=12).map(with_changes)
ANY_EVENT = st.one_of(EVENTS, EVENTS, st.dictionaries(TEXT, ANYTHING, max_size=4))

# Each # is replaced with unique text that the result must contain.
SAYING = st.sampled_from(
    [
        *("#", "CORP\\#", "#\\bob", "C:\\#\\#.exe -#", "HKLM\\#\\#", "hip.registry #", "http://#/#?#"),
        *("TCP#", "10.0.0.1#", "#, #", "/#", "would block #", "2016-12-13T22:18:34Z#"),
        *({"#": "#"}, ["#", {"a": "#"}]),
    ]
)


def numbered(value: Any, markers: list[str]) -> Any:
    if isinstance(value, dict):
        return {numbered(key, markers): numbered(item, markers) for key, item in value.items()}
    if isinstance(value, list):
        return [numbered(item, markers) for item in value]
    while isinstance(value, str) and "#" in value:
        markers.append(f"m{len(markers)}x")
        value = value.replace("#", markers[-1], 1)
    return value


class TestAnyEvent:
    @given(ANY_EVENT)
    def test_is_accepted_by_the_schemas(self, threat_event: Any) -> None:
        check_formats(threat_event)

    @given(st.lists(st.tuples(PATHS, SAYING), min_size=1, max_size=20).map(with_changes))
    @example(with_changes([(("event", "target", "fileName"), "#|Unknown filename")]))
    @example(with_changes([(("event", "source", "ipv4"), "10.0.0.1%#")]))
    def test_keeps_every_value_in_ecs_and_ocsf(self, threat_event: Any) -> None:
        markers: list[str] = []
        threat_event = numbered(threat_event, markers)
        for document in to_ecs(threat_event), to_ocsf(threat_event):
            text = json.dumps(document)
            assert [marker for marker in markers if marker not in text] == []

    @given(st.dictionaries(st.sampled_from(["listOfHostName", "setOfUserName", "setOfIPV4"]), TEXT))
    def test_may_have_converted_aggregates(self, other_data: Any) -> None:
        check_formats({"event": {"otherData": convert_aggregate_fields(other_data)}})

    @pytest.mark.parametrize("opening", ['{"a":', "["])
    def test_is_cut_where_it_is_nested_deeply(self, opening: Any) -> None:
        depth, closing = 800, "}" if opening[0] == "{" else "]"
        payload = f'{{"event": {{"target": {opening * depth}1{closing * depth}}}}}'.encode()
        ecs, _, ocsf = check_formats(decode_threat_event(payload))
        for rest in ecs["epo"], ocsf["unmapped"]:
            assert json.dumps(rest, ensure_ascii=False).count("…") == 1

    def test_may_hold_what_json_cannot_express(self) -> None:
        class Unprintable:
            def __str__(self) -> str:
                raise RuntimeError

        odd = {"a": 10**5000, "b": Unprintable(), "c": (1, frozenset("x")), "d": b"e", "f": float("nan")}
        threat_event = {"event": dict.fromkeys(("id", "threatSeverity", "otherData", "target"), odd)}
        assert severity_of({"event": {"threatSeverity": 10**5000}}) is None
        rest = to_ecs(threat_event)["epo"]["event"]["otherData"]
        assert rest == {"a": hex(10**5000), "b": "<Unprintable>", "c": [1, ["x"]], "d": "b'e'"}
        assert to_cef(threat_event)
        check_ocsf(to_ocsf(threat_event))
        assert to_ecs({"event": odd | {"id": 10**5000, "eventDesc": Unprintable()}})

    @pytest.mark.parametrize("value", [None, "text", 5, ["event"], object()])
    @pytest.mark.parametrize("convert", [to_ecs, to_cef, to_ocsf, explain, text_columns])
    def test_is_a_mapping(self, convert: Any, value: Any) -> None:
        with pytest.raises(TypeError, match=rf"must be a mapping, got {type(value).__name__}"):
            convert(value)
