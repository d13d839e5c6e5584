"""Decodes threat events, delivers them to callbacks, and handles failures."""

import inspect
import logging
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Literal, TypeAlias

from dxlclient.callbacks import EventCallback
from dxlclient.message import Event

from dxlthreateventclient.exceptions import ThreatEventDecodeError
from dxlthreateventclient.payload import decode_threat_event

__all__ = ["CommonThreatEventCallback", "ErrorFunction", "Predicate", "ThreatEventFunction"]

logger = logging.getLogger(__name__)

ThreatEventFunction: TypeAlias = Callable[[Any, Event], object]
"""Called with a threat event as a dictionary, and the DXL event that carried it."""

ErrorFunction: TypeAlias = Callable[[BaseException, Event], object]
"""Called with the error and the DXL event."""

Predicate: TypeAlias = Callable[[Any], object]
"""Called with a threat event as a dictionary. Returns a true value to accept the event."""

Outcome: TypeAlias = Literal["handled", "failed", "filtered"]

ASYNCHRONOUS = (
    "pass a function that hands the event to the event loop, with asyncio.run_coroutine_threadsafe(), or use"
    " client.async_threat_events()"
)
"""The advice for users who pass an asynchronous callback."""


class CommonThreatEventCallback(EventCallback):
    """Receives threat events. Subclass this class and override :meth:`on_threat_event`.

    .. code-block:: python

        class MyCallback(CommonThreatEventCallback):
            def on_threat_event(self, threat_event_dict, original_event):
                print(threat_event_dict["event"]["threatName"])

    A callback's methods run on dxlclient's worker thread, which delivers one event at a time.
    """

    def on_event(self, event: Event) -> None:
        """Decode the event and pass it to :meth:`on_threat_event`. Do not override this method.

        dxlclient calls this method, which passes every error to :meth:`on_threat_event_error` and never
        raises an exception.

        :param event: the DXL event
        """
        _deliverer_to(self)(event)

    def on_threat_event(self, threat_event_dict: Any, original_event: Event) -> None:
        """Handle a threat event. Override this method.

        :param threat_event_dict: the decoded payload, a ``dict[str, Any]``; see the page *The threat event*
            for its keys. It is typed ``Any`` so that an override can also annotate it
            as :class:`~dxlthreateventclient.threat_event.ThreatEvent`.
        :param original_event: a copy of the DXL event that carried the threat event
        :raise NotImplementedError: unless overridden
        """
        raise NotImplementedError(f"{type(self).__name__} must override on_threat_event")

    def on_threat_event_error(self, error: BaseException, original_event: Event) -> None:
        """Handle an exception from :meth:`on_threat_event` or a failure to decode an event.

        Override this method to save or report failed events. The default implementation logs an error with
        the topic, the message ID and the reason. Exceptions raised by this method are logged and do not
        affect later events or other callbacks.

        :param error: a :class:`~dxlthreateventclient.exceptions.ThreatEventDecodeError` if the payload could
            not be decoded, otherwise the exception from :meth:`on_threat_event` (including ``SystemExit``)
        :param original_event: the DXL event with the original ``payload``
        """
        log_error(error, original_event)


def deliverer(
    callback: Any, on_error: ErrorFunction | None = None, where: Predicate | None = None
) -> Callable[[Event], Outcome]:
    """Return a function that passes an event to a callback and returns the outcome.

    The returned function never raises an exception.

    :param callback: a callback object, a callback class (instantiated for each event), or a function
    :param on_error: called with the errors of a function; the default logs them
    :param where: selects the events for the callback; the default is all
    """
    if isinstance(callback, type):
        return partial(_deliver_to_new, callback, where)
    if not isinstance(callback, EventCallback):
        return partial(_deliver, callback, log_error if on_error is None else on_error, where)
    if getattr(type(callback), "on_event", None) is CommonThreatEventCallback.on_event:
        return _deliverer_to(callback, where)
    return partial(_deliver_undecoded, callback, where)


def _deliverer_to(callback: Any, where: Predicate | None = None) -> Callable[[Event], Outcome]:
    # Use lambdas to look up the callback's methods inside the try blocks of _deliver and hand_over, because
    # an attribute lookup may raise an exception.
    return partial(
        _deliver,
        lambda threat_event, event: callback.on_threat_event(threat_event, event),  # noqa: PLW0108
        lambda error, event: callback.on_threat_event_error(error, event),  # noqa: PLW0108
        where,
    )


