"""The ``listen`` options that select events."""

from typing import Any

import pytest

from dxlthreateventclient import _cli
from dxlthreateventclient._cli.filters import wanted


def is_wanted(arguments: str, **event: Any) -> bool:
    predicate = wanted(_cli.make_parser().parse_args(["listen", *arguments.split()]))
    assert predicate
    return predicate({"event": event})


def hosts(analyzer: object, source: object, target: object) -> dict[str, Any]:
    return {
        "analyzer": {"hostName": analyzer},
        "source": {"hostName": source},
        "target": {"hostName": target},
    }


@pytest.mark.parametrize(
    ("arguments", "event", "expected"),
    [
        ("--id 18060", {"id": 18060}, True),
        ("--id 18060", {"id": "18060"}, True),
        ("--id 18060", {"id": 180601}, False),
        ("--id 18060 --id 35*", {"id": 35001}, True),
        ("--category av.*", {"category": "AV.Detect"}, True),
        ("--category av.*", {"category": "hip.av.file"}, False),
        ("--action *block*", {"threatActionTaken": "IDS_THREAT_ACTION_BLOCK"}, True),
        ("--action blocked", {"threatActionTaken": "none"}, False),
        ("--action blocked --id 1", {"threatActionTaken": "blocked", "id": 2}, False),
        ("--host srv-*", hosts("ws-1", None, "SRV-9"), True),
        ("--host srv-*", hosts("ws-1", "_", ""), False),
        ("--host srv-[12]", hosts("srv-2", "", ""), True),
        ("--host ws-1 --severity 3", {**hosts("ws-1", "", ""), "threatSeverity": 4}, False),
        ("--severity 3", {"threatSeverity": "3"}, True),
        ("--outcome failed", {"id": 1026, "threatActionTaken": "deleted"}, True),
        ("--outcome failed", {"threatActionTaken": "deleted"}, False),
        ("--outcome failed --outcome deleted", {"threatActionTaken": "IDS_ALERT_ACT_TAK_DEL"}, True),
        ("--outcome failed", {"threatActionTaken": "Nicht blockiert"}, True),
        ("--outcome failed --severity 3", {"id": 1026, "threatSeverity": 4}, False),
    ],
)
def test_an_event_is_wanted_if_each_option_matches(
    arguments: str, event: dict[str, Any], *, expected: bool
) -> None:
    assert is_wanted(arguments, **event) is expected


@pytest.mark.parametrize(
    "arguments", ["--id 1", "--category a", "--action b", "--host c", "--severity 1", "--outcome failed"]
)
@pytest.mark.parametrize("value", [None, "", " ", "{key}", [1]])
def test_an_event_that_does_not_say_is_wanted(arguments: str, value: object) -> None:
    keys = ("id", "category", "threatActionTaken", "threatSeverity")
    assert is_wanted(arguments, **dict.fromkeys(keys, value), **hosts(value, value, value))
    assert is_wanted(arguments, analyzer=value)


@pytest.mark.parametrize("word", ["(none)", "NULL", "N/A", "-", "_"])
def test_words_of_epo_name_no_host(word: str) -> None:
    assert is_wanted("--host srv", **hosts(word, word, word))


def test_without_a_filter_all_are_wanted() -> None:
    assert wanted(_cli.make_parser().parse_args(["listen"])) is None
