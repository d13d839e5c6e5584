"""Keeps the topics that a DxlClient is subscribed to in step with its callbacks.

dxlclient unsubscribes from a topic with the first callback that leaves it. And where a callback adds or
removes one, dxlclient waits for the broker on the worker thread that runs the callback: while its queue of
incoming messages is full the answer cannot arrive, since only that worker makes room.
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary, WeakSet

from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient

logger = logging.getLogger(__name__)

DxlCallback: TypeAlias = EventCallback | type[EventCallback]

# How dxlclient names the worker threads that run callbacks.
_WORKER_PREFIX = "DxlMessagePool-"

# A broker whose answer takes longer than this many seconds may be kept from answering.
_PATIENCE = 0.1


def check_topic(topic: str) -> None:
    """Check that dxlclient can receive on a topic.

    :raise TypeError: if it is no string
    :raise ValueError: if no event could arrive under it
    """
    if not isinstance(topic, str):
        raise TypeError(f"{topic!r} is no topic: pass a string")
    levels = topic.split("/")
    if (
        not topic
        or "+" in topic
        or "\0" in topic
        or "#" in topic.removesuffix("#")
        or (topic[-1] == "#" and levels[-1] != "#")
    ):
        raise ValueError(
            f"{topic!r} is no topic that dxlclient can receive on: pass an exact topic, or a filter that ends"
            " in '/#'"
        )


class _State:
    """What all instances of Subscriptions for one DxlClient share."""

    def __init__(self) -> None:
        # Held while the broker is waited for, and so never taken by a worker.
        self.broker = threading.Lock()
        self.waiting_since: float | None = None
        # Guards all that follows, and what the members added; held for a moment only.
        self.lock = threading.Lock()
        self.members: WeakSet[Subscriptions] = WeakSet()
        # The topics that a thread of ours has yet to settle, and the one it is at.
        self.unsettled: set[str] = set()
        self.at: str | None = None
        self.settling = False

    @contextmanager
    def waiting_for_broker(self) -> Iterator[None]:
        with self.broker:
            self.waiting_since = time.monotonic()
            try:
                yield
            finally:
                self.waiting_since = None


# The states hold no callback: one that knows its DxlClient would keep that alive for ever.
_states: "WeakKeyDictionary[DxlClient, _State]" = WeakKeyDictionary()
_states_lock = threading.Lock()


class Subscriptions:
    """The callbacks that one CommonThreatEventClient adds to a DxlClient, and their subscriptions."""

    def __init__(self, dxl_client: DxlClient) -> None:
        self._dxl_client = dxl_client
        # What is to be removed in the end. Guarded by the lock of the state.
        self.added: list[tuple[str, DxlCallback]] = []
        with _states_lock:
            self._state = _states.setdefault(dxl_client, _State())
        with self._state.lock:
            self._state.members.add(self)

    def add(self, topic: str, callback: DxlCallback) -> None:
        """Add a callback to a topic and subscribe to it. Where that fails, the callback is not added."""
        with self._state.lock:
            is_new = callback not in self._callbacks(topic)
            # A callback that was registered straight with the DxlClient is not ours to remove.
            if (is_new or self._is_added(topic, callback)) and (topic, callback) not in self.added:
                self.added.append((topic, callback))
        try:
            if self._on_worker():
                self._dxl_client.add_event_callback(topic, callback, subscribe_to_topic=False)
                self._settle_soon({topic})
            else:
                with self._state.waiting_for_broker():
                    self._dxl_client.add_event_callback(topic, callback)
        except BaseException:
            if is_new:
                self._settle_soon(self._forget([(topic, callback)]))
            raise

    def remove(self, added: Iterable[tuple[str, DxlCallback]]) -> None:
        """Remove callbacks from topics, and unsubscribe from those that have none left.

        All callbacks are removed before the broker is waited for: what is queued for them is then passed over
        quickly, and the broker's answer comes through.
        """
        topics = self._forget(added)
        if self._on_worker():
            self._settle_soon(topics)
            return
        with self._state.lock:
            # What callbacks changed, too: once this returns, all is settled that was to be.
            topics |= self._state.unsettled
            if self._state.at is not None:
                topics.add(self._state.at)
        while topics:
            topic = topics.pop()
            try:
                self._settle(topic)
            except BaseException:
                self._settle_soon(topics)
                raise

    def is_waiting_for_broker(self) -> bool:
        """Return whether the broker's answer is overdue. It may wait behind a worker that waits for room."""
        since = self._state.waiting_since
        return since is not None and time.monotonic() - since > _PATIENCE

    def take_added(self) -> list[tuple[str, DxlCallback]]:
        """Return what was added here and nowhere else, and count it as added no longer."""
        with self._state.lock:
            added, self.added = self.added, []
            return [(topic, callback) for topic, callback in added if not self._is_added(topic, callback)]

    def _is_added(self, topic: str, callback: DxlCallback) -> bool:
        return any((topic, callback) in member.added for member in self._state.members)

    def _registry(self) -> Any:
        """Return what dxlclient keeps its callbacks in, or None where it does not let it be seen.

        It is no public attribute of dxlclient, and a mocked DxlClient has none.
        """
        registry = getattr(self._dxl_client, "_event_callbacks", None)
        return registry if isinstance(getattr(registry, "callbacks_by_channel", None), dict) else None

    def _callbacks(self, topic: str) -> list[DxlCallback]:
        """Return all callbacks on a topic, those that were registered straight with the DxlClient, too."""
        registry = self._registry()
        # dxlclient replaces the dictionary instead of changing it, so it can be read without a lock.
        return [] if registry is None else registry.callbacks_by_channel.get(topic, [])

    def _forget(self, added: Iterable[tuple[str, DxlCallback]]) -> set[str]:
        """Remove callbacks without waiting for the broker. Return the topics that are to be settled."""
        return {topic for topic, callback in added if self._forget_one(topic, callback)}

    def _forget_one(self, topic: str, callback: DxlCallback) -> bool:
        with self._state.lock:
            for member in self._state.members:
                if (topic, callback) in member.added:
                    member.added.remove((topic, callback))
        registry = self._registry()
        if registry is None:
            self._dxl_client.remove_event_callback(topic, callback)
            return False
        # Not remove_event_callback(): while it runs, dxlclient passes over the callbacks of all filters.
        with registry.lock:
            callbacks = list(self._callbacks(topic))
            if callback not in callbacks:
                return False
            callbacks.remove(callback)
            by_topic = registry.callbacks_by_channel | {topic: callbacks}
            if not callbacks:
                del by_topic[topic]
            registry.callbacks_by_channel = by_topic
        return True

    def _settle(self, topic: str) -> None:
        """Subscribe to a topic that has callbacks, else unsubscribe from it. Waits for the broker."""
        with self._state.waiting_for_broker():
            # Under "" are the callbacks for all topics, whose subscriptions somebody made by hand.
            if not self._callbacks(topic) and not self._callbacks(""):
                self._dxl_client.unsubscribe(topic)
            # Asked again: a callback, or someone with the DxlClient, may have added one meanwhile.
            if self._callbacks(topic):
                self._dxl_client.subscribe(topic)

    def _settle_soon(self, topics: set[str]) -> None:
        """Settle topics on another thread: one at the most for each DxlClient."""
        with self._state.lock:
            self._state.unsettled |= topics
            if not self._state.unsettled or self._state.settling:
                return
            # dxlclient, when it disconnects, fails if its subscriptions change while it goes through them.
            # Before that it waits for its tasks, so this counts as one.
            tasks = getattr(getattr(self._dxl_client, "_thread_pool", None), "_tasks", None) or Queue()
            thread = threading.Thread(
                target=self._settle_all, args=[tasks], name="DxlThreatEventSubscriptions", daemon=True
            )
            thread.start()
            with tasks.all_tasks_done:
                tasks.unfinished_tasks += 1
            self._state.settling = True

    def _settle_all(self, tasks: "Queue[Any]") -> None:
        while True:
            with self._state.lock:
                if not self._state.unsettled:
                    self._state.settling = False
                    tasks.task_done()
                    return
                topic = self._state.at = self._state.unsettled.pop()
            try:
                self._settle(topic)
            except Exception:
                logger.exception("Cannot bring the subscription to %s in step with its callbacks", topic)
            with self._state.lock:
                self._state.at = None

    def _on_worker(self) -> bool:
        return self._registry() is not None and threading.current_thread().name.startswith(_WORKER_PREFIX)
