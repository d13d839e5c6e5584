"""The files that ``publish`` takes."""

import contextlib
import io
import sys
from pathlib import Path

import pytest

from dxlthreateventclient._cli.publish import read_documents
from dxlthreateventclient._cli.terminal import CommandError


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b'{"a": 1}', [{"a": 1}], id="an object"),
        pytest.param(b'\n{\n"a":\n1}\n\n', [{"a": 1}], id="an object over several lines"),
        pytest.param(b'{"a": 1}, {"a": 2}', [{"a": 1}, {"a": 2}], id="an array without its brackets"),
        pytest.param(b'[{"a": 1}, {"a": [2, "]"]}]', [{"a": 1}, {"a": [2, "]"]}], id="an array"),
        pytest.param(b' [\n{"a": 1},\n {"a": "[,"}\n]\n', [{"a": 1}, {"a": "[,"}], id="an array over lines"),
        pytest.param(b'{"a": 1}\r\n\r\n{"a": 2}\r\n', [{"a": 1}, {"a": 2}], id="JSON lines"),
        pytest.param(b'{"a": 1}\n', [{"a": 1}], id="one JSON line"),
        pytest.param(b'{"a": 1}\n\0\0', [{"a": 1}], id="trailing NULs, as publishers send them"),
        pytest.param(b'\xef\xbb\xbf{"a": 1}', [{"a": 1}], id="a byte order mark"),
        pytest.param(
            '{"a": "\u2028\x85"}\n{"a": 2}'.encode(), [{"a": "\u2028\x85"}, {"a": 2}], id="separators"
        ),
        pytest.param(rb'{"a": "\ud800"}', [{"a": "\ud800"}], id="a lone surrogate"),
        pytest.param(b'{"a":\n1}\n{"a": 2}', [{"a": 1}, {"a": 2}], id="objects over several lines"),
        pytest.param(b'{"a": "' + b"x" * 1_000_000 + b'"}', [{"a": "x" * 1_000_000}], id="a large event"),
    ],
)
def test_each_form_is_read_from_files_and_stdin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, expected: list[dict[str, object]]
) -> None:
    file = tmp_path / "events.json"
    file.write_bytes(content)
    assert read_documents(str(file)) == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert read_documents("-") == expected


DEEP = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        pytest.param(b'{"a": 1,\n"b" 2}', 1, "Expecting ':' delimiter: line 2 column 5", id="broken"),
        pytest.param(b'{"a": 1}\n{"b":\n{"c": 3}\n', 2, "Expecting ',' delimiter: line 3", id="cut off"),
        pytest.param(b'{"a": 1}\n\n[1]\n', 3, "a JSON array", id="an array behind an object"),
        pytest.param(b'{"a": 1}\n\xff', 2, "not UTF-8", id="not UTF-8"),
        pytest.param(b'[{"a": 1},\n 3]', 2, "a JSON number", id="an item that is not an object"),
        pytest.param(b"3", 1, "a JSON number", id="not an object"),
        pytest.param(b'{"a": 1}\n{"b": NaN}', 2, "NaN", id="NaN"),
        pytest.param(b'{"a": 1e999}', 1, "Infinity", id="infinity"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", 1, "digits", id="too many digits"),
        pytest.param(DEEP, 1, "nested too deeply", id="too deep"),
        pytest.param(
            b'{"a": 1}\n{"b": "' + b"x" * 1_050_000 + b'"}',
            2,
            "this event takes 1050009 bytes, and a DXL message holds at most 1047552",
            id="too large",
        ),
    ],
)
def test_a_bad_document_is_named_with_its_line(
    tmp_path: Path, content: bytes, line: int, reason: str
) -> None:
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
    with pytest.raises(CommandError, match="holds no threat event"):
        read_documents(str(file))


def test_what_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match=r"cannot read .*: Is a directory"):
        read_documents(str(tmp_path))
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CommandError, match="cannot read stdin: it is closed"):
        read_documents("-")


def test_a_document_of_any_depth_is_read_or_an_error(tmp_path: Path) -> None:
    file = tmp_path / "events.json"
    # Somewhere here the decoder gives up, or the encoder.
    for depth in (*range(900, 1100, 5), *range(1100, 5000, 100)):
        file.write_bytes(b'{"a":' * depth + b"1" + b"}" * depth)
        with contextlib.suppress(CommandError):
            assert len(read_documents(str(file))) == 1
