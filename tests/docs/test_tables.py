"""The tables in the docs match the code."""

import json

import pytest
from helpers.pages import DOCS, blocks, table

from dxlthreateventclient import constants
from dxlthreateventclient.testing import sample_threat_event

PROPS = [props for name, props in vars(constants).items() if name.endswith("Props")]


@pytest.mark.parametrize("props", PROPS)
def test_the_page_explains_each_key_and_its_constant(props: type) -> None:
    rows = table("threatevent.rst", props.__name__)
    assert {constant: key for key, constant, _ in rows} == {
        name: key for name, key in vars(props).items() if name.isupper()
    }
    assert all(meaning for *_, meaning in rows)


def test_the_event_on_the_basic_page_is_the_sample_event() -> None:
    [example] = blocks(DOCS / "basicthreateventcallbackexample.rst", "json")
    shown, sample = json.loads(example.content), sample_threat_event()
    for threat_event in (shown, sample):
        threat_event["event"]["_receivedUTC"] = threat_event["event"]["analyzer"]["detectedUTC"] = "now"
    assert shown == sample
