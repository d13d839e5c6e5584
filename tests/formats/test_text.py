import json
from datetime import datetime, timezone
from typing import Any

import pytest
from helpers.schemas import is_harmless
from hypothesis import given
from hypothesis import strategies as st

from dxlthreateventclient.formats import FORMATS, one_line, text_columns, to_cef, to_ecs, to_ocsf
from dxlthreateventclient.testing import sample_threat_event

KNOWN: dict[str, Any] = {
    "topic": "/topic",
    "event_id": "{a0bd5ca5}",
    "arrived": datetime(2026, 1, 1, tzinfo=timezone.utc),
}


MEANING = "Adaptive Threat Protection in observe mode: would block"


def line(threat_event: dict[str, Any]) -> str:
    return FORMATS["text"](threat_event, **KNOWN)


class TestText:
    def test_has_time_severity_host_threat_and_outcome(self) -> None:
        sample = sample_threat_event(analyzer={"detectedUTC": "2016-12-13T22:18:34.120Z"})
        assert line(sample) == (
            "2016-12-13T22:18:34.120Z  Critical     WS-0117           ExP:Heap                      blocked"
        )

    @pytest.mark.parametrize(
        ("event", "columns"),
        [
            ({}, ["-", "-", "-", "-", "-"]),
            ({"threatSeverity": 4, "eventDesc": "D"}, ["-", "Warning", "-", "D", "-"]),
            (
                {"target": {"hostName": "B"}, "threatActionTaken": "none"},
                ["-", "-", "B", "-", "NOT STOPPED: none"],
            ),
            ({"threatSeverity": 8, "id": 35102}, ["-", "8", "-", MEANING, "NOT STOPPED: would block"]),
            (
                {"threatSeverity": 1, "threatActionTaken": "IDS_ALERT_ACT_TAK_DEL"},
                ["-", "Alert", "-", "-", "deleted"],
            ),
            ({"category": "ops.task.end", "threatActionTaken": "none"}, ["-", "-", "-", "-", "none"]),
            ({"threatActionTaken": "Nicht blockiert"}, ["-", "-", "-", "-", "Nicht blockiert"]),
            ({"analyzer": {"ipv4": "10.0.0.1", "hostName": "_"}}, ["-", "-", "10.0.0.1", "-", "-"]),
        ],
    )
    def test_shows_what_there_is(self, event: Any, columns: list[str]) -> None:
        assert [column.strip() for column in text_columns({"event": event})] == columns

    def test_is_aligned_with_wide_characters_and_marks_too(self) -> None:
        columns = [text_columns({"event": {"threatName": name}})[3] for name in ("ab", "病毒", "a\u0301b")]
        assert [len(column) for column in columns] == [30, 28, 31]

    def test_is_never_cut(self) -> None:
        assert text_columns({"event": {"threatName": "x" * 100}})[3] == "x" * 100 + "  "

    @given(
        st.dictionaries(st.sampled_from(["threatName", "threatActionTaken", "id"]), st.text() | st.floats())
    )
    def test_is_one_harmless_line(self, event: Any) -> None:
        text = line({"event": event})
        assert is_harmless(text)
        assert "\t" not in text


class TestOneLine:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [("a\r\nb", "a b"), (" a \t b ", "a b"), ("\x1b[31m\u202e", "\ufffd[31m\ufffd"), ("", "")],
    )
    def test_replaces_what_could_steer_a_terminal(self, text: str, shown: str) -> None:
        assert one_line(text) == shown


class TestRegistry:
    def test_has_every_format(self) -> None:
        assert list(FORMATS) == ["text", "json", "jsonl", "ecs", "cef", "ocsf"]

    def test_hands_on_what_is_known_of_the_message(self) -> None:
        event_id, arrived = KNOWN["event_id"], KNOWN["arrived"]
        assert json.loads(FORMATS["ecs"]({}, **KNOWN)) == to_ecs({}, event_id=event_id, arrived=arrived)
        assert FORMATS["cef"]({}, **KNOWN) == to_cef({}, event_id=event_id, arrived=arrived)
        assert json.loads(FORMATS["ocsf"]({}, **KNOWN)) == to_ocsf({}, event_id=event_id, arrived=arrived)

    def test_has_the_message_as_it_is(self) -> None:
        sample = sample_threat_event(threatName="\u202eé\x1b")
        assert json.loads(FORMATS["jsonl"](sample, **KNOWN)) == sample
        first, document = FORMATS["json"](sample, **KNOWN | {"topic": "/a\n\x1b"}).split("\n", 1)
        assert first == "Threat event on topic: /a \ufffd"
        assert json.loads(document) == sample

    @pytest.mark.parametrize("name", FORMATS)
    def test_makes_harmless_text(self, name: str) -> None:
        text = FORMATS[name](
            {"event": {"threatName": "\u202e\x1b\r\n\ud800\x85"}}, **KNOWN | {"topic": "\x1b"}
        )
        assert is_harmless(text.replace("\n", "") if name == "json" else text)
