"""``fabric`` and ``demo``, run as processes."""

import json
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest
from helpers.command_line import PROGRAM, TIMEOUT, Command, run, without

from dxlthreateventclient.testing import LocalFabric

ROOT = Path(__file__).parents[2]
WAITING = "Waiting for threat events...\n"


def test_the_commands_that_fabric_prints_work_together(tmp_path: Path) -> None:
    directory = tmp_path / "a fabric"
    with Command("fabric", "--directory", directory) as fabric:
        output = fabric.output.wait_for(" publish ")
        assert str(directory / "dxlclient.config") in output.splitlines()[1]
        commands = [shlex.split(line) for line in output.splitlines() if line.startswith("  ")][1:]
        (environment, _, sample_file), (_, *listen_arguments), (_, *publish_arguments) = commands
        with (
            Command(
                program=[sys.executable, str(ROOT / sample_file)],
                DXLCLIENT_CONFIG=environment.removeprefix("DXLCLIENT_CONFIG="),
            ) as sample,
            Command(*listen_arguments, "--format", "json", program=[sys.executable]) as listen,
        ):
            sample.output.wait_for("Waiting for threat events")
            listen.errors.wait_for("Waiting for threat events")
            assert run(*publish_arguments, program=[sys.executable]).returncode == 0
            received = sample.output.wait_for("\n}\n"), listen.output.wait_for("\n}\n")
        assert received[0].partition("\n")[2] == received[1]
        assert fabric.end() == 0
    assert not directory.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_fabric_ends_with_0_and_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    with Command("fabric", "--directory", tmp_path) as fabric:
        fabric.output.wait_for("publish")
        assert {file.name for file in tmp_path.iterdir()} >= {"dxlclient.config", "client.key"}
        assert fabric.end(number) == 0
        assert fabric.errors.all() == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--directory {directory}", "exists already"),
        pytest.param(
            "--port {port}",
            "cannot listen on 127.0.0.1:{port}: Address already in use",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "--directory {directory}/no/parent",
            "{directory}/no/parent: No such file or directory",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_fabric_says_in_one_line_why_it_cannot_start(
    fabric: LocalFabric, tmp_path: Path, options: str, expected: str
) -> None:
    (tmp_path / "dxlclient.config").write_text("mine")
    there = {"port": fabric.port, "directory": tmp_path}
    completed = run("fabric", *(option.format(**there) for option in options.split()))
    assert (completed.returncode, completed.stdout) == (2, "")
    assert expected.format(**there) in completed.stderr
    assert completed.stderr.count("\n") == 1


def test_no_writable_temporary_directory_is_one_line() -> None:
    code = (
        "import sys, tempfile; tempfile._candidate_tempdir_list = lambda: ['/proc']\n"
        "from dxlthreateventclient._cli import main; sys.exit(main())"
    )
    completed = run("demo", program=[sys.executable, "-c", code])
    assert completed.returncode == 2
    assert "No usable temporary directory found in ['/proc']" in completed.stderr
    assert completed.stderr.count("\n") == 1


@pytest.mark.parametrize("options", [["-W", "error"], pytest.param([], marks=pytest.mark.slow)])
def test_demo_writes_only_the_events_to_stdout(options: list[str]) -> None:
    program = [PROGRAM[0], *options, *PROGRAM[1:]]
    completed = run("demo", "--count", 2, program=program)
    assert (completed.returncode, completed.stderr) == (0, WAITING)
    events = completed.stdout.split("Threat event on topic: /mcafee/event/epo/threat/response\n")
    assert events[0] == ""
    names = [json.loads(event)["event"]["threatName"] for event in events[1:]]
    assert names == ["ExP:Heap", "EICAR test file"]


@pytest.mark.parametrize(
    ("second", "status"), [pytest.param(None, 0, marks=pytest.mark.slow), (signal.SIGTERM, 130)]
)
def test_ctrl_c_ends_demo_and_a_second_one_at_once(second: int | None, status: int) -> None:
    with Command("demo", "--count", 100, "--format", "ecs") as demo:
        first = demo.output.wait_for("\n").splitlines()[0]
        assert json.loads(first)["event"]["reason"] == "ExP:Heap"
        if second:
            demo.process.send_signal(second)
        # After the first signal, the demo may end before the second one.
        assert demo.end(signal.SIGINT) in {0, status}
        assert demo.errors.all() == WAITING


def test_demo_into_a_closed_pipe_ends_with_0() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with Command("demo", stdout=writer) as demo:
        os.close(writer)
        assert demo.process.wait(TIMEOUT) == 0
        assert demo.errors.all() == WAITING


@pytest.mark.parametrize(
    "redirection",
    ["2>&-", *(pytest.param(other, marks=pytest.mark.slow) for other in ("2>/dev/full", "2> >(true)"))],
)
def test_messages_that_nobody_reads_end_nothing(redirection: str) -> None:
    """The messages are also not mixed with the events."""
    shell = ["bash", "-c", f'exec "$@" {redirection}', "bash", *PROGRAM]
    completed = run("demo", "--count", 1, "--format", "jsonl", program=shell)
    assert completed.returncode == 0
    assert json.loads(completed.stdout)["eventMessageType"] == "McAfee Common Event"


@pytest.mark.parametrize("subcommand", ["fabric", pytest.param("demo", marks=pytest.mark.slow)])
def test_without_the_extra_it_says_what_to_install(subcommand: str) -> None:
    completed = run(subcommand, program=without("amqtt"))
    assert (completed.returncode, completed.stdout) == (2, "")
    assert "pip install 'dxlthreateventclient[testing]'" in completed.stderr
    assert completed.stderr.count("\n") == 1
