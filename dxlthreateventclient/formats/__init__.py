"""Threat events as SIEMs read them: pure functions, without a dependency."""

from dxlthreateventclient.formats.cef import to_cef
from dxlthreateventclient.formats.ecs import to_ecs

__all__ = ["to_cef", "to_ecs"]
