"""Runs the samples as processes. The advanced samples run with their documented command lines."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.program import started
from helpers.receiving import publish_until_all_have_them
from helpers.waiting import until

from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "sample" / "basic" / "basic_threat_event_callback_example.py"
WAITING = "Waiting for threat events..."


def running_sample(
    config_file: Path | None, python: str | Path = sys.executable, root: Path = ROOT
) -> AbstractContextManager["subprocess.Popen[str]"]:
    """Run the basic sample with DXLCLIENT_CONFIG set to a file path or an empty string."""
    return started(python, root / SAMPLE.relative_to(ROOT), DXLCLIENT_CONFIG=str(config_file or ""))


def printed_threat_event(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Wait for the next printed threat event, check its format, and return it."""
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


def documented_command(page: str, arguments: str) -> list[str]:
    """Return the command line that a page in docs/ gives for a sample with these arguments."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    line = re.search(rf"^ +((?:\w+=\S+ )?python sample/advanced/{re.escape(arguments)})$", text, re.MULTILINE)
    assert line, f"{page} does not say how to run {arguments}"
    return shlex.split(line[1])


def publish(dxl_client: DxlClient, count: int, **overrides: Any) -> list[Event]:
    """Publish events with numbered names."""
    named = [{"threatName": f"threat {number}"} | overrides for number in range(count)]
    return [publish_threat_event(dxl_client, sample_threat_event(**each)) for each in named]


def ids(events: list[Event]) -> list[str]:
    """Return the message IDs in the samples' output format."""
    return [repr(event.message_id) for event in events]


def until_passed_on(dxl_client: DxlClient) -> None:
    """Wait until the broker has forwarded all events from this client.

    A sample that ends after this call has handled or counted all of this client's events.
    """
    publish_until_all_have_them(dxl_client, f"/test/{uuid4().hex}", 1)


class Sample:
    """A sample that runs in a directory where ``my-fabric`` contains a running fabric's files.

    The sample writes its output to files, which never block and survive a SIGKILL.
    """

    def __init__(self, directory: Path, fabric: LocalFabric, command: list[str]) -> None:
        for name, target in (("sample", ROOT / "sample"), ("my-fabric", fabric.directory)):
            if not (directory / name).exists():
                (directory / name).symlink_to(target)
        number = len(list(directory.glob("*.out")))
        self._output = directory / f"{number}.out"
        self._errors = directory / f"{number}.err"
        with self._output.open("w") as stdout, self._errors.open("w") as stderr:
            self.process = subprocess.Popen(
                ["env", *(sys.executable if word == "python" else word for word in command)],
                cwd=directory,
                env={name: value for name, value in os.environ.items() if name != "DXLCLIENT_CONFIG"},
                stdout=stdout,
                stderr=stderr,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def lines(self, start: str) -> list[str]:
        """Return the rest of each complete line that begins with ``start``."""
        return re.findall(rf"^{re.escape(start)}(.*)\n", self.output, re.MULTILINE)

    def until_printed(self, start: str, count: int = 1, timeout: float = 30.0) -> list[str]:
        """Wait for ``count`` complete lines that begin with ``start``, and return the rest of each."""
        until(
            lambda: len(self.lines(start)) >= count or self.process.poll() is not None,
            f"{count} lines {start!r} in {self._output}",
            timeout,
        )
        lines = self.lines(start)
        assert len(lines) >= count, f"it ended: {self.output}{self.errors}"
        return lines

    def reported(self) -> int:
        """Return the number of unfinished events that the sample reported before it ended."""
        counts = re.findall(r"events handed over, (?:(\d+) unread, )?(\d+) passed over", self.errors)
        return self.errors.count("Not finished: ") + sum(int(count or 0) for count in chain(*counts))

    def kill(self) -> None:
        """Kill the sample with SIGKILL."""
        self.process.kill()
        self.process.wait()

    def end(self, with_signal: signal.Signals = signal.SIGINT) -> None:
        """Press Ctrl-C or send SIGTERM, and check that the sample ends as documented."""
        self.process.send_signal(with_signal)
        assert self.process.wait(timeout=30) == 0, self.errors
        assert self.errors.endswith("Stopped.\n")
        assert "Traceback" not in self.errors

    def __enter__(self) -> "Sample":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


Start = Callable[..., Sample]
"""The result of the fixture ``start``."""
