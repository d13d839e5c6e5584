"""Run the ``fabric`` and ``demo`` subcommands as processes."""

import json
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest
from helpers.command_line import PROGRAM, TIMEOUT, Command, run, without

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


def test_ctrl_c_ends_fabric_and_it_leaves_nothing_behind(tmp_path: Path) -> None:
    with Command("fabric", "--directory", tmp_path) as fabric:
        fabric.output.wait_for("publish")
        assert {file.name for file in tmp_path.iterdir()} >= {"dxlclient.config", "client.key"}
        assert fabric.end(signal.SIGINT) == 0
        assert fabric.errors.all() == ""
    assert list(tmp_path.iterdir()) == []


def test_fabric_says_in_one_line_why_it_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "dxlclient.config").write_text("mine")
    completed = run("fabric", "--directory", tmp_path)
    assert (completed.returncode, completed.stdout) == (2, "")
    assert "exists already" in completed.stderr
    assert completed.stderr.count("\n") == 1


def test_demo_writes_only_the_events_to_stdout() -> None:
    completed = run("demo", "--count", 2, program=[PROGRAM[0], "-W", "error", *PROGRAM[1:]])
    assert (completed.returncode, completed.stderr) == (0, WAITING)
    events = completed.stdout.split("Threat event on topic: /mcafee/event/epo/threat/response\n")
    assert events[0] == ""
    names = [json.loads(event)["event"]["threatName"] for event in events[1:]]
    assert names == ["ExP:Heap", "EICAR test file"]


def test_a_signal_ends_demo_and_a_second_one_at_once() -> None:
    with Command("demo", "--count", 100, "--format", "ecs") as demo:
        first = demo.output.wait_for("\n").splitlines()[0]
        assert json.loads(first)["event"]["reason"] == "ExP:Heap"
        demo.process.send_signal(signal.SIGTERM)
        # The demo may end before the second signal arrives.
        assert demo.end(signal.SIGINT) in {0, 130}
        assert demo.errors.all() == WAITING


def test_demo_into_a_closed_pipe_ends_with_0() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with Command("demo", stdout=writer) as demo:
        os.close(writer)
        assert demo.process.wait(TIMEOUT) == 0
        assert demo.errors.all() == WAITING


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_messages_that_nobody_reads_end_nothing(redirection: str) -> None:
    """If stderr is closed or full, the demo still succeeds and writes only events to stdout."""
    shell = ["bash", "-c", f'exec "$@" {redirection}', "bash", *PROGRAM]
    completed = run("demo", "--count", 1, "--format", "jsonl", program=shell)
    assert completed.returncode == 0
    assert json.loads(completed.stdout)["eventMessageType"] == "McAfee Common Event"


def test_without_the_extra_it_says_what_to_install() -> None:
    completed = run("demo", program=without("amqtt"))
    assert (completed.returncode, completed.stdout) == (2, "")
    assert "pip install 'dxlthreateventclient[testing]'" in completed.stderr
    assert completed.stderr.count("\n") == 1
