"""Try and test threat event clients without an ePO server: a DXL fabric on this machine, and sample events.

``LocalFabric`` needs the extra: ``pip install "dxlthreateventclient[testing]"``. The rest needs nothing more.
"""

from typing import TYPE_CHECKING, Any

from dxlthreateventclient.testing.events import publish_threat_event, sample_threat_event

if TYPE_CHECKING:
    from dxlthreateventclient.testing.fabric import LocalFabric

__all__ = ["LocalFabric", "publish_threat_event", "sample_threat_event"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that the sample events do without the extra.
    if name == "LocalFabric":
        from dxlthreateventclient.testing.fabric import LocalFabric  # noqa: PLC0415

        return LocalFabric
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
