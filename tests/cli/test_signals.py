"""Signals that come at odd moments."""

import subprocess
import sys

PROGRAM = """
import signal

from dxlthreateventclient._cli.messages import tell_instead_of_tracebacks
from dxlthreateventclient._cli.signals import interrupt_on_signals, pause

class Signalling:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

interrupt_on_signals()
tell_instead_of_tracebacks()
Signalling()
try:
    pause(60)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_signal_that_comes_while_a_destructor_runs_is_not_lost() -> None:
    completed = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=True
    )
    assert (completed.stdout, completed.stderr) == ("interrupted\n", "")
