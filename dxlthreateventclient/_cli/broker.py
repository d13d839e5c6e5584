"""Sends echo messages, and closes a DXL client within a time limit.

Use ``connect()`` in ``connection.py`` to connect the client.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig
from dxlclient.exceptions import DxlException
from dxlclient.message import Event

from dxlthreateventclient._cli.terminal import CommandError, log

# All times are in seconds.
_CLOSE_WITHIN = 0.2
_CHECK_EVERY = 0.1
_ECHO_WITHIN = 30.0


@contextmanager
def closing_client(config: DxlClientConfig) -> Iterator[DxlClient]:
    """Create an unconnected client and close it at the end of the ``with`` block.

    :raise CommandError: if the client cannot be created
    """
    try:
        client = DxlClient(config)
    except Exception as error:  # dxlclient raises various exceptions
        raise CommandError(f"cannot create a DXL client from the configuration: {error}", status=2) from error
    log.is_in_use = True
    try:
        yield client
    finally:
        log.is_in_use = False
        # Do not wait for destroy() to release all resources, because the operating system releases them when
        # the process exits.
        close_in_time(client.destroy, _CLOSE_WITHIN)


def close_in_time(close: Callable[[], object], seconds: float) -> None:
    """Call ``close`` and return after at most ``seconds`` seconds.

    If the broker is unreachable, ``close`` can take minutes.
    """
    closing = threading.Thread(target=close, daemon=True)
    closing.start()
    closing.join(seconds)


class Echo(EventCallback):
    """Sends echo messages from a client to itself.

    Once an echo message has come back, the broker has received all messages that the client sent before it.

    :param client: the unconnected client. Its connect() then includes this subscription in its time limit.
    """

    def __init__(self, client: DxlClient) -> None:
        super().__init__()
        self._client = client
        self._topic = f"/dxlthreateventclient/echo/{uuid4()}"
        self._back: queue.SimpleQueue[str] = queue.SimpleQueue()
        client.add_event_callback(self._topic, self)

    def on_event(self, event: Event) -> None:
        """Record a returned message. Called by dxlclient."""
        self._back.put(event.message_id)

    def wait(self) -> float:
        """Send an echo message and wait for it to come back.

        :return: the time until the message returned, in seconds
        :raise DxlException: if the connection is lost, or the message does not return
        """
        sent = Event(self._topic)
        started = time.monotonic()
        self._client.send_event(sent)
        while time.monotonic() - started < _ECHO_WITHIN:
            try:
                if self._back.get(timeout=_CHECK_EVERY) == sent.message_id:
                    return time.monotonic() - started
            except queue.Empty:
                if not self._client.connected:
                    raise DxlException("the connection to the broker was lost") from None
        what = f"does the fabric let this client send and receive on {self._topic}?"
        raise DxlException(f"no message came back within {_ECHO_WITHIN:.0f} seconds; {what}")
