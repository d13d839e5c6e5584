"""From when to when events may be missing, and the thread that reports it."""

import _thread
import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial

from dxlthreateventclient.status import Gap

logger = logging.getLogger(__name__)


def start_thread(name: str, target: Callable[[], object]) -> None:
    """Start a daemon thread in such a way that an exception from a signal handler does no harm.

    ``Thread.start()`` waits for the new thread: if a handler raises meanwhile, that thread may never run. So
    it is called on another new thread, on which no handler runs.
    """
    _thread.start_new_thread(threading.Thread(target=target, name=name, daemon=True).start, ())


class Reporter:
    """Logs, and calls ``on_gap``, on a thread of its own: either may take its time, or call the client.

    Up to Python 3.12 a signal that interrupts a logging call leaves the lock of its handler held. So nobody
    who is waited for may log.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: deque[Callable[[], object]] = deque()
        self._is_running = False

    def report(self, call: Callable[[], object]) -> None:
        """Make a call after those that were asked for before. What it raises is logged."""
        with self._lock:
            self._calls.append(call)
            if self._is_running:
                return
            self._is_running = True
        try:
            start_thread("DxlThreatEventReports", self._make_calls)
        except RuntimeError:  # no thread can be started; the next report tries again
            self._is_running = False

    def after_all(self, call: Callable[[], object]) -> None:
        """Make a call when nothing is left to report: at once if nothing is."""
        if self._is_running:
            self.report(call)
        else:
            call()

    def _make_calls(self) -> None:
        while True:
            with self._lock:
                if not self._calls:
                    self._is_running = False
                    return
                call = self._calls.popleft()
            try:
                call()
            except BaseException:
                with suppress(Exception):  # what a logging handler raises
                    logger.exception("%s raised", call)


class Listener:
    """The gaps of one CommonThreatEventClient. Only the thread of the feed calls its methods.

    :param on_gap: called with each gap, when it begins and when it is over
    :param reporter: makes these calls
    """

    def __init__(self, on_gap: Callable[[Gap], object], reporter: Reporter) -> None:
        self.gap: Gap | None = None
        self.gaps = 0
        self.gap_seconds = 0.0
        # The topics whose subscription was acknowledged: before that, nothing can be missing.
        self._heard: set[str] = set()
        self._last_end = datetime.min.replace(tzinfo=timezone.utc)
        self._on_gap = on_gap
        self._reporter = reporter

    def begin_gap(self, start: datetime, reason: str, topics: frozenset[str] = frozenset()) -> None:
        """Begin a gap, unless one lasts already or nothing can be missing.

        :param topics: topics that count as subscribed from now on
        """
        self._heard |= topics
        if self.gap is None and self._heard:
            self.gaps += 1
            # What is before the end of the last gap has been reported with that.
            self.gap = Gap(max(start, self._last_end), None, tuple(sorted(self._heard)), reason)
            self._reporter.report(partial(self._call, self.gap))

    def update(self, topics: set[str], acknowledged: frozenset[str]) -> None:
        """Note the topics of the client, and which subscriptions are acknowledged. This may end the gap."""
        self._heard = self._heard & topics | topics & acknowledged
        if self.gap is not None and self._heard <= acknowledged:
            gap, self.gap = self.gap, None
            self._last_end = end = max(gap.start, datetime.now(timezone.utc))
            self.gap_seconds += (end - gap.start).total_seconds()
            self._reporter.report(partial(self._call, Gap(gap.start, end, gap.topics, gap.reason)))

    def forget(self) -> None:
        """End the gap: the user has ended the connection, and with the next one begins anew."""
        self.update(set(), frozenset())

    def _call(self, gap: Gap) -> None:
        try:
            self._on_gap(gap)
        except BaseException:
            logger.exception("on_gap raised for %s", gap)


def log_gap(gap: Gap) -> None:
    """Log a gap as a warning."""
    logger.warning("%s", gap)
