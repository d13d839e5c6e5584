"""Reports the state of ``listen`` to a supervisor through a health file and systemd notifications."""

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

# The interval between status checks, in seconds.
_LOOK_EVERY = 0.2
# The interval between reports of an unchanged status, in seconds.
_REPORT_EVERY = 10.0


def notify(state: str) -> None:
    """Send a state to systemd if it started this process with ``Type=notify``."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)


class Health:
    """Reports the status every 10 seconds, and whenever the connection, a subscription or a gap changes.

    Unless the loop over the events is stuck, ``Health`` pings systemd's watchdog every 10 seconds, or more
    often if the watchdog's time limit is short.

    :param file: the file for the status as JSON, if any
    :param status: returns the status
    :param counts: returns further entries for the file
    :param progress: returns a value that changes unless the loop over the events is stuck
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
        report_at = ping_at = 0.0
        ping_every = _ping_interval()
        while True:
            status, now = self._status(), time.monotonic()
            if now >= ping_at:
                before, progress = progress, self._progress()
                if progress != before or not status.buffered:
                    ping_at = now + ping_every
                    notify("WATCHDOG=1")
            state = (status.connected, status.subscribed, status.open_gap)
            if state != reported or now >= report_at:
                reported, report_at = state, now + _REPORT_EVERY
                self.write(status)
            time.sleep(min(_LOOK_EVERY, ping_every))

    def write(self, status: FeedStatus) -> None:
        """Replace the file atomically, so that a reader sees either the old or the new content."""
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


def _ping_interval() -> float:
    """Return the interval between pings to systemd's watchdog, in seconds."""
    limit = os.environ.get("WATCHDOG_USEC", "")
    # Set the interval to a quarter of the watchdog's time limit. With an interval of half the limit, as
    # systemd recommends, a single late ping would end the process. Ignore WATCHDOG_PID, which may be the
    # process ID of a shell that started this process.
    quarter = float(limit) / 4e6 if limit.isdecimal() else 0.0
    return min(quarter or _REPORT_EVERY, _REPORT_EVERY)


def _iso(value: Any) -> str:
    text: str = value.isoformat()
    return text
