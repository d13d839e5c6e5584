"""Terminal output: one line for each message, no tracebacks, and full logs on request."""

import io
import os
import sys

import pytest
from helpers.command_line import run, shown_on_terminal

from dxlthreateventclient._cli import terminal
from dxlthreateventclient.testing import LocalFabric


def reported(program: str, *arguments: object, verbose: bool = False) -> str:
    """Return the stderr output of a program that calls report_faults()."""
    set_up = (
        "import logging, sys, threading\n"
        "from dxlclient.client import DxlClient\nfrom dxlclient.message import Event\n"
        "from dxlthreateventclient import load_configuration\n"
        "from dxlthreateventclient._cli.terminal import log, report_faults\n"
        f"report_faults(verbose={verbose})\nlog.is_in_use = True\n"
    )
    return run(*arguments, program=[sys.executable, "-c", set_up + program]).stderr


FAULTS = r"""
logging.getLogger('dxlclient.client').warning('first\nsecond\x1b[2J')
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger('dxlclient').exception('An error')
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
class Broken:
    def __del__(self): 1 / 0
Broken()
for _ in range(2): logging.getLogger('dxlthreateventclient').warning('what this package repeats')
"""


def test_each_fault_is_reported_in_one_line() -> None:
    assert reported(FAULTS).splitlines() == [
        "dxlclient: first second\ufffd[2J",
        "dxlclient: An error: ZeroDivisionError: division by zero",
        "a thread ended: ZeroDivisionError: division by zero",
        "ignored: ZeroDivisionError: division by zero",
        "what this package repeats",
        "what this package repeats",
    ]


@pytest.mark.parametrize(
    ("first", "hidden"),
    [
        ("", {1, 3}),  # repeated
        ("terminal._FORGET_AFTER = 0", {3}),  # repeated later
        ("log.is_in_use = False", {0, 1, 2, 3}),  # before use
    ],
)
def test_what_dxlclient_repeats_is_hidden_but_not_if_verbose(first: str, hidden: set[int]) -> None:
    """Each connection attempt logs the same lines with a different delay."""
    program = (
        f"from dxlthreateventclient._cli import terminal; {first}\n"
        "logger = logging.getLogger('dxlclient.client')\n"
        "for delay in (1, 2.5): logger.error('Retrying in %s seconds', delay)\n"
        "logger.error('Another fault')\nlogger.debug('Details')\n"
    )
    lines = ["Retrying in 1 seconds", "Retrying in 2.5 seconds", "Another fault", "Details"]
    every = [f"dxlclient: {line}" for line in lines]
    shown = [line for number, line in enumerate(every) if number not in hidden]
    assert reported(program).splitlines() == shown
    assert reported(program, verbose=True).splitlines() == every


@pytest.mark.parametrize("verbose", [True, False])
def test_threads_of_a_closed_client_are_hidden(fabric: LocalFabric, *, verbose: bool) -> None:
    """Only during shutdown is it normal for a dxlclient thread to fail because its client is partly gone."""
    program = """
client = DxlClient(load_configuration(sys.argv[1]))
client.destroy()
for log.is_in_use in (False, True):
    late = threading.Thread(target=client.send_event, args=[Event("/topic")])
    late.start()
    late.join()
    print("joined", file=sys.stderr)
"""
    closed, in_use, _ = reported(program, fabric.config_file, verbose=verbose).split("joined")
    ended = "dxlclient: a thread ended: AttributeError"
    assert (ended in closed, ended in in_use) == (verbose, True)


def test_verbose_shows_the_log_of_dxlclient(fabric: LocalFabric, topic: str) -> None:
    completed = run("publish", "-c", fabric.config_file, "--topic", topic, "--verbose")
    assert "dxlclient: Connected to broker local" in completed.stderr


@pytest.mark.parametrize(
    ("is_terminal", "written"), [(True, rb"\u75c5" + b"\n"), (False, f"病{os.linesep}".encode())]
)
def test_events_reach_terminals_and_pipes_in_any_locale(
    monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool, written: bytes
) -> None:
    """Characters that a terminal cannot show are escaped. A pipe receives UTF-8."""
    buffer = io.BytesIO()
    stdout = io.TextIOWrapper(buffer, encoding="ascii")
    monkeypatch.setattr(stdout, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stdout", stdout)
    terminal.write("病")
    assert buffer.getvalue() == written


def shown(program: str, **environment: str) -> str:
    """Return a program's terminal output."""
    imports = "from dxlclient.message import Event; from dxlthreateventclient._cli import terminal as t"
    return shown_on_terminal(program=[sys.executable, "-c", f"{imports}; {program}"], **environment)


def test_progress_is_replaced_by_the_next_message() -> None:
    assert shown("t.show_progress('1 of 2'); t.tell('done')") == "\r\x1b[K1 of 2\r\x1b[Kdone\r\n"


@pytest.mark.parametrize(
    ("action", "outcome", "painted"),
    [
        (
            "IDS_ACTION_WOULD_BLOCK",
            "NOT STOPPED: would block",
            "\x1b[1;37;41mNOT STOPPED: would block\x1b[0m",
        ),
        ("IDS_ALERT_ACT_TAK_DEL", "deleted", "deleted"),
    ],
)
def test_a_threat_that_was_not_stopped_is_seen_at_once(action: str, outcome: str, painted: str) -> None:
    """Even without colors, the output shows which threats were not stopped."""
    program = f"t.write(t.text_of({{'event': {{'threatActionTaken': '{action}'}}}}, Event('/t'), 'text'))"
    assert shown(program, NO_COLOR="").endswith(f"\x1b[0m{painted}\r\n")
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert shown(program, **environment).endswith(f"  {outcome}\r\n")
