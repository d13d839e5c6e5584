"""Which callback listens on which topic."""

import inspect
from collections.abc import Callable
from types import TracebackType
from typing import TypeAlias

from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.message import Event

from dxlthreateventclient import other_data
from dxlthreateventclient._subscriptions import DxlCallback, Subscriptions, check_topic
from dxlthreateventclient.callbacks import ErrorFunction, FunctionCallback, ThreatEventFunction
from dxlthreateventclient.exceptions import ThreatEventDecodeError
from dxlthreateventclient.stream import ThreatEventStream

EPO_THREAT_EVENT_RESPONSE_TOPIC = "/mcafee/event/epo/threat/response"
"""The topic on which ePO's automatic response *Send DXL Threat Event* publishes."""

ThreatEventCallback: TypeAlias = DxlCallback | ThreatEventFunction


class CommonThreatEventClient:
    """Subscribes callbacks to the threat events that ePO publishes.

    .. code-block:: python

        with DxlClient(config) as dxl_client:
            dxl_client.connect()
            with CommonThreatEventClient(dxl_client) as client:
                client.add_epo_threat_event_response_callback(MyCallback())

    Leaving the ``with`` block removes what was added through this client, and through no other client of the
    same ``DxlClient``. All methods may be called from any thread, inside a callback too: there they take
    effect for the next event, and do not wait for the broker. To replace the last callback on a topic without
    a gap, add the new one before you remove the old one.

    :param dxl_client: the DXL client to receive with. It stays the caller's, who connects and destroys it;
        callbacks may be added before it connects.
    :raise TypeError: if it is no DXL client
    """

    def __init__(self, dxl_client: DxlClient) -> None:
        if isinstance(dxl_client, type) or not hasattr(dxl_client, "add_event_callback"):
            raise TypeError(
                f"{dxl_client!r} is no DXL client: pass an instance of dxlclient.client.DxlClient"
            )
        self._subscriptions = Subscriptions(dxl_client)

    def __enter__(self) -> "CommonThreatEventClient":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        added = self._subscriptions.take_added()
        for _, callback in added:
            if isinstance(callback, ThreatEventStream):
                callback.close()
        self._subscriptions.remove(added)

    def add_epo_threat_event_response_callback(
        self, threat_event_callback: ThreatEventCallback, *, on_error: ErrorFunction | None = None
    ) -> None:
        """Add a callback for the threat events of ePO's automatic response.

        :param threat_event_callback: see :meth:`add_threat_event_callback`
        :param on_error: see :meth:`add_threat_event_callback`
        :raise TypeError: if it is no callback
        """
        self.add_threat_event_callback(threat_event_callback, on_error=on_error)

    def remove_epo_threat_event_response_callback(self, threat_event_callback: ThreatEventCallback) -> None:
        """Remove a callback that :meth:`add_epo_threat_event_response_callback` added.

        :param threat_event_callback: the callback that was added; one that is not there is no error
        :raise TypeError: if it is no callback
        """
        self.remove_threat_event_callback(threat_event_callback)

    def add_threat_event_callback(
        self,
        threat_event_callback: ThreatEventCallback,
        topic: str = EPO_THREAT_EVENT_RESPONSE_TOPIC,
        *,
        on_error: ErrorFunction | None = None,
    ) -> None:
        """Add a callback for the threat events on a topic. Adding it twice is adding it once.

        :param threat_event_callback: an instance of a subclass of
            :class:`~dxlthreateventclient.callbacks.CommonThreatEventCallback` (or of any ``EventCallback``),
            or such a class, of which dxlclient then makes a new instance for each event, or a function that
            is called with the threat event as a dictionary and the DXL event
        :param topic: the topic, or a filter that ends in ``/#``
        :param on_error: for a function only: called with the error and the DXL event where the payload could
            not be decoded or the function raised; the default logs an error
        :raise TypeError: if it is no callback, or if it is asynchronous
        :raise ValueError: if no event could arrive under this topic
        :raise dxlclient.exceptions.WaitTimeoutException: if the broker does not answer within two minutes;
            the callback is not added, then
        """
        callback = _callback(threat_event_callback, on_error)
        check_topic(topic)
        self._subscriptions.add(topic, callback)

    def remove_threat_event_callback(
        self, threat_event_callback: ThreatEventCallback, topic: str = EPO_THREAT_EVENT_RESPONSE_TOPIC
    ) -> None:
        """Remove a callback that :meth:`add_threat_event_callback` added. Others on the topic stay.

        :param threat_event_callback: the callback that was added, through whichever client; one that is not
            there is no error
        :param topic: the topic it was added for
        :raise TypeError: if it is no callback
        :raise dxlclient.exceptions.WaitTimeoutException: if the broker does not answer within two minutes
        """
        self._subscriptions.remove([(topic, _callback(threat_event_callback))])

    def threat_events(
        self,
        topic: str = EPO_THREAT_EVENT_RESPONSE_TOPIC,
        *,
        max_buffered: int = 10_000,
        on_error: Callable[[ThreatEventDecodeError, Event], object] | None = None,
    ) -> ThreatEventStream:
        """Return the threat events on a topic as a stream, for a ``for`` loop on the caller's own thread.

        .. code-block:: python

            with client.threat_events() as events:
                for threat_event, original_event in events:
                    print(threat_event["event"]["threatName"])
                    break

        The stream listens from the start of its ``with`` block to the end.

        :param topic: the topic, or a filter that ends in ``/#``
        :param max_buffered: how many events wait in memory until the loop takes them. When there are as many,
            dxlclient waits, and so in the end does the broker; only while this library waits for the
            broker's answer, there may be more.
        :param on_error: called, on the thread of the loop, with the error and the DXL event where a payload
            could not be decoded; what it raises comes out of the loop; the default logs an error
        :raise TypeError: if ``on_error`` is no function, or is asynchronous
        :raise ValueError: if no event could arrive under this topic, or nothing could be buffered
        """
        check_topic(topic)
        _check_function(on_error)
        return ThreatEventStream(self._subscriptions, topic, max_buffered=max_buffered, on_error=on_error)

    convert_aggregate_fields = staticmethod(other_data.convert_aggregate_fields)
    create_dict_from_aggregate_listOf = staticmethod(other_data.create_dict_from_aggregate_listOf)
    create_set_from_aggregate_setOf = staticmethod(other_data.create_set_from_aggregate_setOf)


