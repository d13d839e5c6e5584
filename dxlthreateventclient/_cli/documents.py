"""The threat events in files that are to be published."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dxlthreateventclient._cli.errors import CommandError
from dxlthreateventclient.exceptions import ThreatEventDecodeError
from dxlthreateventclient.payload import decode_threat_event

STDIN = "-"
# Where, in an array, the next item begins.
_ITEM = re.compile(r"[^\s,\]]")


def read_documents(file: str) -> list[dict[str, Any]]:
    """Read the threat events of a file: one JSON object, an array of them, or one in each line.

    :param file: the path of the file; ``-`` is stdin
    :return: the threat events, at least one
    :raise CommandError: if any of it is no threat event that a client could receive
    """
    name = "stdin" if file == STDIN else file
    if file == STDIN and sys.stdin is None:
        raise CommandError("cannot read stdin: it is closed", status=2)
    try:
        content = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
        text = content.decode("utf-8-sig").rstrip("\0 \t\n\r\v\f")
    except OSError as error:
        raise CommandError(f"cannot read {name}: {error.strerror}", status=2) from error
    except UnicodeDecodeError as error:
        raise _error(name, content.count(b"\n", 0, error.start) + 1, "this is not UTF-8") from error
    documents = []
    for line, value in _values(name, text):
        try:
            # What a receiver would say of it.
            documents.append(decode_threat_event(json.dumps(value).encode()))
        except ThreatEventDecodeError as error:
            raise _error(name, line, error.reason.replace("payload", "this", 1)) from error
        except RecursionError as error:
            raise _error(name, line, "this is nested too deeply") from error
    if not documents:
        raise CommandError(f"{name} holds no threat event", status=2)
    return documents


def _values(name: str, text: str) -> Iterator[tuple[int, Any]]:
    """Yield the JSON values in a text, or in its array, with the lines where they begin."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if len(lines) > 1 and _is_json(lines[0][1]):
        for number, line in lines:
            yield number, _value(name, line, number)
    elif lines:
        value = _value(name, text, 1)
        if isinstance(value, list):
            yield from _items(text)
        else:
            yield lines[0][0], value


def _items(text: str) -> Iterator[tuple[int, Any]]:
    """Yield the items of a valid JSON array with the lines where they begin."""
    decoder = json.JSONDecoder()
    position = text.index("[") + 1
    while start := _ITEM.search(text, position):
        item, position = decoder.raw_decode(text, start.start())
        yield text.count("\n", 0, start.start()) + 1, item


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _value(name: str, text: str, first_line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _error(
            name, first_line + error.lineno - 1, f"this is not JSON: {error.msg} (column {error.colno})"
        ) from error
    except RecursionError as error:
        raise _error(name, first_line, "this is nested too deeply") from error
    except ValueError as error:  # a number with too many digits
        raise _error(name, first_line, str(error)) from error


def _error(name: str, line: int, reason: str) -> CommandError:
    return CommandError(f"{name}, line {line}: {reason}; nothing was sent", status=2)
