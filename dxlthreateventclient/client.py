"""Adds and removes threat event callbacks, and opens streams of threat events."""

import inspect
import logging
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TypeAlias

from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.message import Event

from dxlthreateventclient import other_data
from dxlthreateventclient._feed.clients import Member
from dxlthreateventclient._feed.gaps import log_gap
from dxlthreateventclient._feed.routing import Route, check_topic, log_passed_over
from dxlthreateventclient.callbacks import (
    ASYNCHRONOUS,
    ErrorFunction,
    Predicate,
    ThreatEventFunction,
    deliverer,
)
from dxlthreateventclient.exceptions import ThreatEventDecodeError
from dxlthreateventclient.status import FeedStatus, Gap
from dxlthreateventclient.streams import AsyncThreatEventStream, Stream, ThreatEventStream

logger = logging.getLogger(__name__)

EPO_THREAT_EVENT_RESPONSE_TOPIC = "/mcafee/event/epo/threat/response"
"""The topic on which ePO's automatic response *Send DXL Threat Event* publishes."""

ThreatEventCallback: TypeAlias = EventCallback | type[EventCallback] | ThreatEventFunction


class CommonThreatEventClient:
    """Subscribes callbacks to the threat events that ePO publishes.

    .. code-block:: python

        with DxlClient(config) as dxl_client:
            connect(dxl_client)
            with CommonThreatEventClient(dxl_client) as client:
                client.add_epo_threat_event_response_callback(MyCallback())

    Leaving the ``with`` block removes all of this client's callbacks and streams, except callbacks that
    another client of the same ``DxlClient`` has also added. All methods can be called from any thread. When a
    callback adds or removes callbacks, the client does not wait for the broker. An added callback receives
    the next event, and a removed callback receives no further events. To replace the last callback on a topic
    without a gap, add the new callback before removing the old one.

    :param dxl_client: the DXL client that receives the events. The caller connects and destroys it. Callbacks
        can be added before it is connected.
    :param on_gap: called with a :class:`~dxlthreateventclient.status.Gap` when events may be missing, and
        again when the gap ends. Runs on a separate thread; its exceptions are logged. The default logs a
        warning each time.
    :raise TypeError: if ``dxl_client`` is not a DXL client, or ``on_gap`` is not a function
    """

    def __init__(self, dxl_client: DxlClient, on_gap: Callable[[Gap], object] | None = None) -> None:
        if isinstance(dxl_client, type) or not hasattr(dxl_client, "add_event_callback"):
            raise TypeError(
                f"dxl_client must be an instance of dxlclient.client.DxlClient, got {dxl_client!r}"
            )
        _check_function("on_gap", on_gap)
        self._member = Member(dxl_client, log_gap if on_gap is None else on_gap)

    def __enter__(self) -> "CommonThreatEventClient":
        self._member.is_closed = False
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove all of this client's callbacks and streams.

        The client calls ``close()`` automatically at the end of its ``with`` block. This method can be called
        more than once. If a signal handler raises an exception just as a ``with`` block begins or ends,
        Python may skip the cleanup. A program whose signal handlers raise exceptions should call this method
        at exit.
        """
        for stream in self._streams():
            stream.close()
        self._member.close()

    def status(self) -> FeedStatus:
        """Return the feed's current state.

        This method never waits and can be called from any thread at any time.
        """
        member, streams = self._member, self._streams()
        counts, last = member.counts, member.last_event_at
        gap, gaps, gap_seconds = member.listener.state
        now = datetime.now(timezone.utc)
        topics = {route.topic for route in member.routes}
        is_connected = member.feed.is_connected
        return FeedStatus(
            connected=is_connected,
            # The feed thread detects a lost connection after a short delay.
            subscribed=tuple(sorted(member.feed.acknowledged & topics)) if is_connected else (),
            open_gap=gap,
            gaps=gaps,
            gap_seconds=gap_seconds + (max(0.0, (now - gap.start).total_seconds()) if gap else 0.0),
            delivered=counts["handled"] + counts["failed"] + counts["filtered"],
            failed=counts["failed"],
            filtered=counts["filtered"],
            dropped=counts["dropped"],
            buffered=sum(stream.buffered for stream in streams),
            buffered_max=max((stream.buffered_max for stream in streams), default=0),
            last_event_at=None if last is None else datetime.fromtimestamp(last, timezone.utc),
        )

    def add_epo_threat_event_response_callback(
        self, threat_event_callback: ThreatEventCallback, *, on_error: ErrorFunction | None = None
    ) -> None:
        """Add a callback for the threat events that ePO's automatic response publishes.

        :param threat_event_callback: see :meth:`add_threat_event_callback`
        :param on_error: see :meth:`add_threat_event_callback`
        :raise TypeError: if an argument has the wrong type, or a function is asynchronous
        """
        self.add_threat_event_callback(threat_event_callback, on_error=on_error)

    def remove_epo_threat_event_response_callback(self, threat_event_callback: ThreatEventCallback) -> None:
        """Remove a callback added by :meth:`add_epo_threat_event_response_callback`.

        :param threat_event_callback: the callback to remove; unknown callbacks are ignored
        :raise TypeError: if the argument is not a callback
        """
        self.remove_threat_event_callback(threat_event_callback)

    def add_threat_event_callback(
        self,
        threat_event_callback: ThreatEventCallback,
        topic: str = EPO_THREAT_EVENT_RESPONSE_TOPIC,
        *,
        on_error: ErrorFunction | None = None,
        where: Predicate | None = None,
    ) -> None:
        """Add a callback for the threat events on a topic. Adding the same callback again has no effect.

        :param threat_event_callback: an instance of a subclass of
            :class:`~dxlthreateventclient.callbacks.CommonThreatEventCallback` (or of any ``EventCallback``),
            such a class (instantiated for each event), or a function that takes the threat event as a
            dictionary and the DXL event
        :param topic: the topic, or a filter that ends in ``/#``
        :param on_error: for a function only: called with the error and the DXL event if the payload could not
            be decoded or the function raised; the default logs an error
        :param where: called with each threat event as a dictionary. If it returns a false value, the callback
            does not receive the event. If it raises an exception, the exception is logged, and the callback
            receives the event.
        :raise TypeError: if an argument has the wrong type, or a function is asynchronous
        :raise ValueError: if no event could match this topic
        :raise RuntimeError: if the client is closed, or its ``DxlClient`` can no longer deliver events
            because it was destroyed, or was connected before this process was forked
        :raise dxlclient.exceptions.WaitTimeoutException: if the broker does not answer within two minutes.
            The callback is then not added.
        """
        _check_callback(threat_event_callback)
        if on_error is not None and _is_callback_object(threat_event_callback):
            raise TypeError("on_error is for functions: override the callback's on_threat_event_error")
        _check_function("on_error", on_error)
        _check_function("where", where)
        check_topic(topic)
        self._member.add(
            Route(
                topic,
                threat_event_callback,
                deliverer(threat_event_callback, on_error, where),
                log_passed_over,
            )
        )

    def remove_threat_event_callback(
        self, threat_event_callback: ThreatEventCallback, topic: str = EPO_THREAT_EVENT_RESPONSE_TOPIC
    ) -> None:
        """Remove a callback added by :meth:`add_threat_event_callback`.

        :param threat_event_callback: the callback to remove, whichever client added it; unknown callbacks are
            ignored
        :param topic: the topic for which the callback was added
        :raise TypeError: if the first argument is not a callback
        """
        _check_callback(threat_event_callback)
        self._member.remove(topic, threat_event_callback)

    def threat_events(
        self,
        topic: str = EPO_THREAT_EVENT_RESPONSE_TOPIC,
        *,
        max_buffered: int = 10_000,
        on_error: Callable[[ThreatEventDecodeError, Event], object] | None = None,
        where: Predicate | None = None,
    ) -> ThreatEventStream:
        """Return a stream of the threat events on a topic, for use in a ``for`` loop on the caller's thread.

        .. code-block:: python

            with client.threat_events() as events:
                for threat_event, original_event in events:
                    print(threat_event["event"]["threatName"])
                    break

        The stream is subscribed for the duration of its ``with`` block. At the end of the ``with`` block, the
        stream waits up to one second for events that the broker has already sent, and counts them as dropped.

        :param topic: the topic, or a filter that ends in ``/#``
        :param max_buffered: the maximum number of events waiting in memory for the loop. When the buffer
            is full, dxlclient stops reading, and eventually the broker stops sending. The buffer may
            exceed the limit only while this library waits for an answer from the broker.
        :param on_error: called on the thread of the loop with the error and the DXL event if a payload could
            not be decoded. Its exceptions propagate out of the loop. The default logs an error.
        :param where: see :meth:`add_threat_event_callback`; called on dxlclient's worker thread
        :raise TypeError: if ``on_error`` or ``where`` is not a function, or is asynchronous
        :raise ValueError: if no event could match this topic, or ``max_buffered`` is not a positive integer
        """
        _check_stream(topic, on_error, where)
        return ThreatEventStream(
            self._member, topic, max_buffered=max_buffered, on_error=on_error, where=where
        )

    def async_threat_events(
        self,
        topic: str = EPO_THREAT_EVENT_RESPONSE_TOPIC,
        *,
        max_buffered: int = 10_000,
        on_error: Callable[[ThreatEventDecodeError, Event], object] | None = None,
        where: Predicate | None = None,
    ) -> AsyncThreatEventStream:
        """Return a stream of the threat events on a topic, for use in an ``async for`` loop.

        .. code-block:: python

            import asyncio

            async def main():
                async with client.async_threat_events() as events:
                    async for threat_event, original_event in events:
                        print(threat_event["event"]["threatName"])
                        break

            asyncio.run(main())

        :param topic: see :meth:`threat_events`, which also explains the other parameters and exceptions
        :param max_buffered: the maximum number of events waiting in memory for the loop
        :param on_error: called on the event loop; not asynchronous
        :param where: called on dxlclient's worker thread; not asynchronous
        """
        _check_stream(topic, on_error, where)
        return AsyncThreatEventStream(
            self._member, topic, max_buffered=max_buffered, on_error=on_error, where=where
        )

    convert_aggregate_fields = staticmethod(other_data.convert_aggregate_fields)
    create_dict_from_aggregate_listOf = staticmethod(other_data.create_dict_from_aggregate_listOf)
    create_set_from_aggregate_setOf = staticmethod(other_data.create_set_from_aggregate_setOf)

    def _streams(self) -> list[Stream]:
        return [route.callback for route in self._member.routes if isinstance(route.callback, Stream)]


def _is_callback_object(callback: object) -> bool:
    return isinstance(callback, EventCallback) or (
        isinstance(callback, type) and issubclass(callback, EventCallback)
    )


def _check_callback(callback: object) -> None:
    if _is_callback_object(callback):
        for method in ("on_event", "on_threat_event", "on_threat_event_error"):
            # Inspect the callback's class, because reading a property of the callback itself might raise an
            # exception.
            _check_function(
                method, getattr(callback if isinstance(callback, type) else type(callback), method, None)
            )
    elif isinstance(callback, type) or not callable(callback):
        raise TypeError(
            "callback must be an instance of a subclass of CommonThreatEventCallback or a function,"
            f" got {callback!r}"
        )
    else:
        _check_function("callback", callback)


def _check_stream(topic: str, on_error: object, where: object) -> None:
    check_topic(topic)
    _check_function("on_error", on_error)
    _check_function("where", where)


def _check_function(name: str, function: object) -> None:
    if function is None or isinstance(function, property):
        return
    if not callable(function):
        raise TypeError(f"{name} must be a function, got {function!r}")
    for candidate in (function, type(function).__call__):
        if (
            inspect.iscoroutinefunction(candidate)
            or inspect.isgeneratorfunction(candidate)
            or inspect.isasyncgenfunction(candidate)
        ):
            raise TypeError(
                f"{name} must not be asynchronous or a generator, got {function!r}: {ASYNCHRONOUS}"
            )
