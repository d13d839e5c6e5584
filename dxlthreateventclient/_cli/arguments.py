"""The options that several subcommands share, and the kinds of values that options take."""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dxlthreateventclient._cli.output import FORMATS
from dxlthreateventclient._subscriptions import check_topic

# Python converts no more than 4300 digits, and there is no use for more than these.
_DIGITS = 18

PROGRAM = (
    "python -m dxlthreateventclient" if Path(sys.argv[0]).name == "__main__.py" else "dxlthreateventclient"
)
"""How the user started this program."""


def add_subcommand(
    subcommands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    *,
    summary: str,
    description: str,
    examples: Sequence[str],
) -> argparse.ArgumentParser:
    """Add a subcommand and return its parser.

    :param summary: its line in the list of subcommands
    :param description: what it does, for its own help
    :param examples: the arguments of each example
    """
    lines = "\n".join(f"  {PROGRAM} {name} {arguments}".rstrip() for arguments in examples)
    return subcommands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"examples:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add ``--config``, which has a default."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        type=Path,
        default=os.environ.get("DXLCLIENT_CONFIG") or "dxlclient.config",
        help="the configuration of the DXL client"
        " (default: what the environment variable DXLCLIENT_CONFIG names, else dxlclient.config)",
    )


def add_format(parser: argparse.ArgumentParser, *, default: str) -> None:
    """Add ``--format``."""
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=default,
        help="text: a line for people; json: the topic and the event as indented JSON; one line each: jsonl"
        " (the event), ecs (Elastic Common Schema), cef (Common Event Format) (default: %(default)s)",
    )


def positive(text: str) -> int:
    """Return a whole number above 0, or have argparse report what is wrong."""
    if not _is_number(text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to {10**_DIGITS - 1}")
    return int(text)


def severity(text: str) -> int:
    """Return a severity of ePO, or have argparse report what is wrong."""
    if not _is_number(text) or not 1 <= int(text) <= 7:
        raise argparse.ArgumentTypeError(f"{text!r} is no severity: 1 is the most severe, 7 the least")
    return int(text)


def retries(text: str) -> int:
    """Return how often to try again, -1 for ever, or have argparse report what is wrong."""
    if text != "-1" and not _is_number(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of retries: 0 or more, or -1 for ever")
    return int(text)


def seconds(text: str) -> float:
    """Return a time in seconds, or have argparse report what is wrong."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds, from 0 to 86400 (a day)")
    return number


def port(text: str) -> int:
    """Return a TCP port, or have argparse report what is wrong."""
    if not _is_number(text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: it goes from 0 (any free one) to 65535")
    return int(text)


def topic_filter(text: str) -> str:
    """Return a topic to listen on, or have argparse report what is wrong."""
    try:
        text.encode()
        check_topic(text)
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no topic: it is not UTF-8") from error
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def topic(text: str) -> str:
    """Return a topic to publish on, or have argparse report what is wrong."""
    if text.endswith("#"):
        raise argparse.ArgumentTypeError(f"{text!r} is a filter: publish on a topic without '#'")
    return topic_filter(text)


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= _DIGITS
