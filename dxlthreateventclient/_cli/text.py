"""Text for people: one aligned line for each event, and colours on a terminal."""

import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dxlthreateventclient._cli.messages import one_line
from dxlthreateventclient.formats._message import Message
from dxlthreateventclient.formats._values import integer, text, timestamp

Piece = tuple[str, str]
"""A text and the style, as rich names it, in which a terminal shows it."""

_SEVERITY_STYLES = {1: "bold red", 2: "red", 3: "yellow", 4: "yellow"}
_MISSING = "-"


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
    return lambda threat_event, _: paint(_pieces(Message(threat_event)))


def _pieces(message: Message) -> Iterable[Piece]:
    """Return time, severity, host, threat and action, padded but never cut."""
    moment = message.get("analyzer.detectedUTC", timestamp) or message.take_received()
    # The name that the server gives it. Where it gives none there is only the number.
    severity = message.get("otherData.threatSeverityString", text) or message.get("threatSeverity", text)
    host = next(
        filter(None, (message.get(path, text) for path in ("analyzer.hostName", "target.hostName"))),
        message.get("analyzer.ipv4", text),
    )
    time = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z" if moment else None
    yield _padded(time, 26), "dim"
    yield _padded(severity, 13), _SEVERITY_STYLES.get(message.get("threatSeverity", integer) or 0, "")
    yield _padded(host, 18), "cyan"
    yield _padded(message.get("threatName", text) or message.get("eventDesc", text), 30), "bold"
    yield _padded(message.get("threatActionTaken", text), 0), ""


def _padded(value: str | None, width: int) -> str:
    shown = one_line(value or "") or _MISSING
    if width == 0:
        return shown
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in shown)
    marks = sum(unicodedata.combining(character) > 0 for character in shown)
    return shown + " " * max(2, width - len(shown) - wide + marks)
