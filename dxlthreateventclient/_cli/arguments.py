"""The options that the subcommands share, and the converters for option values."""

import argparse
import math
import re
import reprlib
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from dxlthreateventclient.formats import FORMATS

PROGRAM = "python -m dxlthreateventclient" if sys.argv[0].endswith("__main__.py") else "dxlthreateventclient"
"""The command with which the user started this program."""

Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no other name


def add_subcommand(
    subcommands: Subcommands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    description: str,
    examples: Sequence[str],
) -> argparse.ArgumentParser:
    """Add a subcommand and return its parser.

    :param run: the function that runs the subcommand and returns the exit status
    :param description: the help text; its first sentence also appears in the list of subcommands
    :param examples: the arguments of each example
    """
    lines = "".join(f"\n  {PROGRAM} {name} {example}".rstrip() for example in examples)
    raw = argparse.RawDescriptionHelpFormatter
    parser = subcommands.add_parser(
        name,
        help=description.partition(". ")[0],
        description=description,
        epilog=f"examples:{lines}",
        formatter_class=raw,
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="write the log of dxlclient to stderr, too"
    )
    # Most subcommands run until the user presses Ctrl-C, so an interruption counts as success.
    parser.set_defaults(run=run, interrupted=0)
    return parser


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add ``--config`` with its default."""
    what = "the configuration of the DXL client (default: $DXLCLIENT_CONFIG, or dxlclient.config)"
    parser.add_argument("-c", "--config", metavar="FILE", help=what)


def add_format(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--format``."""
    what = "for people: text, json; for programs, one line each: jsonl, ecs, cef, ocsf (default: %(default)s)"
    parser.add_argument("--format", choices=FORMATS, default=default, help=what)


def _number(
    convert: Callable[[str], float], lowest: float, highest: float, what: str
) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = convert(text)
        except ValueError:
            value = math.nan
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"must be {what}, got {reprlib.repr(text)}")
        return value

    return number


# Each of these functions converts text to a number or lets argparse report an error.
positive = _number(int, 1, 10**18, "a whole number above 0")
severity = _number(int, 1, 7, "a severity from 1 (the most severe) to 7")
retries = _number(int, -1, 10**18, "a number of retries, or -1 for no limit")
port = _number(int, 0, 65535, "a port from 0 (any free one) to 65535")
seconds = _number(float, 0, 86_400, "seconds from 0 to 86400 (a day)")


def topic(text: str) -> str:
    """Validate and return a topic to publish to, or let argparse report an error."""
    if re.search("[#+\0\ud800-\udfff]|^$", text):
        raise argparse.ArgumentTypeError(f"must be a topic in UTF-8 without '#' and '+', got {text!r}")
    return text


def topic_filter(text: str) -> str:
    """Validate and return a topic or filter to subscribe to, or let argparse report an error."""
    topic(re.sub("(^|/)#$", "/", text))
    return text
