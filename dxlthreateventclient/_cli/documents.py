"""The threat events in files that are to be published."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dxlthreateventclient import ThreatEventDecodeError
from dxlthreateventclient._cli.terminal import CommandError
from dxlthreateventclient.payload import decode_threat_event

# A DXL broker takes messages of 1 MiB, with an envelope of some hundred bytes around the payload.
_LARGEST = 2**20 - 2**10
_TOO_DEEP = "it is nested too deeply"
_BETWEEN = re.compile(r"[\s,]*")
_decoder = json.JSONDecoder()


def read_documents(file: str) -> list[dict[str, Any]]:
    """Read the threat events of a file: JSON objects, one after the other or in an array.

    :param file: the path of the file; ``-`` is stdin
    :return: the threat events, at least one
    :raise CommandError: if any of it is not a threat event that a client could receive
    """
    name = "stdin" if file == "-" else file
    documents = []
    for line, value in _values(name, _read(name, file)):
        try:
            payload = json.dumps(value).encode()
            # What a receiver would make of it.
            documents.append(decode_threat_event(payload))
        except (RecursionError, ThreatEventDecodeError) as error:
            reason = getattr(error, "reason", _TOO_DEEP)
            raise _error(name, line, reason.replace("payload", "this", 1)) from error
        if len(payload) > _LARGEST:
            what = f"this event takes {len(payload)} bytes, and a DXL message holds at most {_LARGEST}"
            raise _error(name, line, what)
    if not documents:
        raise CommandError(f"{name} holds no threat event", status=2)
    return documents


def _read(name: str, file: str) -> str:
    if file == "-" and sys.stdin is None:
        raise CommandError("cannot read stdin: it is closed", status=2)
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return content.decode("utf-8-sig").rstrip("\0 \t\n\r\v\f")
    except OSError as error:
        raise CommandError(f"cannot read {name}: {error.strerror}", status=2) from error
    except UnicodeDecodeError as error:
        raise _error(name, content.count(b"\n", 0, error.start) + 1, "this is not UTF-8") from error


def _values(name: str, text: str) -> Iterator[tuple[int, Any]]:
    """Yield the JSON values in a text, or the items of its array, with the lines in which they begin."""
    is_array = text.lstrip().startswith("[") and text.endswith("]")
    position, end = (text.index("[") + 1, len(text) - 1) if is_array else (0, len(text))
    while (position := _BETWEEN.match(text, position, end).end()) < end:  # type: ignore[union-attr] # it matches
        line = text.count("\n", 0, position) + 1
        try:
            value, position = _decoder.raw_decode(text, position)
        except (RecursionError, ValueError) as error:
            reason = _TOO_DEEP if isinstance(error, RecursionError) else error
            raise _error(name, line, f"what begins here is not JSON: {reason}") from error
        yield line, value


def _error(name: str, line: int, reason: str) -> CommandError:
    return CommandError(f"{name}, line {line}: {reason}; nothing was sent", status=2)
