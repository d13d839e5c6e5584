"""What reaches stderr: one line for each message, and no traceback."""

import subprocess
import sys

import pytest

from dxlthreateventclient._cli.messages import one_line
from dxlthreateventclient.testing import LocalFabric


def test_one_line_is_one_line() -> None:
    assert one_line(" a\r\n\tb\x1b[2J ") == "a b\ufffd[2J"


def told(program: str, *arguments: object) -> str:
    """What a program says that tells instead of tracebacks."""
    set_up = (
        "import logging, sys, threading\n"
        "from dxlthreateventclient._cli.messages import tell_instead_of_tracebacks\n"
        "tell_instead_of_tracebacks()\n"
    )
    completed = subprocess.run(
        [sys.executable, "-c", set_up + program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return completed.stderr


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        pytest.param(
            "logging.getLogger('dxlclient.client').warning('first\\nsecond\\x1b[2J')",
            "dxlclient: first second\ufffd[2J\n",
            id="a log message of two lines",
        ),
        pytest.param(
            "try: 1 / 0\nexcept ZeroDivisionError: logging.getLogger('dxlclient').exception('An error')",
            "dxlclient: An error: ZeroDivisionError: division by zero\n",
            id="a logged exception",
        ),
        pytest.param(
            "threading.Thread(target=lambda: 1 / 0).start()",
            "a thread ended: ZeroDivisionError: division by zero\n",
            id="an exception that ends a thread",
        ),
        pytest.param(
            "class Broken:\n    def __del__(self): 1 / 0\nBroken()",
            "ignored: ZeroDivisionError: division by zero\n",
            id="an exception in a destructor",
        ),
        pytest.param(
            "logging.getLogger('dxlclient.client').error('Unexpected disconnect with result code %s', 1)",
            "",
            id="what is told in other words",
        ),
    ],
)
def test_what_goes_wrong_out_of_sight_is_told_in_one_line(program: str, expected: str) -> None:
    assert told(program) == expected


def test_that_dxlclient_finds_itself_closed_is_nothing_to_tell(fabric: LocalFabric) -> None:
    program = """
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig
from dxlclient.message import Event
client = DxlClient(DxlClientConfig.create_dxl_config_from_file(sys.argv[1]))
client.destroy()
late = threading.Thread(target=client.send_event, args=[Event("/topic")])
late.start()
late.join()
"""
    assert told(program, fabric.config_file) == ""


def test_that_dxlclient_waits_for_a_thread_that_has_not_begun_is_nothing_to_tell(fabric: LocalFabric) -> None:
    program = """
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig
client = DxlClient(DxlClientConfig.create_dxl_config_from_file(sys.argv[1]))
client._client._thread = threading.Thread()
late = threading.Thread(target=client._disconnect)
late.start()
late.join()
"""
    assert told(program, fabric.config_file) == ""
