"""What the command line makes of an event, in each format."""

import io
import json
import os
import re
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dxlthreateventclient._cli.output import FORMATS, write
from dxlthreateventclient.testing import sample_threat_event

ONE_LINE = ["text", "jsonl", "ecs", "cef"]
# What steers a terminal, breaks a line or cannot be written in UTF-8.
HARMFUL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
HOSTILE = "\x1b[2Jgone\r\nnext\u2028\x9b\x7f\u202e[bold]x\ud800"

ODD: list[dict[str, Any]] = [
    {},
    {"event": None},
    {"event": [1]},
    {"event": {"analyzer": 7, "otherData": [], "threatName": {"a": [None]}, "threatSeverity": "high"}},
    {"event": {"threatName": HOSTILE, HOSTILE: HOSTILE, "otherData": {"threatSeverityString": HOSTILE}}},
]


def made(output_format: str, threat_event: dict[str, Any], topic: str = "/topic") -> str:
    return FORMATS[output_format]()(threat_event, topic)


def columns(threat_event: dict[str, Any]) -> list[str]:
    return re.split(" {2,}", made("text", threat_event))


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("threat_event", ODD)
def test_an_odd_event_is_written_and_does_no_harm(output_format: str, threat_event: dict[str, Any]) -> None:
    text = made(output_format, threat_event, HOSTILE)
    assert text
    assert not HARMFUL.search(text)
    assert text.encode()
    if output_format in ONE_LINE:
        assert "\n" not in text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=8,
)
keys = st.sampled_from(["analyzer", "target", "otherData", "threatName", "eventDesc", "threatActionTaken"])


@settings(deadline=None)  # a loaded machine is no reason to fail
@given(st.dictionaries(keys, json_values | st.dictionaries(st.sampled_from(["hostName"]), json_values)))
def test_text_is_one_harmless_line_whatever_the_event_holds(event: dict[str, Any]) -> None:
    text = made("text", {"event": event})
    assert not HARMFUL.search(text)
    assert len(text.splitlines()) == 1
    assert "\t" not in text


def test_text_has_time_severity_host_threat_and_action() -> None:
    event = sample_threat_event(
        analyzer={"detectedUTC": "2026-01-02T03:04:05.678+02:00", "hostName": "WS-1"}, threatName="EICAR"
    )
    assert columns(event) == ["2026-01-02T01:04:05.678Z", "Critical", "WS-1", "EICAR", "blocked"]


def test_text_shows_what_there_is_instead_of_what_is_missing() -> None:
    assert columns({}) == ["-"] * 5
    event = sample_threat_event(
        analyzer={"detectedUTC": "", "hostName": None},
        target={"hostName": "TARGET"},
        otherData={"threatSeverityString": "{threatSeverityString}"},
        threatSeverity=5,
        threatName="",
        eventDesc="What happened",
        threatActionTaken=None,
        _receivedUTC="2026-01-02T03:04:05Z",
    )
    # The number, for there is no name, and none is made up.
    assert columns(event) == ["2026-01-02T03:04:05.000Z", "5", "TARGET", "What happened", "-"]


def test_text_is_aligned_with_wide_characters_and_marks_too_and_never_cut() -> None:
    plain, wide, marked = (
        made("text", sample_threat_event(threatName=name)) for name in ("ab", "病毒", "a\u0301b")
    )
    action = plain.index("blocked")
    assert wide.index("blocked") == action - 2
    assert marked.index("blocked") == action + 1
    assert 100 * "x" + "  blocked" in made("text", sample_threat_event(threatName=100 * "x"))


@pytest.mark.parametrize(("output_format", "kept"), [(name, name in ("json", "jsonl")) for name in FORMATS])
def test_unresolved_placeholders_are_left_out_of_every_format_but_json_and_jsonl(
    output_format: str, kept: bool
) -> None:
    assert ("{sc_evtFileMd5}" in made(output_format, sample_threat_event())) is kept


def test_jsonl_is_the_event_as_it_came() -> None:
    event = sample_threat_event(threatName=HOSTILE)
    assert json.loads(made("jsonl", event)) == event


def test_text_reaches_a_terminal_that_cannot_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    stdout = io.TextIOWrapper(written, encoding="ascii")
    monkeypatch.setattr(stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", stdout)
    write("病")
    assert written.getvalue() == rb"\u75c5" + b"\n"


def test_a_pipe_gets_utf_8_whatever_the_locale_is(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    stdout = io.TextIOWrapper(written, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    write("病")
    assert written.getvalue() == f"病{os.linesep}".encode()
