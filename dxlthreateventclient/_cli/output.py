"""What the command line writes on stdout: events, in the format that was asked for."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from dxlthreateventclient._cli.errors import CommandError
from dxlthreateventclient._cli.messages import one_line
from dxlthreateventclient._cli.text import text_format
from dxlthreateventclient.formats import to_cef, to_ecs

Format = Callable[[Mapping[str, Any], str], str]
"""Makes text, without the last line end, of a threat event and the topic it came on."""


def _json(threat_event: Mapping[str, Any], topic: str) -> str:
    document = json.dumps(threat_event, sort_keys=True, indent=4)
    return f"Threat event on topic: {one_line(topic)}\n{document}"


FORMATS: dict[str, Callable[[], Format]] = {
    "text": text_format,
    # These are ASCII, with escapes for everything else: no character in them can do harm.
    "json": lambda: _json,
    "jsonl": lambda: lambda threat_event, _: json.dumps(threat_event),
    "ecs": lambda: lambda threat_event, _: json.dumps(to_ecs(threat_event)),
    "cef": lambda: lambda threat_event, _: to_cef(threat_event),
}
"""What makes each format, by the name that the user gives."""


def write(text: str) -> None:
    """Write text and a line end to stdout, at once.

    :raise BrokenPipeError: if nobody reads any more
    :raise CommandError: if it cannot be written
    """
    encoding = sys.stdout.encoding if sys.stdout.isatty() else "utf-8"
    left = f"{text}\n".encode(encoding, errors="backslashreplace")
    try:
        # With PYTHONUNBUFFERED there is no buffer, and a signal can cut a write short.
        while left:
            left = left[sys.stdout.buffer.write(left) :]
        sys.stdout.buffer.flush()
    except OSError as error:
        # What is left in the buffer would fail once more, with a traceback, when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise CommandError(f"cannot write to stdout: {error.strerror}", status=1) from error
