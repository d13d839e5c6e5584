"""From a DXL event to the method of a user."""

import logging
from typing import Any

from dxlclient.callbacks import EventCallback
from dxlclient.message import Event

from dxlthreateventclient.payload import ThreatEventDecodeError, decode_threat_event

logger = logging.getLogger(__name__)


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

        :param event: the DXL event
        """
        try:
            threat_event = decode_threat_event(event.payload)
        except ThreatEventDecodeError as error:
            self.on_threat_event_error(error, event)
        else:
            self.on_threat_event(threat_event, event)

    def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        """Handle a threat event. To be overridden.

        :param threat_event_dict: the decoded payload; see the page *The threat event* for its keys
        :param original_event: the DXL event that carried it
        :raise NotImplementedError: unless overridden
        """
        raise NotImplementedError(f"{type(self).__name__} has to override on_threat_event")

    def on_threat_event_error(self, error: BaseException, original_event: Event) -> None:
        """Handle an event that could not be handled. Override it to keep or report such events.

        The default logs an error with the topic, the message id and the reason.

        :param error: a :class:`~dxlthreateventclient.payload.ThreatEventDecodeError` if the payload could
            not be decoded
        :param original_event: the DXL event; its ``payload`` is what arrived
        """
        logger.error(
            "Cannot decode message %s on topic %s: %s",
            original_event.message_id,
            original_event.destination_topic,
            error,
        )
