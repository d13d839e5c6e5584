"""Checks that payloads are decoded identically with and without msgspec."""

import importlib.util
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from dxlthreateventclient import ThreatEventDecodeError
from dxlthreateventclient.payload import decode_threat_event

# Near the recursion limit, the caller's stack depth determines which decoder fails first.
_DEEPEST = 900


def _without_msgspec() -> Callable[[Any], dict[str, Any]]:
    """Return decode_threat_event() from a copy of its module that does not use msgspec."""
    spec = importlib.util.find_spec("dxlthreateventclient.payload")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    with patch.dict(sys.modules, {"msgspec": None, "msgspec.json": None}):
        spec.loader.exec_module(module)
    decode: Callable[[Any], dict[str, Any]] = module.decode_threat_event
    return decode


_decode_without = _without_msgspec()


def check_is_decoded_alike(payload: Any) -> None:
    """Check that msgspec changes neither the result (including the types of numbers) nor the error."""
    if isinstance(payload, bytes) and payload.count(b"[") + payload.count(b"{") > _DEEPEST:
        return
    assert _outcome(decode_threat_event, payload) == _outcome(_decode_without, payload)


def _outcome(decode: Callable[[Any], dict[str, Any]], payload: Any) -> str:
    try:
        # Compare the results as text, because Python considers 1.0 equal to 1 and -0.0 equal to 0.
        return repr(decode(payload))
    except ThreatEventDecodeError as error:
        return repr((error.reason, error.payload, str(error), error.__cause__, error.__context__))
