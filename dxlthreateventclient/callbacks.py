"""From a DXL event to the method, or the function, of a user, and what becomes of an event that fails."""

import logging
from collections.abc import Callable
from typing import Any, TypeAlias

from dxlclient.callbacks import EventCallback
from dxlclient.message import Event

from dxlthreateventclient.exceptions import ThreatEventDecodeError
from dxlthreateventclient.payload import decode_threat_event

logger = logging.getLogger(__name__)

ThreatEventFunction: TypeAlias = Callable[[dict[str, Any], Event], object]
ErrorFunction: TypeAlias = Callable[[BaseException, Event], object]


class CommonThreatEventCallback(EventCallback):
    """Receives threat events: subclass it and override :meth:`on_threat_event`.

    .. code-block:: python

        class MyCallback(CommonThreatEventCallback):
            def on_threat_event(self, threat_event_dict, original_event):
                print(threat_event_dict["event"]["threatName"])

    The methods run on dxlclient's worker thread, one event after the other.
    """

    def on_event(self, event: Event) -> None:
        """Decode the event and hand it to :meth:`on_threat_event`. Called by dxlclient; not to be overridden.

        Whatever goes wrong is handed to :meth:`on_threat_event_error`. Nothing is raised.

        :param event: the DXL event
        """
        try:
            self.on_threat_event(decode_threat_event(event.payload), event)
        except BaseException as error:  # noqa: BLE001 - SystemExit would end dxlclient's only worker
            hand_over(self.on_threat_event_error, error, event)

    def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        """Handle a threat event. To be overridden.

        :param threat_event_dict: the decoded payload; see the page *The threat event* for its keys
        :param original_event: the DXL event that carried it
        :raise NotImplementedError: unless overridden
        """
        raise NotImplementedError(f"{type(self).__name__} has to override on_threat_event")

    def on_threat_event_error(self, error: BaseException, original_event: Event) -> None:
        """Handle an event that could not be handled. Override it to keep or report such events.

        The default logs an error with the topic, the message id and the reason. What this method raises is
        logged; the events that follow, and other callbacks, are not concerned.

        :param error: a :class:`~dxlthreateventclient.payload.ThreatEventDecodeError` if the payload could
            not be decoded, else what :meth:`on_threat_event` raised (``SystemExit`` included)
        :param original_event: the DXL event; its ``payload`` is what arrived
        """
        log_error(error, original_event)


class FunctionCallback(CommonThreatEventCallback):
    """Calls a function for each threat event, and is equal to it, so that dxlclient finds it to remove it."""

    def __init__(self, function: ThreatEventFunction, on_error: ErrorFunction | None = None) -> None:
        super().__init__()
        self._function = function
        self._on_error = on_error or log_error

    def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        """Call the function."""
        self._function(threat_event_dict, original_event)

    def on_threat_event_error(self, error: BaseException, original_event: Event) -> None:
        """Call ``on_error``."""
        self._on_error(error, original_event)

    def __eq__(self, other: object) -> bool:
        return self._function == (other._function if isinstance(other, FunctionCallback) else other)

    def __hash__(self) -> int:
        return hash(self._function)


def log_error(error: BaseException, original_event: Event) -> None:
    """Log an error with the message id and the topic of its event, and a traceback if there is one to see."""
    place = (original_event.message_id, original_event.destination_topic)
    if isinstance(error, ThreatEventDecodeError):
        logger.error("Message %s on topic %s was not handled: %s", *place, error)
    elif isinstance(error, Exception):
        logger.error("Message %s on topic %s: the callback raised", *place, exc_info=error)
    else:
        logger.error(
            "Message %s on topic %s: the callback raised %s, which ended nothing, since callbacks run on a"
            " thread of dxlclient. To end the program, set a threading.Event that the main thread waits for",
            *place,
            type(error).__name__,
            exc_info=error,
        )


def hand_over(hook: ErrorFunction, error: BaseException, original_event: Event) -> None:
    """Call a hook with an error and its event. If the hook raises too, log both: nothing leaves here."""
    try:
        hook(error, original_event)
    except BaseException:
        # SystemExit, too: it would end dxlclient's only worker.
        logger.exception("The error hook of a callback raised, too; what it was called with:")
        log_error(error, original_event)
