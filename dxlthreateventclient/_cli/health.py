"""What a supervisor sees of ``listen``: the health file, and messages to systemd."""

import dataclasses
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dxlthreateventclient import FeedStatus
from dxlthreateventclient._cli.terminal import tell

# In seconds: how often the status is looked at, and how often it is reported if nothing has changed.
_LOOK_EVERY = 0.2
_REPORT_EVERY = 10.0


def notify(state: str) -> None:
    """Send a state to systemd, if that has started this process with ``Type=notify``."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.sendto(state.encode(), address.replace("@", "\0", 1))


class Health:
    """Reports the status when the connection, a subscription or a gap has changed, and every 10 s.

    :param file: the file to which it is written as JSON, if any
    :param status: returns the status
    :param counts: returns what stands beside it in the file
    :param progress: returns a value that differs from the last one unless the loop over the events is stuck
    """

    def __init__(
        self,
        file: Path | None,
        status: Callable[[], FeedStatus],
        counts: Callable[[], dict[str, int]],
        progress: Callable[[], object],
    ) -> None:
        self._file = file
        self._status = status
        self._counts = counts
        self._progress = progress
        self._has_failed = False
        if file or "NOTIFY_SOCKET" in os.environ:
            threading.Thread(target=self._report, daemon=True).start()

    def _report(self) -> None:
        reported: object = None
        progress: object = None
        due = 0.0
        while True:
            status = self._status()
            state = (status.connected, status.subscribed, status.open_gap)
            if state != reported or time.monotonic() >= due:
                reported, due = state, time.monotonic() + _REPORT_EVERY
                before, progress = progress, self._progress()
                if progress != before or not status.buffered:
                    notify("WATCHDOG=1")
                self.write(status)
            time.sleep(_LOOK_EVERY)

    def write(self, status: FeedStatus) -> None:
        """Replace the file, so that a reader sees the whole of the old one or of the new one."""
        if not self._file:
            return
        document = dataclasses.asdict(status) | self._counts() | {"written_at": datetime.now(timezone.utc)}
        new = self._file.with_name(f"{self._file.name}.new")
        try:
            new.write_text(json.dumps(document, default=_iso) + "\n", encoding="utf-8")
            new.replace(self._file)
        except OSError as error:
            if not self._has_failed:
                tell(f"Cannot write the health file {self._file}: {error.strerror}")
            self._has_failed = True
        else:
            self._has_failed = False


def _iso(value: Any) -> str:
    text: str = value.isoformat()
    return text
