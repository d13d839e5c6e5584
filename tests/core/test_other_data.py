from typing import Any

import pytest

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.other_data import convert_aggregate_fields, resolved_fields


def aggregated() -> dict[str, Any]:
    return {
        "listOfSourceIPV4": "10.0.0.1, 10.0.0.2,10.0.0.3 ,  10.0.0.3",
        "setOfSourceIPV4": "10.0.0.1, 10.0.0.2,10.0.0.3 ,  10.0.0.3",
        "distinctCountOfSourceHostName": "3",
        "count": "4",
        "responseRuleName": "listOf, setOf",
    }


def test_a_list_becomes_a_dictionary_by_position_that_keeps_repeats_and_order() -> None:
    assert convert_aggregate_fields(aggregated())["listOfSourceIPV4"] == {
        0: "10.0.0.1",
        1: "10.0.0.2",
        2: "10.0.0.3",
        3: "10.0.0.3",
    }


def test_a_set_becomes_a_set_of_strings() -> None:
    assert convert_aggregate_fields(aggregated())["setOfSourceIPV4"] == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}


def test_every_other_key_stays_as_it_is() -> None:
    before, after = aggregated(), convert_aggregate_fields(aggregated())
    for key in ("distinctCountOfSourceHostName", "count", "responseRuleName"):
        assert after[key] == before[key]
    assert list(after) == list(before)


def test_the_conversion_is_in_place_and_returns_the_same_dictionary() -> None:
    other_data = aggregated()
    assert convert_aggregate_fields(other_data) is other_data


def test_converting_twice_changes_nothing() -> None:
    once = convert_aggregate_fields(aggregated())
    assert convert_aggregate_fields(dict(once)) == once


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_string_gives_an_empty_dictionary_or_set(empty: str) -> None:
    other_data = {"listOfX": empty, "setOfX": empty}
    assert convert_aggregate_fields(other_data) == {"listOfX": {}, "setOfX": set()}


@pytest.mark.parametrize("value", [None, 5, ["a, b"], {"a": "b, c"}])
def test_what_is_no_string_stays_as_it_is(value: Any) -> None:
    assert convert_aggregate_fields({"listOfX": value, "setOfX": value}) == {
        "listOfX": value,
        "setOfX": value,
    }


def test_the_client_offers_the_conversions_under_the_names_of_the_original() -> None:
    assert CommonThreatEventClient.convert_aggregate_fields({"setOfX": "a"}) == {"setOfX": {"a"}}
    assert CommonThreatEventClient.create_dict_from_aggregate_listOf("a, b") == {0: "a", 1: "b"}
    assert CommonThreatEventClient.create_set_from_aggregate_setOf("a, b, a") == {"a", "b"}


def test_resolved_fields_leaves_out_only_placeholders_of_their_own_key() -> None:
    other_data = {
        "sc_evtFileMd5": "{sc_evtFileMd5}",
        "other": "{sc_evtFileMd5}",
        "braces": "{}",
        "empty": "",
        "none": None,
        "count": "1",
    }
    resolved = resolved_fields(other_data)
    assert resolved == {key: value for key, value in other_data.items() if key != "sc_evtFileMd5"}
    assert resolved is not other_data
    assert "sc_evtFileMd5" in other_data
