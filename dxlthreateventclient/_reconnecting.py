"""What goes wrong when dxlclient restores a lost connection, and is put right here.

After a loss both the MQTT client and a thread of dxlclient connect again, and that thread first ends what the
MQTT client has restored. After two losses in quick succession two such threads get in each other's way.

What becomes of the subscriptions is in ``_feed.py``.
"""

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from dxlthreateventclient._dxlclient import is_teardown

logger = logging.getLogger(__name__)

# What the MQTT client returns if there is no connection to end.
_NO_CONNECTION = 4


class Reconnecting:
    """Lets the threads of one ``DxlClient`` that end and restore its connection do no harm.

    :param mqtt: the MQTT client in it
    :param lose: called with ``is_wanted=False`` when a connection is replaced that nobody has reported lost
    :param is_connected: whether it is connected now
    """

    def __init__(self, mqtt: Any, lose: Callable[..., object], *, is_connected: bool) -> None:
        self.is_connected = is_connected
        """Whether a broker has accepted the connection. Whoever sees that, or its end, sets this."""
        self.is_end_wanted = True
        """Whether the user has ended the last connection that was ended, and not dxlclient itself."""
        self._mqtt = mqtt
        self._lose = lose
        self._loop_lock = threading.Lock()
        mqtt.connect = partial(self._connect, mqtt.connect)
        mqtt.reconnect = partial(self._reconnect, mqtt.reconnect)
        mqtt.disconnect = partial(self._disconnect, mqtt.disconnect)
        mqtt.loop_start = partial(self._loop_start, mqtt.loop_start)
        mqtt.loop_stop = partial(self._loop_stop, mqtt.loop_stop)

    def _connect(self, connect: Callable[..., int], *arguments: object, **options: object) -> int:
        works = self.is_connected and self._mqtt.socket() and self._has_network_thread()
        if works and self._dxlclient_is_connected():
            # The second thread would replace a connection that works, and nobody would hear of that loss.
            return 0
        return connect(*arguments, **options)

    def _reconnect(self, reconnect: Callable[[], int]) -> int:
        if self.is_connected:
            try:
                self._lose(is_wanted=False)
            except Exception:  # it would end the network thread
                logger.exception("Cannot report that the connection was lost")
        return reconnect()

    def _disconnect(self, disconnect: Callable[[], int]) -> int:
        # Noted here, because the network thread may be the one that sends it.
        self.is_end_wanted = not is_teardown()
        result = disconnect()
        if result == _NO_CONNECTION and self._dxlclient_is_connected():
            # dxlclient would wait for an end that does not come, and then not connect again.
            self._mqtt._on_disconnect(self._mqtt, self._mqtt._userdata, 0)
        return result

    # One at a time: a network thread that is started while another is stopped could end at once.

    def _loop_start(self, loop_start: Callable[[], object]) -> object:
        with self._loop_lock:
            if not self._has_network_thread():
                # One that has ended by itself keeps the MQTT client from starting another.
                self._mqtt._thread = None
            return loop_start()

    def _loop_stop(self, loop_stop: Callable[[], object]) -> object:
        with self._loop_lock:
            return loop_stop()

    def _has_network_thread(self) -> bool:
        # Not Thread.is_alive(), for the reason that Parts.why_dead() gives.
        return self._mqtt._thread in threading.enumerate()

    def _dxlclient_is_connected(self) -> bool:
        """Return whether dxlclient believes so."""
        return bool(getattr(getattr(self._mqtt, "_userdata", None), "_connected", False))
