"""Ctrl-C and SIGTERM while the command line is still being imported, which takes a tenth of a second.

Without this, Python prints a traceback of the imports, and the first process of a container ignores SIGTERM.
"""

import os
import signal
import sys


def _is_command_line() -> bool:
    program = os.path.basename(sys.argv[0]) if sys.argv else ""  # noqa: PTH119 - pathlib takes long to import
    # While Python looks for the module of "-m", sys.argv[0] is "-m", and orig_argv has what was before it.
    return program == __package__ or (program == "-m" and sys.orig_argv[-len(sys.argv)].endswith(__package__))


if _is_command_line():
    for _number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(_number, lambda number, _: os._exit(128 + number))
