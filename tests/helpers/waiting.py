"""Lets tests wait for a condition instead of a fixed time."""

import faulthandler
import time
from collections.abc import Callable

import pytest


def until(condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    """Return as soon as a condition holds. Fail the test after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            faulthandler.dump_traceback(2)
            pytest.fail(f"after {timeout:g} seconds still not: {what}")
        time.sleep(0.005)
