"""A message to oneself: when it is back, the broker has had all that was sent before it."""

import queue
import time
from uuid import uuid4

from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.exceptions import DxlException
from dxlclient.message import Event

_TIMEOUT = 30.0
_LOOK_EVERY = 0.2


class Echo(EventCallback):
    """Sends messages to itself, on a topic that nobody else knows.

    :param client: the client, not yet connected: connecting then subscribes too, and has a time limit
    """

    def __init__(self, client: DxlClient) -> None:
        super().__init__()
        self._client = client
        self._topic = f"/dxlthreateventclient/echo/{uuid4()}"
        self._back: queue.SimpleQueue[str] = queue.SimpleQueue()
        client.add_event_callback(self._topic, self)

    def on_event(self, event: Event) -> None:
        """Take note that a message is back. Called by dxlclient."""
        self._back.put(event.message_id)

    def wait(self) -> float:
        """Send a message, and wait until it is back.

        :return: how many seconds that took
        :raise DxlException: if the connection is lost, or the message does not come
        """
        sent = Event(self._topic)
        started = time.monotonic()
        self._client.send_event(sent)
        while True:
            try:
                if self._back.get(timeout=_LOOK_EVERY) == sent.message_id:
                    return time.monotonic() - started
            except queue.Empty:
                if not self._client.connected:
                    raise DxlException("the connection to the broker was lost") from None
                if time.monotonic() - started > _TIMEOUT:
                    raise DxlException(
                        f"no message came back within {_TIMEOUT:.0f} seconds; does the fabric let this client"
                        f" send and receive on {self._topic}?"
                    ) from None
