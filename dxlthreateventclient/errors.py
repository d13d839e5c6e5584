"""What becomes of an event that could not be handled."""

import logging
from collections.abc import Callable

from dxlclient.message import Event

from dxlthreateventclient.payload import ThreatEventDecodeError

logger = logging.getLogger(__name__)


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


def hand_over(
    hook: Callable[[BaseException, Event], object], error: BaseException, original_event: Event
) -> None:
    """Call a hook with an error and its event. If the hook raises too, log both: nothing leaves here."""
    try:
        hook(error, original_event)
    except BaseException:
        # SystemExit, too: it would end dxlclient's only worker.
        logger.exception("The error hook of a callback raised, too; what it was called with:")
        log_error(error, original_event)
