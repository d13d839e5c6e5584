"""Records the gaps in which events may have been missed, and reports them on a separate thread."""

import _thread
import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial

from dxlthreateventclient.status import Gap

logger = logging.getLogger(__name__)


def start_thread(
    name: str, target: Callable[[], object], failed: Callable[[], object] = lambda: None
) -> None:
    """Start a daemon thread, even if a signal handler raises an exception.

    ``Thread.start()`` waits for the new thread to begin. If a signal handler interrupts ``Thread.start()``
    with an exception, the new thread may never run. Signal handlers run only on the main thread, so a helper
    thread calls ``start()``.

    :param failed: called if the system cannot start another thread
    """
    _thread.start_new_thread(_start, (threading.Thread(target=target, name=name, daemon=True), failed))


def _start(thread: threading.Thread, failed: Callable[[], object]) -> None:
    try:
        thread.start()
    except RuntimeError:
        failed()


def wait_for(begin: Callable[[Callable[[], None]], object], seconds: float) -> None:
    """Start an operation and wait until it completes or a time limit expires.

    :param begin: starts the operation; receives a function to call upon completion
    :param seconds: the time limit
    """
    # Do not use a threading.Event, because an exception in a signal handler can leave the Event's lock held.
    done = _thread.allocate_lock()
    done.acquire()
    begin(done.release)
    done.acquire(timeout=seconds)


class Reporter:
    """Logs messages and calls ``on_gap`` on a separate thread.

    Logging handlers and ``on_gap`` may be slow or may call the client's methods.

    A thread that other threads wait for must never log. In Python 3.12 and earlier, an exception in a signal
    handler during a logging call can leave the logging handler locked.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: deque[Callable[[], object]] = deque()
        self._is_running = False
        self._thread = 0

    def report(self, call: Callable[[], object]) -> None:
        """Call a function after all previously queued calls. Log any exception that the function raises."""
        with self._lock:
            self._calls.append(call)
            if self._is_running:
                return
            self._is_running = True
        try:
            start_thread("DxlThreatEventReports", self._make_calls, self._try_again_later)
        except RuntimeError:
            self._try_again_later()

    def _try_again_later(self) -> None:
        """Allow the next report to start a new thread."""
        self._is_running = False

    def after_all(self, call: Callable[[], object]) -> None:
        """Call a function after all pending reports, or immediately if there are none."""
        if self._is_running:
            self.report(call)
        else:
            call()

    def is_current(self) -> bool:
        """Return True if the current thread is the reporting thread, which must not wait for itself."""
        return self._is_running and self._thread == _thread.get_ident()

    def _make_calls(self) -> None:
        self._thread = _thread.get_ident()
        while True:
            with self._lock:
                if not self._calls:
                    self._is_running = False
                    return
                call = self._calls.popleft()
            try:
                call()
            except BaseException:
                with suppress(Exception):  # a logging handler may raise
                    logger.exception("%s raised", call)


class Listener:
    """Records the gaps of one CommonThreatEventClient. Only the feed thread calls the methods of this class.

    :param on_gap: called with each gap when it begins and when it ends
    :param reporter: calls ``on_gap``
    """

    def __init__(self, on_gap: Callable[[Gap], object], reporter: Reporter) -> None:
        # The open gap, the number of gaps, and the total length of the ended ones in seconds. A single
        # assignment changes all three, because other threads read them.
        self.state: tuple[Gap | None, int, float] = (None, 0, 0.0)
        # The topics whose subscriptions the broker has acknowledged. A client can miss events only on
        # subscribed topics.
        self._heard: set[str] = set()
        self._last_end = datetime.min.replace(tzinfo=timezone.utc)
        self._on_gap = on_gap
        self._reporter = reporter

    def begin_gap(self, start: datetime, reason: str, topics: frozenset[str] = frozenset()) -> None:
        """Begin a gap if events can be missed and no gap is open.

        :param topics: topics that count as subscribed from now on
        """
        self._heard |= topics
        gap, gaps, seconds = self.state
        if gap is None and self._heard:
            # The new gap must not overlap the previous one, which has already been reported.
            gap = Gap(max(start, self._last_end), None, tuple(sorted(self._heard)), reason)
            self.state = gap, gaps + 1, seconds
            self._reporter.report(partial(self._call, gap))
        elif gap is not None:
            self.state = replace(gap, topics=tuple(sorted(self._heard | set(gap.topics)))), gaps, seconds

    def update(self, topics: set[str], acknowledged: frozenset[str]) -> None:
        """Record the client's topics and the acknowledged subscriptions.

        If all earlier subscriptions are active again, end any open gap.
        """
        self._heard = self._heard & topics | topics & acknowledged
        gap, gaps, seconds = self.state
        if gap is not None and self._heard <= acknowledged:
            self._last_end = end = max(gap.start, datetime.now(timezone.utc))
            self.state = None, gaps, seconds + (end - gap.start).total_seconds()
            self._reporter.report(partial(self._call, Gap(gap.start, end, gap.topics, gap.reason)))

    def forget(self) -> None:
        """End any open gap and forget all topics, because the user has disconnected."""
        self.update(set(), frozenset())

    def _call(self, gap: Gap) -> None:
        try:
            self._on_gap(gap)
        except BaseException:
            logger.exception("on_gap raised for %s", gap)


def log_gap(gap: Gap) -> None:
    """Log a gap as a warning."""
    logger.warning("%s", gap)
