"""Aggregated values and unresolved placeholders in ``otherData``."""

from collections.abc import Mapping
from typing import Any


def create_dict_from_aggregate_listOf(list_of: Any) -> Any:
    """Convert an aggregated list into a dictionary that maps positions to values.

    :param list_of: the comma-separated string of a ``listOf…`` key; any other value is returned unchanged
    :return: the values by position, without surrounding whitespace; empty for an empty string

    >>> create_dict_from_aggregate_listOf("10.0.0.1, 10.0.0.1")
    {0: '10.0.0.1', 1: '10.0.0.1'}
    """
    return dict(enumerate(_values(list_of))) if isinstance(list_of, str) else list_of


def create_set_from_aggregate_setOf(set_of: Any) -> Any:
    """Convert an aggregated set into a Python set.

    :param set_of: the comma-separated string of a ``setOf…`` key; any other value is returned unchanged
    :return: the values without surrounding whitespace; empty for an empty string

    >>> sorted(create_set_from_aggregate_setOf("10.0.0.2, 10.0.0.1"))
    ['10.0.0.1', '10.0.0.2']
    """
    return set(_values(set_of)) if isinstance(set_of, str) else set_of


def _values(comma_separated: str) -> list[str]:
    return [value.strip() for value in comma_separated.split(",")] if comma_separated.strip() else []


def convert_aggregate_fields(otherData_props: dict[str, Any]) -> dict[str, Any]:
    """Convert the aggregated values of an ``otherData`` object in place.

    Strings under ``listOf…`` keys become dictionaries that map positions to values. Strings under ``setOf…``
    keys become sets. All other entries remain unchanged, so a second call has no effect.

    :param otherData_props: the ``otherData`` object of a threat event, which is modified
    :return: the same dictionary

    >>> convert_aggregate_fields({"listOfSourceIPV4": "10.0.0.1", "distinctCountOfSourceIPV4": "1"})
    {'listOfSourceIPV4': {0: '10.0.0.1'}, 'distinctCountOfSourceIPV4': '1'}
    """
    for key, value in otherData_props.items():
        if key.startswith("listOf"):
            otherData_props[key] = create_dict_from_aggregate_listOf(value)
        elif key.startswith("setOf"):
            otherData_props[key] = create_set_from_aggregate_setOf(value)
    return otherData_props


def resolved_fields(other_data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``otherData`` entries that have a value.

    If ePO has no value for a field, it sends an unresolved placeholder: the key in braces. Call this function
    before :func:`convert_aggregate_fields`, which treats placeholders as values.

    :param other_data: the ``otherData`` object of a threat event, which is not modified
    :return: a new dictionary without the placeholders

    >>> resolved_fields({"count": "1", "sc_evtFileMd5": "{sc_evtFileMd5}"})
    {'count': '1'}
    """
    return {key: value for key, value in other_data.items() if value != f"{{{key}}}"}
