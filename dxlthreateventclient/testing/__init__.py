"""Tools for testing threat event clients without an ePO server: a local DXL fabric and sample events.

Only ``LocalFabric`` requires the ``testing`` extra (``pip install "dxlthreateventclient[testing]"``).
"""

from typing import TYPE_CHECKING, Any

from dxlthreateventclient.testing.events import publish_threat_event, sample_threat_event

if TYPE_CHECKING:
    from dxlthreateventclient.testing.fabric import LocalFabric

__all__ = ["LocalFabric", "publish_threat_event", "sample_threat_event"]


def __getattr__(name: str) -> Any:
    # Import LocalFabric on first use, so that sample events work without the ``testing`` extra.
    if name == "LocalFabric":
        from dxlthreateventclient.testing.fabric import LocalFabric  # noqa: PLC0415

        return LocalFabric
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
