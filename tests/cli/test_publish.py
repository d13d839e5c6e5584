"""``publish``, run as a process against a real fabric."""

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dxlclient.client import DxlClient
from helpers.command_line import TIMEOUT, Command, run, shown_on_terminal
from helpers.ports import reserve_port

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.testing import LocalFabric

Arguments = tuple[object, ...]
Received = Callable[[int], list[Any]]


@pytest.fixture
def received(dxl_client: DxlClient, topic: str) -> Iterator[Received]:
    """A function that returns the next events on the topic and checks that no others arrive."""
    with CommonThreatEventClient(dxl_client) as client, client.threat_events(topic) as events:

        def take(number: int) -> list[dict[str, Any]]:
            taken = [events.get(timeout=TIMEOUT)[0] for _ in range(number)]
            assert not events.buffered
            return taken

        yield take


@pytest.fixture
def arguments(fabric: LocalFabric, topic: str) -> Arguments:
    return "publish", "-c", fabric.config_file, "--topic", topic


def test_the_sample_event_goes_to_the_topic_of_epo(fabric: LocalFabric) -> None:
    completed = run("publish", "-c", fabric.config_file)
    assert (completed.returncode, completed.stdout) == (0, "")
    where = f"the broker 127.0.0.1:{fabric.port} on topic {EPO_THREAT_EVENT_RESPONSE_TOPIC}"
    assert completed.stderr == f"Sending 1 event to {where}\n"


def test_files_and_stdin_are_sent_in_order(arguments: Arguments, received: Received, tmp_path: Path) -> None:
    documents = [{"number": number, "filling": "x" * 2000} for number in range(400)]
    (tmp_path / "lines.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (tmp_path / "array.json").write_text('[{"number": 400},\n{"number": 401}]')
    files = (tmp_path / "lines.jsonl", tmp_path / "array.json", "-")
    completed = run(*arguments, *files, "--count", 1000, stdin='{"number": 402}\n{"number": "\\ud800"}\n')
    assert completed.returncode == 0
    assert "Sending 1000 events" in completed.stderr
    documents += [{"number": 400}, {"number": 401}, {"number": 402}, {"number": "\ud800"}]
    assert received(1000) == (documents * 3)[:1000]


def test_after_a_bad_document_none_is_sent(arguments: Arguments, received: Received, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text('{"n": 1}')
    (tmp_path / "bad.jsonl").write_text('{"n": 2}\n{"n": 3\n')
    completed = run(*arguments, tmp_path / "good.json", tmp_path / "bad.jsonl")
    assert completed.returncode == 2
    assert f"{tmp_path / 'bad.jsonl'}, line 2: invalid JSON begins here" in completed.stderr
    assert completed.stderr.count("\n") == 1
    # The first event to arrive is the one from this command.
    assert run(*arguments).returncode == 0
    assert "event" in received(1)[0]


def test_ctrl_c_says_how_many_were_sent(arguments: Arguments, received: Received) -> None:
    with Command(*arguments, "--interval", 60, "--count", 3) as publish:
        received(1)
        assert publish.end(signal.SIGINT) == 130
        # The signal may arrive before ``publish`` has counted the event.
        assert re.match(r"Sending 3 .*\nInterrupted after [01] events? of 3\n$", publish.errors.all())


def test_a_broker_that_restarts_meanwhile_is_an_error(topic: str) -> None:
    """Events in transit may be lost, and a new connection must not hide the loss."""
    with LocalFabric(port=reserve_port()) as fabric:
        options = ("--topic", topic, "--interval", 2, "--count", 2)
        with Command("publish", "-c", fabric.config_file, *options) as publish:
            publish.errors.wait_for("Sending 2 events")
            fabric.stop()
            fabric.start()
            assert publish.process.wait(TIMEOUT) == 1
            *_, last = publish.errors.all().splitlines()
            assert re.search(r"([01]) of 2 events had been sent, and the last \1 of these may be lost", last)
            assert "Traceback" not in publish.errors.all()


def test_a_broker_that_stops_answering_is_an_error(topic: str) -> None:
    impatient = (
        "import sys; from dxlthreateventclient._cli import broker, main\n"
        "broker._ECHO_WITHIN = 0.5; sys.exit(main())"
    )
    with LocalFabric() as fabric:
        arguments = ("publish", "-c", fabric.config_file, "--topic", topic, "--count", 2, "--interval", 2)
        with Command(*arguments, program=[sys.executable, "-c", impatient]) as publish:
            publish.errors.wait_for("Sending 2 events")
            fabric.freeze()
            assert publish.process.wait(TIMEOUT) == 1
            assert "the last 2 of these may be lost" in publish.errors.all()


def test_a_terminal_shows_progress(arguments: Arguments) -> None:
    assert "2 of 3 events sent" in shown_on_terminal(*arguments, "--count", 3, "--interval", 0.1)
