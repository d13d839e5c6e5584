"""Pure, dependency-free functions that convert threat events for people and SIEMs."""

from dxlthreateventclient.formats.cef import to_cef
from dxlthreateventclient.formats.ecs import to_ecs
from dxlthreateventclient.formats.explanation import OUTCOMES, Explanation, explain
from dxlthreateventclient.formats.ocsf import to_ocsf
from dxlthreateventclient.formats.registry import FORMATS, Formatter
from dxlthreateventclient.formats.text import one_line, severity_of, text_columns

__all__ = [
    "FORMATS",
    "OUTCOMES",
    "Explanation",
    "Formatter",
    "explain",
    "one_line",
    "severity_of",
    "text_columns",
    "to_cef",
    "to_ecs",
    "to_ocsf",
]
