"""Signals at unusual moments."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import PROGRAM, TIMEOUT, Command, Start, run
from helpers.receiving import Epo

IN_A_DESTRUCTOR = """
import signal

from dxlthreateventclient._cli.signals import interrupt_on_signals, pause
from dxlthreateventclient._cli.terminal import report_faults

class Signalling:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

interrupt_on_signals()
report_faults(verbose=False)
Signalling()
try:
    pause(60)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_program_that_imports_the_package_keeps_its_handlers() -> None:
    before = "import signal; before = [*map(signal.getsignal, (1, 2, 15))]"
    after = "import dxlthreateventclient._cli; print(before == [*map(signal.getsignal, (1, 2, 15))])"
    assert run(program=[sys.executable, "-c", f"{before}; {after}"]).stdout == "True\n"


UNSHARE = [shutil.which("unshare") or "", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]


def can_unshare() -> bool:
    """Return True if the system supports PID namespaces and can list a process's children."""
    if not UNSHARE[0] or not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="needs the right to make a PID namespace")
def test_a_signal_ends_the_first_process_of_a_container() -> None:
    """The kernel ignores a signal to a container's first process if that process has no handler for it."""
    with Command("demo", program=[*UNSHARE, *PROGRAM]) as command:
        command.output.wait_for("\n")
        children = Path(f"/proc/{command.process.pid}/task/{command.process.pid}/children")
        first = int(children.read_text().split()[0])
        assert Path(f"/proc/{first}/status").read_text().partition("NSpid:")[2].split()[1] == "1"
        os.kill(first, signal.SIGTERM)
        assert command.process.wait(TIMEOUT) == 0


def test_a_signal_is_not_lost_in_a_destructor() -> None:
    completed = run(program=[sys.executable, "-c", IN_A_DESTRUCTOR])
    assert (completed.stdout, completed.stderr) == ("interrupted\n", "")


@pytest.mark.parametrize("is_ignored", [False, True], ids=["by default", "under nohup"])
def test_sighup_ends_listen_as_sigterm_does(listen: Start, epo: Epo, is_ignored: bool) -> None:
    """A program receives SIGHUP when its terminal closes. Under nohup, programs ignore SIGHUP."""
    program = ["nohup", *PROGRAM] if is_ignored else PROGRAM
    with listen("--format", "jsonl", program=program) as listening:
        epo.send_many(3)
        listening.output.wait_for("\n", times=3)
        listening.process.send_signal(signal.SIGHUP)
        if is_ignored:
            epo.send_many(3)
            listening.output.wait_for("\n", times=6)
            listening.process.send_signal(signal.SIGTERM)
        assert listening.process.wait(TIMEOUT) == 0
        count = 6 if is_ignored else 3
        listening.said(count, count, 0, 0, 0)
