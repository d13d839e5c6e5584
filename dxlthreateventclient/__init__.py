"""Receive ePolicy Orchestrator (ePO) threat events over the Data Exchange Layer (DXL)."""

from dxlthreateventclient._version import __version__
from dxlthreateventclient.callbacks import CommonThreatEventCallback
from dxlthreateventclient.client import CommonThreatEventClient
from dxlthreateventclient.configuration import load_configuration
from dxlthreateventclient.connection import connect
from dxlthreateventclient.exceptions import BrokerConnectionError, ConfigurationError, ThreatEventDecodeError
from dxlthreateventclient.redundancy import redundant_threat_events
from dxlthreateventclient.status import FeedStatus, Gap
from dxlthreateventclient.streams import AsyncThreatEventStream, ThreatEventStream

__all__ = [
    "AsyncThreatEventStream",
    "BrokerConnectionError",
    "CommonThreatEventCallback",
    "CommonThreatEventClient",
    "ConfigurationError",
    "FeedStatus",
    "Gap",
    "ThreatEventDecodeError",
    "ThreatEventStream",
    "__version__",
    "connect",
    "get_version",
    "load_configuration",
    "redundant_threat_events",
]


def get_version() -> str:
    """Return the version of this package."""
    return __version__
