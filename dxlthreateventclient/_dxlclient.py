"""All that this library knows of dxlclient's private parts, each with the reason why it is needed.

dxlclient has no public way to see the other callbacks on a topic, a connection that was lost, or a
subscription that was acknowledged. The parts are those of dxlclient 5.7.0.1. If a ``DxlClient`` lacks one, an
error is logged that names it and says what no longer works; everything else goes on.

What the MQTT client in a ``DxlClient`` sees is in ``_mqtt.py``.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from queue import Queue
from typing import Any

from dxlclient.client import DxlClient

logger = logging.getLogger(__name__)

_KNOWN_VERSION = "5.7.0.1"
_NUMBER = (int, float)

# For each part: its attributes with their types, and what does not work without it.
_PARTS: dict[str, tuple[dict[str, Any], str]] = {
    # dxlclient unsubscribes from a topic with the first callback that leaves it, and while its own method for
    # removing runs, it passes over the callbacks of all filters. So callbacks are looked up and removed here.
    "_event_callbacks": (
        {"callbacks_by_channel": dict, "lock": AbstractContextManager},
        "callbacks that were added with DxlClient.add_event_callback() fall silent when ours leave the topic",
    ),
    # Its threads show whether anything can be delivered at all, and its queue whether the network thread
    # waits. What is put behind the queue happens when all that had arrived has been handed over.
    "_thread_pool": (
        {"_tasks": Queue, "_threads": list, "add_task": Callable},
        "a DxlClient that was destroyed, or that another process connected, is not recognized",
    ),
    # The MQTT client sees each loss of the connection and each acknowledgement; DxlClient.connected misses
    # losses that are over quickly, and DxlClient.subscribe() sends nothing for a topic that it knows.
    "_client": (
        {
            **dict.fromkeys(("_last_msg_in", "_ping_t"), _NUMBER),
            **dict.fromkeys(("_on_connect", "_on_disconnect", "_on_message"), Callable),
            **dict.fromkeys(("_on_subscribe", "_on_unsubscribe", "subscribe", "unsubscribe"), Callable),
            **dict.fromkeys(("_call_socket_register_write", "_loop_rc_handle"), Callable),
            **dict.fromkeys(("loop_misc", "loop_read", "loop_start", "loop_stop", "socket"), Callable),
            **dict.fromkeys(("connect", "reconnect", "disconnect"), Callable),
            "_thread": (threading.Thread, type(None)),
        },
        "gaps are not reported, and the status does not know the connection",
    ),
    # DxlClient.disconnect() iterates over this set without its lock, and fails if the set changes meanwhile.
    "_subscriptions": (
        {"add": Callable, "remove": Callable},
        "DxlClient.disconnect() may fail while callbacks are added or removed",
    ),
    "_subscriptions_lock": (
        {"__enter__": Callable, "__exit__": Callable},
        "DxlClient.disconnect() may fail while callbacks are added or removed",
    ),
    # Ends dxlclient's wait of up to two minutes for an acknowledgement that cannot come any more.
    "_on_packet_ack": ({}, "after some losses of the connection dxlclient waits for two minutes"),
}


class _Subscriptions(set[str]):
    """A set that may change while somebody iterates over it."""

    def __iter__(self) -> Iterator[str]:
        # Copied by one call into C, during which no other thread runs.
        return iter(frozenset(self))


class Parts:
    """The private parts of one ``DxlClient``. A part that is not there is ``None``.

    What is not a ``DxlClient``, such as a mock, may lack them all.
    """

    def __init__(self, dxl_client: DxlClient) -> None:
        self._pid = os.getpid()
        # A MagicMock(spec=DxlClient) passes isinstance().
        self.is_real = issubclass(type(dxl_client), DxlClient)
        missing: dict[str, str] = {}
        self.registry = self._part(dxl_client, "_event_callbacks", missing)
        self.pool = self._part(dxl_client, "_thread_pool", missing)
        self.mqtt = self._part(dxl_client, "_client", missing)
        subscriptions = self._part(dxl_client, "_subscriptions", missing)
        lock = self._part(dxl_client, "_subscriptions_lock", missing)
        self._subscriptions_lock = None if subscriptions is None else lock
        acknowledge = getattr(dxl_client, "_on_packet_ack", None)
        self.acknowledge: Callable[[int], object] = (
            acknowledge if self.mqtt and acknowledge else lambda _: None
        )
        if self.mqtt and not acknowledge:
            missing["_on_packet_ack"] = "_on_packet_ack"
        connected = getattr(dxl_client, "_connected", False)
        # Not the property DxlClient.connected, which waits while dxlclient subscribes.
        self.was_connected = connected is True
        if self.is_real and not self.why_dead():
            if missing:
                from importlib import metadata  # noqa: PLC0415 - it would take a third of the time of our import
            for part, name in missing.items():
                logger.error(
                    "DxlClient.%s is not as in dxlclient %s (installed: %s): %s. Everything else works."
                    " A newer version of dxlthreateventclient may know this version of dxlclient.",
                    name,
                    _KNOWN_VERSION,
                    metadata.version("dxlclient"),
                    _PARTS[part][1],
                )

    @staticmethod
    def _part(dxl_client: DxlClient, name: str, missing: dict[str, str]) -> Any:
        part = getattr(dxl_client, name, None)
        for attribute, kind in _PARTS[name][0].items():
            if not isinstance(getattr(part, attribute, ...), kind):
                missing[name] = f"{name}.{attribute}"
                return None
        return part

    @property
    def is_mock(self) -> bool:
        """Whether there is nothing of dxlclient's in it, so that it has no locks, either."""
        return self.registry is None and not self.is_real

    def callbacks(self, topic: str) -> list[Any]:
        """Return all callbacks on a topic, those that were registered with the DxlClient itself, too."""
        # dxlclient replaces the dictionary instead of changing it, so it can be read without a lock.
        return [] if self.registry is None else list(self.registry.callbacks_by_channel.get(topic, []))

    def remove_callbacks(self, topic: str, is_removed: Callable[[Any], bool]) -> None:
        """Remove callbacks from a topic, and leave the subscription alone."""
        with self.registry.lock:
            by_topic = dict(self.registry.callbacks_by_channel)
            left = [callback for callback in by_topic.pop(topic, []) if not is_removed(callback)]
            if left:
                by_topic[topic] = left
            self.registry.callbacks_by_channel = by_topic

    def why_dead(self) -> str | None:
        """Return why no event can be delivered any more, or ``None`` if events can be."""
        # Not Thread.is_alive(): up to Python 3.12, if a signal handler raises in it, it takes a living thread
        # for one that has ended.
        if self.pool is None or not set(self.pool._threads).isdisjoint(threading.enumerate()):
            return None
        if os.getpid() != self._pid:
            return "this process was forked: make and connect the DxlClient in the process that uses it"
        if self.mqtt is None or self.mqtt._userdata is None:
            return "the DxlClient was destroyed"
        return "the threads of the DxlClient have ended: was it destroyed, or did a callback of its own exit?"

    def queue_is_full(self) -> bool:
        """Return whether the network thread would have to wait for room in dxlclient's queue."""
        tasks = self.pool._tasks if self.pool else None
        return tasks is not None and 0 < tasks.maxsize <= len(tasks.queue)

    def call_behind_queue(self, call: Callable[[], None]) -> None:
        """Let a worker make a call when all that is in dxlclient's queue has been handed over.

        It waits for room in the queue. If no worker is alive, it makes the call itself.
        """
        workers = [thread for thread in self.pool._threads if thread.is_alive()] if self.pool else []
        # All workers meet: the last one may still have an earlier event.
        meeting = threading.Barrier(max(1, len(workers)), action=call)
        for _ in workers:
            self.pool.add_task(meeting.wait)
        if not workers:
            meeting.wait()

    def let_subscriptions_change(self) -> None:
        """Let ``DxlClient.disconnect()`` not fail if the subscriptions change meanwhile.

        It waits for their lock, as what changes them does. So call it just before that.
        """
        # A wrapper around the DxlClient would keep what is set.
        dxl_client = getattr(self.mqtt, "_userdata", None)
        lock = self._subscriptions_lock
        if lock and dxl_client and not isinstance(dxl_client._subscriptions, _Subscriptions):
            with lock:
                dxl_client._subscriptions = _Subscriptions(dxl_client._subscriptions)

    def hold_disconnect_back(self) -> Callable[[], object]:
        """Let ``DxlClient.disconnect()`` and ``destroy()`` wait until the returned function is called.

        They wait until all tasks in dxlclient's queue are done, so this counts as one more task. After
        destroy() the DxlClient cannot be used.
        """
        if self.pool is None:
            return lambda: None
        tasks: Queue[Any] = self.pool._tasks
        with tasks.all_tasks_done:
            tasks.unfinished_tasks += 1
        return tasks.task_done


def is_worker() -> bool:
    """Return whether this thread runs callbacks for a DxlClient: it must never wait for the broker.

    The answer comes through the network thread, which may be waiting for room in the queue that only this
    thread empties.
    """
    return threading.current_thread().name.startswith("DxlMessagePool-")


def is_teardown() -> bool:
    """Return whether this thread is the one with which dxlclient reacts to a lost connection.

    It ends the connection that the MQTT client may have restored meanwhile, in the same way as a user who
    calls ``disconnect()``: the thread's name, which Python makes of the function's, tells the two apart.
    """
    return threading.current_thread().name.endswith("(_on_disconnect_run)")
