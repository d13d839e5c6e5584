"""What the command line says about wrong usage, and in its help."""

import argparse
import os
import re
from pathlib import Path

import pytest

from dxlthreateventclient._cli import main, make_parser
from dxlthreateventclient._cli.arguments import PROGRAM


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("listen --severity 0", "'0' is no severity"),
        ("listen --severity 8", "'8' is no severity"),
        ("listen --retries -2", "'-2' is no number of retries"),
        ("listen --retries ²", "'²' is no number of retries"),
        ("listen --count all", "'all' is no whole number from 1 to"),
        ("listen --count 0", "'0' is no whole number from 1 to"),
        (f"listen --count {'9' * 5000}", "is no whole number from 1 to"),
        ("listen --topic /a/+/b", "'/a/+/b' is no topic"),
        ("listen --topic /a#", "'/a#' is no topic"),
        ("listen --topic " + os.fsdecode(b"/\xff"), r"'/\udcff' is no topic"),
        ("listen --format xml", "invalid choice: 'xml'"),
        ("listen more", "unrecognized arguments: more"),
        ("publish", "required: -c/--config"),
        ("publish -c file --interval -1", "'-1' is no time in seconds"),
        ("publish -c file --interval nan", "'nan' is no time in seconds"),
        ("publish -c file --interval soon", "'soon' is no time in seconds"),
        ("publish -c file --topic /lab/#", "'/lab/#' is a filter"),
        ("publish -c file --topic=", "'' is no topic"),
        ("fabric --port 65536", "'65536' is no port"),
        ("demo --count -1", "'-1' is no whole number from 1 to"),
        ("nothing", "invalid choice: 'nothing'"),
        ("", "required: COMMAND"),
    ],
)
def test_wrong_usage_is_named_with_2(
    arguments: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    output, errors = capsys.readouterr()
    assert (ended.value.code, output) == (2, "")
    assert expected in errors.splitlines()[-1]


@pytest.mark.parametrize("subcommand", ["listen", "publish", "check", "fabric", "demo"])
def test_the_help_of_each_subcommand_has_examples(
    subcommand: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([subcommand, "--help"])
    assert ended.value.code == 0
    assert f"\n  {PROGRAM} {subcommand}" in capsys.readouterr().out.partition("examples:")[2]


def test_the_page_about_the_command_line_names_every_option_of_each_subcommand() -> None:
    page = (Path(__file__).parents[2] / "docs" / "commandline.rst").read_text(encoding="utf-8")
    [subcommands] = [
        action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction)
    ]
    for name, parser in subcommands.choices.items():
        section = page.partition(f".. _command-{name}:")[2].partition("\n.. _command-")[0]
        named = set(re.findall(r"``(--?[a-z-]+)", section)) - {"--help", "--version"}
        options = {option for action in parser._actions for option in action.option_strings}
        assert options - {"-h", "--help"} <= named, name
