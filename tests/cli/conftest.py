"""What the tests of the command line share."""

from uuid import uuid4

import pytest


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"/test/{uuid4().hex}"
