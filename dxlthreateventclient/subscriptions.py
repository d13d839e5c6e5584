"""Keeps the topics that a DxlClient is subscribed to in step with its callbacks.

dxlclient unsubscribes from a topic with the first callback that leaves it. And where a callback adds or
removes one, dxlclient waits for the broker on the worker thread that runs the callback: while its queue of
incoming messages is full the answer cannot arrive, since only that worker makes room.
"""

import logging
import threading
from collections.abc import Iterable
from typing import TypeAlias
from weakref import WeakKeyDictionary

from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient

logger = logging.getLogger(__name__)

DxlCallback: TypeAlias = EventCallback | type[EventCallback]

# How dxlclient names the worker threads that run callbacks.
_WORKER_PREFIX = "DxlMessagePool-"


class _State:
    """What all instances of Subscriptions for one DxlClient share."""

    def __init__(self) -> None:
        # Held while the broker is waited for, and so never taken by a worker.
        self.broker = threading.Lock()
        # Guards the two below; held for a moment only.
        self.lock = threading.Lock()
        self.unsettled: set[str] = set()
        self.settling = False


_states: "WeakKeyDictionary[DxlClient, _State]" = WeakKeyDictionary()
_states_lock = threading.Lock()


class Subscriptions:
    """The callbacks and subscriptions of a DxlClient."""

    def __init__(self, dxl_client: DxlClient) -> None:
        self._dxl_client = dxl_client
        with _states_lock:
            self._state = _states.setdefault(dxl_client, _State())

    def add(self, topic: str, callback: DxlCallback) -> bool:
        """Add a callback to a topic and subscribe to it. Return whether the callback is new there."""
        is_new = callback not in (self._callbacks(topic) or ())
        if _on_worker():
            self._dxl_client.add_event_callback(topic, callback, subscribe_to_topic=False)
            self._settle_soon({topic})
        else:
            with self._state.broker:
                self._dxl_client.add_event_callback(topic, callback)
        return is_new

    def remove(self, added: Iterable[tuple[str, DxlCallback]]) -> None:
        """Remove callbacks from topics, and unsubscribe from those that have none left.

        All callbacks are removed before the broker is waited for: what is queued for them is then passed over
        quickly, and the broker's answer comes through.
        """
        topics = {topic for topic, callback in added if self._forget(topic, callback)}
        if _on_worker():
            self._settle_soon(topics)
        else:
            for topic in topics:
                self._settle(topic)

    def _callbacks(self, topic: str) -> list[DxlCallback] | None:
        """Return all callbacks on a topic, or None where dxlclient does not let them be seen.

        That includes those that were registered straight with the DxlClient. It is no public attribute of
        dxlclient, and a mocked DxlClient has none.
        """
        by_topic = getattr(getattr(self._dxl_client, "_event_callbacks", None), "callbacks_by_channel", None)
        # dxlclient replaces the dictionary instead of changing it, so it can be read without a lock.
        return by_topic.get(topic, []) if isinstance(by_topic, dict) else None

    def _forget(self, topic: str, callback: DxlCallback) -> bool:
        """Remove a callback without waiting for the broker. Return whether its topic is to be settled."""
        callbacks = self._callbacks(topic)
        if callbacks is None:
            self._dxl_client.remove_event_callback(topic, callback)
            return False
        if callback not in callbacks:
            return False
        self._dxl_client.remove_event_callback(topic, callback, unsubscribe_from_topic=False)
        return True

    def _settle(self, topic: str) -> None:
        """Subscribe to a topic that has callbacks, else unsubscribe from it. Waits for the broker."""
        with self._state.broker:
            if not self._callbacks(topic):
                self._dxl_client.unsubscribe(topic)
            # Asked again: a callback, or someone with the DxlClient, may have added one meanwhile.
            if self._callbacks(topic):
                self._dxl_client.subscribe(topic)

    def _settle_soon(self, topics: set[str]) -> None:
        """Settle topics on another thread: one at the most for each DxlClient."""
        with self._state.lock:
            self._state.unsettled |= topics
            if self._state.settling or not self._state.unsettled:
                return
            self._state.settling = True
        threading.Thread(target=self._settle_all, name="DxlThreatEventSubscriptions", daemon=True).start()

    def _settle_all(self) -> None:
        while True:
            with self._state.lock:
                if not self._state.unsettled:
                    self._state.settling = False
                    return
                topic = self._state.unsettled.pop()
            try:
                self._settle(topic)
            except Exception:
                logger.exception("Cannot bring the subscription to %s in step with its callbacks", topic)


def _on_worker() -> bool:
    return threading.current_thread().name.startswith(_WORKER_PREFIX)
