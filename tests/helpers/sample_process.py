"""The basic sample as a process, as a user runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "sample" / "basic" / "basic_threat_event_callback_example.py"


@contextmanager
def running_sample(
    config_file: Path | None, python: str | Path = sys.executable, root: Path = ROOT
) -> Iterator["subprocess.Popen[str]"]:
    """Run the sample, without a file as if DXLCLIENT_CONFIG were not set. It is killed at the end."""
    process = subprocess.Popen(
        [python, root / SAMPLE.relative_to(ROOT)],
        env=os.environ | {"DXLCLIENT_CONFIG": str(config_file or "")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def printed_threat_event(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Wait for the next threat event that the sample prints, check its form, and return it."""
    assert process.stdout
    assert process.stdout.readline() == f"Threat event on topic: {EPO_THREAT_EVENT_RESPONSE_TOPIC}\n"
    document = ""
    while not document.endswith("\n}\n"):
        line = process.stdout.readline()
        assert line, f"the sample ended after it had printed {document!r}"
        document += line
    threat_event: dict[str, Any] = json.loads(document)
    assert document == json.dumps(threat_event, sort_keys=True, indent=4) + "\n"
    return threat_event
