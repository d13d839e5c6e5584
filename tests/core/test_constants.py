"""The constants, the TypedDicts and the sample events have the same keys."""

import json
from pathlib import Path
from typing import Any

import pytest

from dxlthreateventclient import constants, threat_event
from dxlthreateventclient.testing import sample_threat_event
from dxlthreateventclient.testing.events import varied_threat_events

LEVELS = [
    (constants.ThreatEventProps, threat_event.ThreatEvent),
    (constants.EventProps, threat_event.EpoEvent),
    (constants.AnalyzerProps, threat_event.Analyzer),
    (constants.EntityProps, threat_event.Entity),
    (constants.FilesProps, threat_event.File),
    (constants.HashProps, threat_event.Hash),
    (constants.SourceProps, threat_event.Source),
    (constants.TargetProps, threat_event.Target),
]


def keys(props: type) -> set[str]:
    return {value for name, value in vars(props).items() if name.isupper()}


@pytest.mark.parametrize(("props", "shape"), LEVELS)
def test_the_constants_of_a_level_are_its_typed_dicts_keys(props: type, shape: Any) -> None:
    assert keys(props) == set(shape.__annotations__)


def test_the_session_key_is_the_one_that_messages_carry() -> None:
    assert constants.EntityProps.SESSION_ID == "sessionId"


def test_a_sample_event_has_every_key_but_those_of_files() -> None:
    sample = sample_threat_event()
    event = sample["event"]
    assert set(sample) == keys(constants.ThreatEventProps) - {constants.ThreatEventProps.RECEIVED_UTC}
    assert set(event) == keys(constants.EventProps)
    for name in ("analyzer", "entity", "source", "target"):
        assert set(event[name]) == keys(getattr(constants, f"{name.title()}Props"))
    assert keys(constants.OtherDataProps) <= set(event["otherData"])


def test_varied_sample_events_differ_in_threat_and_host() -> None:
    events = varied_threat_events()
    first = [next(events) for _ in range(8)]
    assert len({event["event"]["threatName"] for event in first}) == 4
    assert len({event["event"]["target"]["hostName"] for event in first}) == 4
    assert json.loads(json.dumps(first)) == first


def test_the_package_is_marked_as_typed() -> None:
    assert Path(threat_event.__file__).with_name("py.typed").is_file()
