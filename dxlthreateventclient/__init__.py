"""Receive ePolicy Orchestrator (ePO) threat events over the Data Exchange Layer (DXL)."""

from dxlthreateventclient._version import __version__
from dxlthreateventclient.async_stream import AsyncThreatEventStream
from dxlthreateventclient.callbacks import CommonThreatEventCallback
from dxlthreateventclient.client import CommonThreatEventClient
from dxlthreateventclient.configuration import load_configuration
from dxlthreateventclient.exceptions import ConfigurationError, ThreatEventDecodeError
from dxlthreateventclient.status import FeedStatus, Gap
from dxlthreateventclient.stream import ThreatEventStream

__all__ = [
    "AsyncThreatEventStream",
    "CommonThreatEventCallback",
    "CommonThreatEventClient",
    "ConfigurationError",
    "FeedStatus",
    "Gap",
    "ThreatEventDecodeError",
    "ThreatEventStream",
    "__version__",
    "get_version",
    "load_configuration",
]


def get_version() -> str:
    """Return the version of this package."""
    return __version__
