"""Which callback listens on which topic."""

import inspect
from typing import TypeAlias

from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient

from dxlthreateventclient import other_data

EPO_THREAT_EVENT_RESPONSE_TOPIC = "/mcafee/event/epo/threat/response"
"""The topic on which ePO's automatic response *Send DXL Threat Event* publishes."""

Callback: TypeAlias = EventCallback | type[EventCallback]


class CommonThreatEventClient:
    """Subscribes callbacks to the threat events that ePO publishes.

    .. code-block:: python

        with DxlClient(config) as dxl_client:
            dxl_client.connect()
            client = CommonThreatEventClient(dxl_client)
            client.add_epo_threat_event_response_callback(MyCallback())

    :param dxl_client: the DXL client to receive with. It stays the caller's, who connects and destroys it;
        callbacks may be added before it connects.
    """

    def __init__(self, dxl_client: DxlClient) -> None:
        self._dxl_client = dxl_client

    def add_epo_threat_event_response_callback(self, threat_event_callback: Callback) -> None:
        """Add a callback for the threat events of ePO's automatic response.

        :param threat_event_callback: see :meth:`add_threat_event_callback`
        :raise TypeError: if it is no callback
        """
        self.add_threat_event_callback(threat_event_callback)

    def remove_epo_threat_event_response_callback(self, threat_event_callback: Callback) -> None:
        """Remove a callback that :meth:`add_epo_threat_event_response_callback` added.

        :param threat_event_callback: the callback that was added
        :raise TypeError: if it is no callback
        """
        self.remove_threat_event_callback(threat_event_callback)

    def add_threat_event_callback(
        self, threat_event_callback: Callback, topic: str = EPO_THREAT_EVENT_RESPONSE_TOPIC
    ) -> None:
        """Add a callback for the threat events on a topic.

        :param threat_event_callback: an instance of a subclass of
            :class:`~dxlthreateventclient.callbacks.CommonThreatEventCallback` (or of any ``EventCallback``),
            or such a class, of which dxlclient then makes a new instance for each event
        :param topic: the topic, or a filter that ends in ``/#``
        :raise TypeError: if it is no callback
        """
        _check(threat_event_callback)
        self._dxl_client.add_event_callback(topic, threat_event_callback)

    def remove_threat_event_callback(
        self, threat_event_callback: Callback, topic: str = EPO_THREAT_EVENT_RESPONSE_TOPIC
    ) -> None:
        """Remove a callback that :meth:`add_threat_event_callback` added.

        :param threat_event_callback: the callback that was added
        :param topic: the topic it was added for
        :raise TypeError: if it is no callback
        """
        _check(threat_event_callback)
        self._dxl_client.remove_event_callback(topic, threat_event_callback)

    convert_aggregate_fields = staticmethod(other_data.convert_aggregate_fields)
    create_dict_from_aggregate_listOf = staticmethod(other_data.create_dict_from_aggregate_listOf)
    create_set_from_aggregate_setOf = staticmethod(other_data.create_set_from_aggregate_setOf)


def _check(threat_event_callback: Callback) -> None:
    kind = threat_event_callback if inspect.isclass(threat_event_callback) else type(threat_event_callback)
    if not issubclass(kind, EventCallback):
        raise TypeError(
            f"{threat_event_callback!r} is no callback: pass an instance of a subclass of"
            " CommonThreatEventCallback"
        )
