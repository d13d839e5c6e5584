"""publish_threat_event, except for the cases in test_sample_events.py."""

from unittest.mock import Mock

import pytest
from dxlclient.client import DxlClient

from dxlthreateventclient.testing import publish_threat_event


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
