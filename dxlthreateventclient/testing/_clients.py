"""Connects the pytest fixtures' clients and publishes events to them."""

import contextlib
import queue
import threading
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.exceptions import DxlException
from dxlclient.message import Event

from dxlthreateventclient.testing.events import publish_threat_event, sample_threat_event
from dxlthreateventclient.testing.fabric import LocalFabric

_PING_INTERVAL = 0.1
_DESTROY_TIMEOUT = 5.0


class FixtureClients:
    """Connects and destroys clients, and publishes events to them from a separate client.

    By default, dxlclient handles messages on one thread, in order of arrival. To detect when an event has
    been handled, ``FixtureClients`` publishes a marker after it and waits for the marker to arrive.

    :param fabric: the fabric for the clients
    """

    def __init__(self, fabric: LocalFabric) -> None:
        self._fabric = fabric
        self._markers: WeakKeyDictionary[DxlClient, _Markers] = WeakKeyDictionary()
        self._publisher = self.connect()

    def connect(self) -> DxlClient:
        """Return a new, connected client."""
        self._fabric.thaw()  # a test may have left the fabric frozen
        config = self._fabric.client_config()
        config.reconnect_delay = 0.1
        dxl_client = DxlClient(config)
        dxl_client.connect()
        self._markers_of(dxl_client)
        return dxl_client

    def destroy(self, dxl_client: DxlClient | None = None) -> None:
        """Destroy a client, or the publisher if no client is given."""
        dxl_client = dxl_client or self._publisher
        self._fabric.thaw()
        # If a client is destroyed while reconnecting, dxlclient prints tracebacks.
        self._reach(dxl_client, time.monotonic() + _DESTROY_TIMEOUT)
        # Use a daemon thread, because destroy() waits forever for a callback that never returns.
        destroying = threading.Thread(target=dxl_client.destroy, daemon=True)
        destroying.start()
        deadline = time.monotonic() + _DESTROY_TIMEOUT
        while destroying.is_alive() and time.monotonic() < deadline:
            # Once a second and after each message, dxlclient's network thread checks whether to stop.
            with contextlib.suppress(AttributeError):  # The client has been destroyed.
                dxl_client.send_event(Event("/dxlthreateventclient/testing/end"))
            destroying.join(0.005)

    def publish(
        self, dxl_client: DxlClient, threat_event: Mapping[str, Any] | None, topic: str, timeout: float
    ) -> Event:
        """Publish a threat event and return when a client's callbacks have handled it."""
        deadline = time.monotonic() + timeout
        event = None
        while event is None:
            # The event would be lost if the client had not yet noticed a connection failure.
            if not self._reach(dxl_client, deadline):
                raise TimeoutError(
                    f"nothing reached the client within {timeout:g} seconds: it is not connected, or its"
                    " worker thread is held up by a callback or by a full stream"
                )
            # After connecting, dxlclient holds a lock until it has subscribed to all topics. Read this
            # property to wait for the lock.
            _ = dxl_client.subscriptions
            # After a connection loss, dxlclient closes the connection that its MQTT client has restored.
            with contextlib.suppress(DxlException):
                event = publish_threat_event(
                    self._publisher, sample_threat_event() if threat_event is None else threat_event, topic
                )
        if not self._marker_arrives(self._markers_of(dxl_client), deadline):
            raise TimeoutError(
                f"the event was not handled within {timeout:g} seconds: its connection was lost, or its"
                " worker thread is held up by a callback or by a full stream"
            )
        return event

    def _reach(self, dxl_client: DxlClient, deadline: float) -> bool:
        markers = self._markers_of(dxl_client)
        while time.monotonic() < deadline:
            if self._marker_arrives(markers, min(deadline, time.monotonic() + _PING_INTERVAL)):
                return True
        return False

    def _markers_of(self, dxl_client: DxlClient) -> "_Markers":
        if dxl_client not in self._markers:
            self._markers[dxl_client] = markers = _Markers()
            dxl_client.add_event_callback(markers.topic, markers)
        return self._markers[dxl_client]

    def _marker_arrives(self, markers: "_Markers", deadline: float) -> bool:
        marker = Event(markers.topic)
        self._publisher.send_event(marker)
        while True:
            try:
                arrived = markers.arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return False
            if arrived == marker.message_id:
                return True


class _Markers(EventCallback):
    """Records the markers that one client receives."""

    def __init__(self) -> None:
        super().__init__()
        self.topic = f"/dxlthreateventclient/testing/{uuid4()}"
        self.arrived: queue.SimpleQueue[str] = queue.SimpleQueue()

    def on_event(self, event: Event) -> None:
        self.arrived.put(event.message_id)
