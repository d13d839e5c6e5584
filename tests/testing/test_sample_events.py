import itertools
import math
from datetime import datetime, timedelta, timezone
from unittest.mock import Mock

import pytest
from dxlclient.client import DxlClient
from dxlclient.exceptions import DxlException
from helpers.schemas import check_formats

from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.payload import decode_threat_event
from dxlthreateventclient.testing import publish_threat_event, sample_threat_event
from dxlthreateventclient.testing.events import varied_threat_events


def test_each_sample_event_is_a_new_one() -> None:
    first = sample_threat_event()
    first["event"]["target"]["hostName"] = "changed"
    assert sample_threat_event()["event"]["target"]["hostName"] != "changed"


def test_a_sample_event_was_detected_now() -> None:
    detected = sample_threat_event()["event"]["analyzer"]["detectedUTC"]
    moment = datetime.strptime(detected, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    assert abs(datetime.now(timezone.utc) - moment) < timedelta(minutes=1)


def test_the_varied_sample_events_say_what_epo_says() -> None:
    kinds = set()
    for threat_event in itertools.islice(varied_threat_events(), 4):
        ecs, _, _ = check_formats(threat_event)
        kinds |= {(ecs["event"]["kind"], *ecs["event"]["category"])}
        # Severity 2 is the only one whose name in ePO is known.
        name = threat_event["event"]["otherData"]["threatSeverityString"]
        assert name == ("Critical" if threat_event["event"]["threatSeverity"] == 2 else "")
    assert kinds == {
        ("alert", "intrusion_detection", "file"),
        ("alert", "malware", "file"),
        ("event", "network"),
        ("alert", "network", "web"),
    }


def test_overrides_reach_the_event_its_objects_and_the_top_level() -> None:
    sample = sample_threat_event(
        threatSeverity=1, target={"hostName": "LAB-7"}, files=[{"name": "a"}], eventMessageVersion="2.0"
    )
    assert sample["event"]["threatSeverity"] == 1
    assert sample["event"]["target"]["hostName"] == "LAB-7"
    assert sample["event"]["target"]["processName"] == "IEXPLORE.EXE"
    assert sample["event"]["files"] == [{"name": "a"}]
    assert sample["eventMessageVersion"] == "2.0"
    assert sample_threat_event(event={"threatName": "X"})["event"]["threatName"] == "X"
    assert sample_threat_event(entity=None)["event"]["entity"] is None


def test_a_key_that_no_threat_event_has_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"no key 'threatname'.*threatName"):
        sample_threat_event(threatname="misspelt")


def test_the_order_of_the_overrides_does_not_matter() -> None:
    assert sample_threat_event(event=None, id=3)["event"] is None
    assert sample_threat_event(id=3, event=None)["event"] is None


def test_publishing_with_a_client_that_is_not_connected_raises() -> None:
    dxl_client = Mock(spec=DxlClient, connected=False)
    with pytest.raises(DxlException, match="not connected"):
        publish_threat_event(dxl_client, sample_threat_event())
    dxl_client.send_event.assert_not_called()


def test_publishing_sends_json_and_returns_the_event() -> None:
    dxl_client = Mock(spec=DxlClient, connected=True)
    threat_event = sample_threat_event(threatName="é")
    event = publish_threat_event(dxl_client, threat_event)
    dxl_client.send_event.assert_called_once_with(event)
    assert event.destination_topic == EPO_THREAT_EVENT_RESPONSE_TOPIC
    assert decode_threat_event(event.payload) == threat_event


def test_publishing_what_json_cannot_express_raises() -> None:
    with pytest.raises(ValueError, match="JSON"):
        publish_threat_event(Mock(spec=DxlClient, connected=True), sample_threat_event(id=math.nan))


@pytest.mark.parametrize(("size", "refused"), [(2**20 - 64, False), (2**20 - 63, True), (2**21, True)])
def test_an_event_over_a_mebibyte_is_refused_unsent(size: int, refused: bool) -> None:
    dxl_client = Mock(spec=DxlClient, connected=True)
    threat_event = {"event": "x" * (size - len('{"event": ""}'))}
    if refused:
        with pytest.raises(ValueError, match=f"at most 1048512 bytes as JSON, got {size}"):
            publish_threat_event(dxl_client, threat_event)
        dxl_client.send_event.assert_not_called()
    else:
        message = publish_threat_event(dxl_client, threat_event)._to_bytes()  # type: ignore[attr-defined]
        assert len(message) <= 2**20
