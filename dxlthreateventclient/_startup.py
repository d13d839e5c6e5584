"""Ctrl-C and SIGTERM while the command line is still being imported, which takes a tenth of a second.

Without this, Python prints a traceback of the imports, and the first process of a container ignores SIGTERM.
"""

import os
import signal
import sys


def _is_command_line() -> bool:
    # While Python looks for the module to run, sys.argv[0] is "-m", whichever module it is.
    arguments = sys.orig_argv
    name = os.path.basename(sys.argv[0]) if sys.argv else ""  # noqa: PTH119 - pathlib takes long to import
    return name == __package__ or (name == "-m" and __package__ in arguments[: arguments.index("-m") + 2])


if _is_command_line():
    for _number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(_number, lambda number, _: os._exit(128 + number))
