"""Aggregates and placeholders in "otherData"."""

from typing import Any

import pytest

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.other_data import convert_aggregate_fields, resolved_fields

ADDRESSES = "10.0.0.1, 10.0.0.2,10.0.0.3 ,  10.0.0.3"
OTHERS = {"distinctCountOfSourceHostName": "3", "count": "4", "responseRuleName": "listOf, setOf"}


class TestConvertAggregateFields:
    def test_keeps_positions_in_a_list_and_distinct_values_in_a_set(self) -> None:
        """The dictionary is converted in place. The key order and all other values stay the same."""
        other_data: dict[str, Any] = {"listOfSourceIPV4": ADDRESSES, "setOfSourceIPV4": ADDRESSES, **OTHERS}
        assert convert_aggregate_fields(other_data) is other_data
        converted = {
            "listOfSourceIPV4": {0: "10.0.0.1", 1: "10.0.0.2", 2: "10.0.0.3", 3: "10.0.0.3"},
            "setOfSourceIPV4": {"10.0.0.1", "10.0.0.2", "10.0.0.3"},
            **OTHERS,
        }
        assert list(other_data.items()) == list(converted.items())
        assert convert_aggregate_fields(other_data) == converted, "once and for all"

    @pytest.mark.parametrize("empty", ["", "  "])
    def test_makes_nothing_of_an_empty_string(self, empty: str) -> None:
        assert convert_aggregate_fields({"listOfX": empty, "setOfX": empty}) == {
            "listOfX": {},
            "setOfX": set(),
        }

    @pytest.mark.parametrize("value", [None, 5, ["a, b"], {"a": "b, c"}])
    def test_leaves_what_is_not_a_string(self, value: Any) -> None:
        expected = {"listOfX": value, "setOfX": value}
        assert convert_aggregate_fields(dict(expected)) == expected

    def test_is_a_method_of_the_client_as_in_the_original(self) -> None:
        assert CommonThreatEventClient.convert_aggregate_fields({"setOfX": "a"}) == {"setOfX": {"a"}}
        assert CommonThreatEventClient.create_dict_from_aggregate_listOf("a, b") == {0: "a", 1: "b"}
        assert CommonThreatEventClient.create_set_from_aggregate_setOf("a, b, a") == {"a", "b"}


def test_resolved_fields_leaves_out_unresolved_placeholders() -> None:
    others = {"other": "{sc_evtFileMd5}", "braces": "{}", "empty": "", "none": None, "count": "1"}
    other_data = {"sc_evtFileMd5": "{sc_evtFileMd5}", **others}
    assert resolved_fields(other_data) == others
    assert "sc_evtFileMd5" in other_data, "it returns a new dictionary"
