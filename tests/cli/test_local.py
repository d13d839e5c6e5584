"""``fabric`` and ``demo``, run as processes, and what is common to all subcommands."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import PROGRAM, TIMEOUT, Command, run, without

import dxlthreateventclient
from dxlthreateventclient.testing import LocalFabric

ROOT = Path(__file__).parents[2]


def test_the_commands_that_fabric_prints_bring_an_event_from_publish_to_listen_and_the_sample(
    tmp_path: Path,
) -> None:
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_fabric_ends_with_0_and_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    with Command("fabric", "--directory", tmp_path) as fabric:
        fabric.output.wait_for("publish")
        assert {file.name for file in tmp_path.iterdir()} >= {"dxlclient.config", "client.key"}
        assert fabric.end(number) == 0
        assert fabric.errors.all() == ""
    assert list(tmp_path.iterdir()) == []


def test_fabric_says_that_a_port_is_in_use_or_a_configuration_is_there(
    fabric: LocalFabric, tmp_path: Path
) -> None:
    in_use = run("fabric", "--port", fabric.port)
    assert (in_use.returncode, in_use.stdout) == (2, "")
    assert f"cannot listen on 127.0.0.1:{fabric.port}: Address already in use" in in_use.stderr
    (tmp_path / "dxlclient.config").write_text("mine")
    there = run("fabric", "--directory", tmp_path)
    assert (there.returncode, there.stdout) == (2, "")
    assert "exists already" in there.stderr
    assert in_use.stderr.count("\n") == there.stderr.count("\n") == 1


def test_demo_prints_the_events_and_nothing_else_on_stdout() -> None:
    completed = run("demo", "--count", 2)
    assert (completed.returncode, completed.stderr) == (0, "Waiting for threat events...\n")
    events = completed.stdout.split("Threat event on topic: /mcafee/event/epo/threat/response\n")
    assert events[0] == ""
    assert [json.loads(event)["event"]["threatName"] for event in events[1:]] == [
        "ExP:Heap",
        "EICAR test file",
    ]


def test_demo_prints_in_the_format_that_is_asked_for_and_ctrl_c_ends_it_with_0() -> None:
    with Command("demo", "--count", 100, "--format", "ecs") as demo:
        first = demo.output.wait_for("\n").splitlines()[0]
        assert json.loads(first)["event"]["reason"] == "ExP:Heap"
        assert demo.end(signal.SIGINT) == 0
        assert demo.errors.all() == "Waiting for threat events...\n"


def test_a_second_signal_ends_demo_at_once_and_without_a_traceback() -> None:
    with Command("demo", "--count", 100) as demo:
        demo.output.wait_for("\n")
        demo.process.send_signal(signal.SIGINT)
        assert demo.end(signal.SIGTERM) == 130
        assert demo.errors.all() == "Waiting for threat events...\n"


def test_demo_into_a_closed_pipe_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with Command("demo", stdout=writer) as demo:
        os.close(writer)
        assert demo.process.wait(TIMEOUT) == 0
        assert demo.errors.all() == "Waiting for threat events...\n"


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_messages_that_nobody_can_read_end_nothing_and_do_not_mix_with_events(redirection: str) -> None:
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", *PROGRAM]
    completed = run("demo", "--count", 1, "--format", "jsonl", program=shell)
    assert completed.returncode == 0
    assert json.loads(completed.stdout)["eventMessageType"] == "McAfee Common Event"


def test_messages_into_a_closed_pipe_end_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    completed = subprocess.run(
        [*PROGRAM, "demo", "--count", "1", "--format", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=writer,
        timeout=TIMEOUT,
        check=False,
    )
    os.close(writer)
    assert completed.returncode == 0
    assert json.loads(completed.stdout)["eventMessageType"] == "McAfee Common Event"


@pytest.mark.parametrize("subcommand", ["fabric", "demo"])
def test_without_the_extra_it_says_what_to_install(subcommand: str) -> None:
    completed = run(subcommand, program=without("amqtt"))
    assert (completed.returncode, completed.stdout) == (2, "")
    assert "pip install 'dxlthreateventclient[testing]'" in completed.stderr
    assert completed.stderr.count("\n") == 1


def test_it_says_its_version_and_that_a_subcommand_is_missing() -> None:
    assert run("--version").stdout == f"dxlthreateventclient {dxlthreateventclient.__version__}\n"
    completed = run()
    assert completed.returncode == 2
    assert "required: COMMAND" in completed.stderr


def test_the_console_script_calls_itself_by_its_own_name() -> None:
    script = Path(sys.executable).with_name("dxlthreateventclient")
    completed = subprocess.run([script, "demo", "--help"], capture_output=True, text=True, check=True)
    assert completed.stdout.startswith("usage: dxlthreateventclient demo")
    assert "  dxlthreateventclient demo --format" in completed.stdout