def _deliver_to_new(callback: type[EventCallback], where: Predicate | None, event: Event) -> Outcome:
    try:
        instance = callback()
    except BaseException as error:
        hand_over(log_error, error, event)
        return "failed"
    return deliverer(instance, where=where)(event)


def _deliver(
    function: ThreatEventFunction, on_error: ErrorFunction, where: Predicate | None, event: Event
) -> Outcome:
    try:
        threat_event = decode_threat_event(event.payload)
        if where is not None and not is_wanted(where, threat_event, event):
            return "filtered"
        result = function(threat_event, event)
        if result is not None:
            _refuse_coroutine(result)
    except BaseException as error:  # SystemExit would end dxlclient's only worker thread
        hand_over(on_error, error, event)
        return "failed"
    return "handled"


def _deliver_undecoded(callback: EventCallback, where: Predicate | None, event: Event) -> Outcome:
    if where is not None:
        with suppress(ThreatEventDecodeError):  # an event that cannot be decoded is not filtered
            if not is_wanted(where, decode_threat_event(event.payload), event):
                return "filtered"
    try:
        result: object = callback.on_event(event)  # type: ignore[func-returns-value]
        if result is not None:
            _refuse_coroutine(result)
    except BaseException as error:
        hand_over(log_error, error, event)
        return "failed"
    return "handled"


def is_wanted(where: Predicate, threat_event: dict[str, Any], event: Event) -> bool:
    """Return True if a predicate accepts a threat event or raises an exception."""
    try:
        return bool(where(threat_event))
    except BaseException as error:
        _log_on_worker("Message %s on topic %s: 'where' raised, so the event is handed over", event, error)
        return True


def _refuse_coroutine(result: object) -> None:
    if inspect.iscoroutine(result):
        result.close()  # closing a coroutine prevents Python's warning that it was never awaited
    elif not inspect.isgenerator(result) and not inspect.isasyncgen(result):
        return
    raise TypeError(f"the callback returned a {type(result).__name__}, which nothing runs: {ASYNCHRONOUS}")


def log_error(error: BaseException, original_event: Event) -> None:
    """Log an error with the event's message ID and topic. If a callback raised the error, add a traceback."""
    if isinstance(error, ThreatEventDecodeError):
        _log("Message %s on topic %s was not handled: %s", original_event, shown(error))
    elif isinstance(error, Exception):
        _log("Message %s on topic %s: the callback raised", original_event, exc_info=error)
    else:
        _log(
            "Message %s on topic %s: the callback raised %s, which does not end the program,"
            " because callbacks run on a thread of dxlclient. To end it, set a threading.Event for which the"
            " main thread waits",
            original_event,
            type(error).__name__,
            exc_info=error,
        )


def hand_over(hook: ErrorFunction, error: BaseException, original_event: Event) -> None:
    """Call an error hook with an error and the event that caused it.

    If the error hook raises an exception, log it together with the original error. This function never
    raises an exception.
    """
    try:
        result = hook(error, original_event)
        if result is not None:
            _refuse_coroutine(result)
    except BaseException as hook_error:  # SystemExit would end dxlclient's only worker thread
        if hook_error is not error:
            # Show the original error in the traceback, even if the error hook uses "raise ... from None".
            hook_error.__suppress_context__ = False
        _log_on_worker("Message %s on topic %s: the error hook raised, too", original_event, hook_error)


def _log(message: str, event: Event, *details: str, exc_info: BaseException | None = None) -> None:
    logger.error(
        message, shown(event.message_id), shown(event.destination_topic), *details, exc_info=exc_info
    )


def _log_on_worker(message: str, event: Event, error: BaseException) -> None:
    try:
        _log(message, event, exc_info=error)
    except BaseException:
        # An exception in a logging handler must not end dxlclient's only worker thread.
        with suppress(BaseException):
            traceback.print_exception(error)


def shown(text: object) -> str:
    """Escape text so that it cannot inject log lines or terminal control codes.

    The sender chooses message IDs and topics, which can therefore contain any characters.
    """
    plain = str(text)
    return plain if plain.isprintable() else repr(plain)[1:-1]
