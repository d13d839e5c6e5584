"""What needs a second look in ``otherData``: aggregated values and unresolved placeholders."""

from collections.abc import Mapping
from typing import Any


def create_dict_from_aggregate_listOf(list_of: Any) -> Any:
    """Convert an aggregated list into a dictionary of its values by position.

    :param list_of: the comma-separated string of a ``listOf…`` key; anything else is returned as it is
    :return: the values by their positions, without surrounding white space; empty for an empty string

    >>> create_dict_from_aggregate_listOf("10.0.0.1, 10.0.0.1")
    {0: '10.0.0.1', 1: '10.0.0.1'}
    """
    return dict(enumerate(_values(list_of))) if isinstance(list_of, str) else list_of


def create_set_from_aggregate_setOf(set_of: Any) -> Any:
    """Convert an aggregated set into a set of its values.

    :param set_of: the comma-separated string of a ``setOf…`` key; anything else is returned as it is
    :return: the values without surrounding white space; empty for an empty string

    >>> sorted(create_set_from_aggregate_setOf("10.0.0.2, 10.0.0.1"))
    ['10.0.0.1', '10.0.0.2']
    """
    return set(_values(set_of)) if isinstance(set_of, str) else set_of


def _values(comma_separated: str) -> list[str]:
    return [value.strip() for value in comma_separated.split(",")] if comma_separated.strip() else []


def convert_aggregate_fields(otherData_props: dict[str, Any]) -> dict[str, Any]:
    """Convert the aggregated values of an ``otherData`` object, in place.

    The strings under ``listOf…`` become dictionaries (value by position), those under ``setOf…`` become
    sets. All other entries stay as they are, so calling this twice changes nothing.

    :param otherData_props: the ``otherData`` object of a threat event
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
    """Return the entries of an ``otherData`` object to which ePO gave a value.

    Where ePO has no value for a field it sends the unresolved placeholder: the key in braces. Call this
    before :func:`convert_aggregate_fields`, which would take a placeholder for a value.

    :param other_data: the ``otherData`` object of a threat event; it stays as it is
    :return: a new dictionary without the entries whose value is ``{key}`` for that very key

    >>> resolved_fields({"count": "1", "sc_evtFileMd5": "{sc_evtFileMd5}"})
    {'count': '1'}
    """
    return {key: value for key, value in other_data.items() if value != f"{{{key}}}"}
