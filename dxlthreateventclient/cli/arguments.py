"""The kinds of values that options take."""

import argparse


def positive(text: str) -> int:
    """Return a whole number above 0, or have argparse report what is wrong."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def port(text: str) -> int:
    """Return a TCP port, or have argparse report what is wrong."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: it goes from 0 (any free one) to 65535")
    return int(text)
