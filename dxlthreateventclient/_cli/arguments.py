"""The options that several subcommands share, and the kinds of values that options take."""

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from dxlthreateventclient.formats import FORMATS

PROGRAM = "python -m dxlthreateventclient" if sys.argv[0].endswith("__main__.py") else "dxlthreateventclient"
"""How the user started this program."""

Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no other name


def add_subcommand(
    subcommands: Subcommands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    description: str,
    examples: Sequence[str],
) -> argparse.ArgumentParser:
    """Add a subcommand and return its parser.

    :param run: what runs it and returns the exit status
    :param description: what it does; the first sentence also stands in the list of subcommands
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
    # Most subcommands run until Ctrl-C: it is how they end well.
    parser.set_defaults(run=run, interrupted=0)
    return parser


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add ``--config``, which has a default."""
    default = os.environ.get("DXLCLIENT_CONFIG") or "dxlclient.config"
    what = "the configuration of the DXL client (default: what DXLCLIENT_CONFIG names, else dxlclient.config)"
    parser.add_argument("-c", "--config", metavar="FILE", type=Path, default=default, help=what)


def add_format(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--format``."""
    what = "for people: text, json; for programs, one line each: jsonl, ecs, cef, ocsf (default: %(default)s)"
    parser.add_argument("--format", choices=FORMATS, default=default, help=what)


def _whole_number(lowest: int, highest: int, what: str) -> Callable[[str], int]:
    def number(text: str) -> int:
        # Python converts no more than 4300 digits.
        value = int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else lowest - 1
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"must be {what}, got {text!r}")
        return value

    return number


# Each returns the number, or lets argparse report what is wrong.
positive = _whole_number(1, 10**18, "a whole number above 0")
severity = _whole_number(1, 7, "a severity from 1 (the most severe) to 7")
retries = _whole_number(-1, 10**18, "a number of retries, or -1 for no limit")
port = _whole_number(0, 65535, "a port from 0 (any free one) to 65535")


def seconds(text: str) -> float:
    """Return a time in seconds, or let argparse report what is wrong."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 86_400:
        raise argparse.ArgumentTypeError(f"must be seconds from 0 to 86400 (a day), got {text!r}")
    return number


def topic(text: str) -> str:
    """Return a topic to publish on, or let argparse report what is wrong."""
    if re.search("[#+\0\ud800-\udfff]|^$", text):
        raise argparse.ArgumentTypeError(f"must be a topic in UTF-8 without '#' and '+', got {text!r}")
    return text


def topic_filter(text: str) -> str:
    """Return a topic to listen on, or let argparse report what is wrong."""
    topic(text.removesuffix("/#") or "/")
    return text
