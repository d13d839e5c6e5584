"""The thread that makes all calls which take a lock of dxlclient's.

On the main thread a signal handler may raise at any moment, and dxlclient would then keep its lock for good.
"""

import _thread
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from weakref import finalize

from dxlthreateventclient._dxlclient import Parts, is_worker
from dxlthreateventclient._feed import start_thread

logger = logging.getLogger(__name__)

_NAME = "DxlThreatEventSubscriptions"

# On Windows Ctrl-C does not interrupt a wait, so no wait is longer than this many seconds.
_LONGEST_WAIT = 1.0


class _Job:
    """A call that the helper thread makes for another thread."""

    def __init__(
        self, call: Callable[[], object], topic: str, hold_disconnect_back: Callable[[], Callable[[], object]]
    ) -> None:
        self.is_waited_for = False
        self.is_cancelled = False
        self._topic = topic
        self._call = call
        self._hold = hold_disconnect_back
        self._release: Callable[[], object] | None = None
        self._error: BaseException | None = None
        self._done = _thread.allocate_lock()
        self._done.acquire()

    def hold_disconnect_back(self) -> None:
        """Keep ``DxlClient.disconnect()`` waiting until the job is done."""
        self._release = self._release or self._hold()

    def __call__(self) -> None:
        """Make the call, and keep or log what it raises."""
        self.hold_disconnect_back()
        try:
            if not self.is_cancelled:
                self._call()
        except BaseException as error:
            self._error = error
            if not self.is_waited_for:
                logger.exception(
                    "Cannot bring the subscription to %s in step with its callbacks", self._topic
                )
        finally:
            if self._release:
                self._release()
            self._done.release()

    def wait(self) -> None:
        """Return when the call has been made, or raise what it raised."""
        while not self._done.acquire(timeout=_LONGEST_WAIT):
            pass
        if self._error is not None:
            raise self._error


def _help(jobs: "SimpleQueue[_Job | None]", claim: threading.Lock) -> None:
    # It knows nothing but its jobs, so that it keeps no DxlClient alive. One thread at a time does them.
    if claim.acquire(blocking=False):
        while (job := jobs.get()) is not None:
            with suppress(Exception):  # what a logging handler raises
                job()
            del job


class Helper:
    """Makes calls for other threads, in their order, on a thread of its own.

    :param parts: the parts of the DxlClient whose locks the calls take
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._claim = threading.Lock()
        self._is_started = False
        finalize(self, self._jobs.put, None)

    def do(self, topic: str, call: Callable[[], object], undo: Callable[[], object] | None = None) -> None:
        """Let the helper thread make a call, and wait for it, except on threads that must not wait.

        :param topic: what the call is about, for the log
        :param call: the call
        :param undo: what is called if the call or the wait for it fails
        """
        if self._parts.is_mock:
            try:
                call()
            except BaseException:
                if undo:
                    undo()
                raise
            return
        job = _Job(call, topic, self._parts.hold_disconnect_back)
        if is_worker() or threading.current_thread().name == _NAME:
            job.hold_disconnect_back()
            self._put(job)
            return
        try:
            job.is_waited_for = True
            self._put(job)
            job.wait()
        except BaseException:
            job.is_waited_for = False
            if undo:
                job.is_cancelled = True
                self._put(_Job(undo, topic, self._parts.hold_disconnect_back))
            raise

    def begin(self, topic: str, call: Callable[[], object]) -> None:
        """Let the helper thread make a call, and do not wait for it. May be called in a signal handler."""
        self._put(_Job(call, topic, self._parts.hold_disconnect_back))

    def _put(self, job: _Job) -> None:
        self._jobs.put(job)
        if not self._is_started:
            start_thread(_NAME, partial(_help, self._jobs, self._claim))
            self._is_started = True