def _callback(
    threat_event_callback: ThreatEventCallback, on_error: ErrorFunction | None = None
) -> DxlCallback:
    """Return what dxlclient is given: an EventCallback as it is, a function in a FunctionCallback."""
    if isinstance(threat_event_callback, EventCallback) or (
        isinstance(threat_event_callback, type) and issubclass(threat_event_callback, EventCallback)
    ):
        if on_error is not None:
            raise TypeError("on_error goes with a function: override on_threat_event_error of the callback")
        for method in ("on_threat_event", "on_threat_event_error"):
            _check_function(getattr(threat_event_callback, method, None))
        return threat_event_callback
    if isinstance(threat_event_callback, type) or not callable(threat_event_callback):
        raise TypeError(
            f"{threat_event_callback!r} is no callback: pass an instance of a subclass of"
            " CommonThreatEventCallback, or a function"
        )
    _check_function(threat_event_callback)
    _check_function(on_error)
    return FunctionCallback(threat_event_callback, on_error)


def _check_function(function: Callable[..., object] | None) -> None:
    if function is None:
        return
    if not callable(function):
        raise TypeError(f"{function!r} is no function")
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        raise TypeError(
            f"{function!r} is asynchronous, and nothing would await it: pass a function that hands the event"
            " to the event loop, with asyncio.run_coroutine_threadsafe()"
        )
