"""The command line: usage errors, help texts and imports."""

import argparse
import ast
import os
import re
import sys
from pathlib import Path

import pytest
from helpers.command_line import run

import dxlthreateventclient
from dxlthreateventclient import _cli

PAGE = Path(__file__).parents[2] / "docs" / "commandline.rst"
PROGRAM = _cli.arguments.PROGRAM


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("listen --severity 0", "must be a severity from 1 (the most severe) to 7, got '0'"),
        ("listen --retries -2", "must be a number of retries, or -1 for no limit, got '-2'"),
        ("listen --count all", "must be a whole number above 0, got 'all'"),
        (f"listen --count {'9' * 5000}", "must be a whole number above 0"),
        ("listen --topic /a/+/b", "'#' and '+', got '/a/+/b'"),
        ("listen --topic " + os.fsdecode(b"/\xff"), r"must be a topic in UTF-8"),
        ("listen --format xml", "invalid choice: 'xml'"),
        ("listen more", "unrecognized arguments: more"),
        ("publish", "required: -c/--config"),
        ("publish -c file --interval -1", "must be seconds from 0 to 86400 (a day), got '-1'"),
        ("publish -c file --interval nan", "must be seconds from 0"),
        ("publish -c file --topic /lab/#", "'#' and '+', got '/lab/#'"),
        ("publish -c file --topic=", "must be a topic"),
        ("check --warn-days 0", "must be a whole number above 0"),
        ("fabric --port 65536", "must be a port from 0 (any free one) to 65535, got '65536'"),
        ("nothing", "invalid choice: 'nothing'"),
        ("", "required: COMMAND"),
    ],
)
def test_wrong_usage_is_reported_with_2(
    arguments: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        _cli.main(arguments.split())
    output, errors = capsys.readouterr()
    assert (ended.value.code, output) == (2, "")
    assert expected in errors.splitlines()[-1]


@pytest.mark.parametrize("topic", ["#", "/#", "/lab/#", "/lab/x"])
def test_a_topic_may_be_a_filter(topic: str) -> None:
    assert _cli.make_parser().parse_args(["listen", "--topic", topic]).topic == [topic]


def test_each_subcommand_has_help_and_a_section_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    [subcommands] = [
        action for action in _cli.make_parser()._actions if isinstance(action, argparse._SubParsersAction)
    ]
    for name, parser in subcommands.choices.items():
        parser.print_help()
        assert f"\n  {PROGRAM} {name}" in capsys.readouterr().out.partition("examples:")[2]
        section = page.partition(f".. _command-{name}:")[2].partition("\n.. _command-")[0]
        named = set(re.findall(r"``(--?[a-z-]+)", section)) | {"-h", "--help", "-v", "--verbose"}
        assert {option for action in parser._actions for option in action.option_strings} <= named, name


def test_it_says_its_version() -> None:
    assert run("--version").stdout == f"dxlthreateventclient {dxlthreateventclient.__version__}\n"


def test_the_console_script_calls_itself_by_its_own_name() -> None:
    script = Path(sys.executable).with_name("dxlthreateventclient")
    completed = run("demo", "--help", program=[str(script)])
    assert completed.stdout.startswith("usage: dxlthreateventclient demo")
    assert "  dxlthreateventclient demo --format" in completed.stdout


@pytest.mark.parametrize("file", sorted(Path(_cli.__file__).parent.glob("*.py")), ids=lambda file: file.stem)
def test_the_command_line_uses_public_names_only(file: Path) -> None:
    """If the command line needed a private name, users' programs would also need it."""
    names = [
        f"{getattr(node, 'module', '')}.{alias.name}"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    ]
    private = re.compile(r"\.?dxlthreateventclient(?!\._cli\.).*\._(?!_version__)")
    assert [name for name in names if private.match(name)] == []
