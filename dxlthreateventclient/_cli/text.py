"""Text for people: one aligned line for each event, and colours on a terminal."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dxlthreateventclient.formats import severity_of, text_columns

Piece = tuple[str, str]
"""A text and the style, as rich names it, in which a terminal shows it."""

_SEVERITY_STYLES = {1: "bold red", 2: "red", 3: "yellow", 4: "yellow"}


def painter() -> Callable[[Iterable[Piece]], str]:
    """Return what joins pieces: with their styles if stdout is a terminal and rich is installed."""
    # https://no-color.org; with it, rich would still write bold and dim.
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return _plain
    try:
        from rich.console import Console  # noqa: PLC0415 - from an extra
        from rich.text import Text  # noqa: PLC0415
    except ModuleNotFoundError:
        return _plain
    console = Console(file=sys.stdout)

    def colored(pieces: Iterable[Piece]) -> str:
        with console.capture() as captured:
            # Not a string: an event is data, in which nothing is markup.
            console.print(Text.assemble(*pieces), soft_wrap=True, end="")
        return captured.get()

    return colored


def _plain(pieces: Iterable[Piece]) -> str:
    return "".join(piece for piece, _ in pieces)


def text_format() -> Callable[[Mapping[str, Any], str], str]:
    """Return the format."""
    paint = painter()
    return lambda threat_event, _: paint(_pieces(threat_event))


def _pieces(threat_event: Mapping[str, Any]) -> Iterable[Piece]:
    styles = ["dim", _SEVERITY_STYLES.get(severity_of(threat_event) or 0, ""), "cyan", "bold", ""]
    return zip(text_columns(threat_event), styles, strict=True)
