"""The input files of ``publish``."""

import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import pytest

from dxlthreateventclient._cli.publish import read_documents
from dxlthreateventclient._cli.terminal import CommandError

FORMS: dict[str, tuple[bytes, list[Any]]] = {
    "an object": (b'{"a": 1}', [{"a": 1}]),
    "objects over several lines": (b'\n{\n"a":\n1}\n{"a": 2}\n\n', [{"a": 1}, {"a": 2}]),
    "an array without its brackets": (b'{"a": 1}, {"a": 2}', [{"a": 1}, {"a": 2}]),
    "an array": (
        b' [\n{"a": 1},\n {"a": [2, "]"]}, {"a": "[,"}\n]\n',
        [{"a": 1}, {"a": [2, "]"]}, {"a": "[,"}],
    ),
    "JSON lines": (b'{"a": 1}\r\n\r\n{"a": 2}\r\n', [{"a": 1}, {"a": 2}]),
    "trailing NULs, as publishers send them": (b'{"a": 1}\n\0\0', [{"a": 1}]),
    "a byte order mark": (b'\xef\xbb\xbf{"a": 1}', [{"a": 1}]),
    "separators": ('{"a": "\u2028\x85"}\n{"a": 2}'.encode(), [{"a": "\u2028\x85"}, {"a": 2}]),
    "a lone surrogate": (rb'{"a": "\ud800"}', [{"a": "\ud800"}]),
    "a large event": (b'{"a": "' + b"x" * 1_000_000 + b'"}', [{"a": "x" * 1_000_000}]),
}


@pytest.mark.parametrize(("content", "expected"), FORMS.values(), ids=FORMS)
def test_each_form_is_read(tmp_path: Path, monkeypatch: Any, content: bytes, expected: list[Any]) -> None:
    file = tmp_path / "events.json"
    file.write_bytes(content)
    assert read_documents(str(file)) == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert read_documents("-") == expected


TOO_LARGE = "this event has 1050009 bytes, but a DXL message can contain at most 1047552"
BAD = {
    "broken": (b'{"a": 1,\n"b" 2}', 1, "Expecting ':' delimiter: line 2 column 5"),
    "cut off": (b'{"a": 1}\n{"b":\n{"c": 3}\n', 2, "Expecting ',' delimiter: line 3"),
    "an array behind an object": (b'{"a": 1}\n\n[1]\n', 3, "a JSON array"),
    "not UTF-8": (b'{"a": 1}\n\xff', 2, "not UTF-8"),
    "an item that is not an object": (b'[{"a": 1},\n 3]', 2, "a JSON number"),
    "NaN": (b'{"a": 1}\n{"b": NaN}', 2, "NaN"),
    "infinity": (b'{"a": 1e999}', 1, "Infinity"),
    "too many digits": (b'{"a": ' + b"9" * 5000 + b"}", 1, "digits"),
    "too deep": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 1, "nested too deeply"),
    "too large": (b'{"a": 1}\n{"b": "' + b"x" * 1_050_000 + b'"}', 2, TOO_LARGE),
}


@pytest.mark.parametrize(("content", "line", "reason"), BAD.values(), ids=BAD)
def test_a_bad_document_is_named(tmp_path: Path, content: bytes, line: int, reason: str) -> None:
    file = tmp_path / "events.json"
    file.write_bytes(content)
    with pytest.raises(CommandError) as raised:
        read_documents(str(file))
    assert str(raised.value).startswith(f"{file}, line {line}: ")
    assert str(raised.value).endswith("; nothing was sent")
    assert reason in str(raised.value)
    assert raised.value.status == 2


@pytest.mark.parametrize("content", [b"", b" \n", b"[]"])
def test_a_file_without_a_document_is_an_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "events.json"
    file.write_bytes(content)
    with pytest.raises(CommandError, match="contains no threat event"):
        read_documents(str(file))


def test_what_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match=r"cannot read .*: Is a directory"):
        read_documents(str(tmp_path))
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CommandError, match="cannot read stdin: it is closed"):
        read_documents("-")


def test_a_document_of_any_depth_is_read_or_an_error(tmp_path: Path) -> None:
    file = tmp_path / "events.json"
    # At some depth in this range, the decoder or the encoder starts to fail.
    for depth in (*range(900, 1100, 5), *range(1100, 5000, 100)):
        file.write_bytes(b'{"a":' * depth + b"1" + b"}" * depth)
        with contextlib.suppress(CommandError):
            assert len(read_documents(str(file))) == 1
