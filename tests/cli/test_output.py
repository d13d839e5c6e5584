"""``listen`` as a service: its output files on full disks and during log rotation."""

import json
import os
import signal
import socket
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from helpers.command_line import PROGRAM, TIMEOUT, Listen, Start, run
from helpers.receiving import Epo
from helpers.waiting import until

from dxlthreateventclient.testing import LocalFabric

SIZE_LIMIT = 20_000
# Without root privileges, a file-size limit is the closest approximation to a full disk.
SET_LIMIT = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, 2 * [{SIZE_LIMIT}])"
LIMITED = [sys.executable, "-c", f"{SET_LIMIT}; os.execv(sys.argv[1], sys.argv[1:])", *PROGRAM]


def numbers_in(*files: Path) -> list[int]:
    """Return the event numbers in the files, ignoring incomplete last lines."""
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines(keepends=True)]
    return [json.loads(line)["event"]["id"] for line in lines if line.endswith("\n")]


def test_lines_are_appended_and_a_torn_one_is_ended(listen: Start, epo: Epo, tmp_path: Path) -> None:
    """If a power failure left the last line incomplete, ``listen`` adds a newline before the next event."""
    file = tmp_path / "events.jsonl"
    file.write_text("whole\nto")
    with listen("--format", "jsonl", "--output", file) as listening:
        epo.send(id=1)
        until(lambda: file.read_text().count("\n") == 3, "it is written at once")
        assert listening.end() == 0
        assert listening.said(1, 1, 0, 0, 0) == []
        assert listening.output.all() == ""
    *before, line = file.read_text().splitlines()
    assert (before, json.loads(line)["event"]["id"]) == (["whole", "to"], 1)


def test_the_name_may_hold_the_date(listen: Start, epo: Epo, tmp_path: Path) -> None:
    with listen("--output", tmp_path / "%Y" / "%m.txt", "--count", 1, TERM="xterm") as listening:
        epo.send()
        assert listening.process.wait(TIMEOUT) == 0
    [file] = tmp_path.rglob("*.txt")
    now = datetime.now(timezone.utc)
    assert file == tmp_path / f"{now:%Y}" / f"{now:%m}.txt"
    assert "\x1b" not in file.read_text()


@pytest.mark.parametrize("kind", ["output", "reject"])
def test_a_file_that_cannot_be_opened_is_reported_first(tmp_path: Path, kind: str) -> None:
    completed = run("listen", f"--{kind}".replace("reject", "reject-file"), tmp_path / "missing" / "file")
    assert completed.returncode == 2
    assert f"cannot write the {kind} file {tmp_path}/missing/file: No such file" in completed.stderr


def test_the_health_file_replaces_no_other_file(tmp_path: Path) -> None:
    for options in (["--output", f"{tmp_path}/a", "--health-file", f"{tmp_path}/./a"], ["--health-file", ""]):
        completed = run("listen", *options)
        assert (completed.returncode, list(tmp_path.iterdir())) == (2, [])
        assert "health" in completed.stderr


def test_rotating_it_12_times_under_load_loses_nothing(listen: Start, epo: Epo, tmp_path: Path) -> None:
    """logrotate renames the file, may create a new one and may send SIGHUP, which ends most programs."""
    file, rotated = tmp_path / "events", [tmp_path / f"events.{number}" for number in range(12)]
    with listen("--format", "jsonl", "--output", file) as listening:
        for number in range(600):
            epo.send(id=number)
            if number % 50 == 49:
                until(lambda: file.exists() and file.stat().st_size > 0, "some are written")
                file.rename(rotated[number // 50])
                if number % 100 == 99:
                    file.touch()
                listening.process.send_signal(signal.SIGHUP)
        epo.send(id=600)
        until(lambda: file.exists() and 600 in numbers_in(file), "the last one is written")
        assert listening.end() == 0
        assert listening.said(601, 601, 0, 0, 0) == []
    assert numbers_in(*rotated, file) == list(range(601))


@pytest.mark.usefixtures("without_coverage")
def test_a_file_without_room_is_tried_again_until_the_end(listen: Start, epo: Epo, tmp_path: Path) -> None:
    """``listen`` writes all events if space is freed before it exits; otherwise, it counts dropped events."""
    file, full = tmp_path / "events", tmp_path / "full"
    arguments = ("--format", "jsonl", "--output", file, "--drain-seconds", 1)
    with listen(*arguments, program=LIMITED) as listening:
        epo.send_many(30)
        listening.errors.wait_for(f"Cannot write {file}: File too large. Events wait in memory")
        assert file.stat().st_size <= SIZE_LIMIT
        file.rename(full)
        listening.errors.wait_for(f"{file} can be written again after")
        listening.errors.wait_for(f"Cannot write {file}", times=2)
        assert listening.end() == 1
        written = numbers_in(full, file)
        listening.said(30, len(written), 0, 0, 30 - len(written))
    assert written == list(range(len(written)))
    assert full.read_text().endswith("}\n"), "the half line that had room is removed"


@pytest.mark.slow
@pytest.mark.usefixtures("without_coverage")
def test_a_burst_that_memory_cannot_hold_either_is_counted(listen: Start, epo: Epo, tmp_path: Path) -> None:
    """The newest 10,000 events stay in memory, and dxlclient keeps receiving events."""
    file, full = tmp_path / "events", tmp_path / "full"
    arguments = ("--format", "jsonl", "--output", file, "--drain-seconds", 1)
    with listen(*arguments, program=LIMITED) as listening:
        epo.send_many(10_500)
        listening.errors.wait_for("from now on the oldest events are dropped")
        file.rename(full)
        until(lambda: file.exists() and len(numbers_in(file)) > 0, "it can be written again")
        assert listening.end() == 1
        before, after = numbers_in(full), numbers_in(file)
        written = len(before) + len(after)
        listening.said(10_500, written, 0, 0, 10_500 - written)
    assert before == list(range(len(before)))
    assert after == list(range(after[0], after[0] + len(after)))
    assert after[0] > len(before), "the oldest in memory are dropped"


def test_a_full_reject_file_ends_nothing(listen: Start, epo: Epo) -> None:
    """A sender must not be able to stop ``listen``. The log contains the payloads missing from the file."""
    with listen("--reject-file", "/dev/full") as listening:
        for _ in range(40):
            epo.send()
            epo.send_payload(b"junk")
        listening.errors.wait_for("was not handled: payload is not JSON", times=40)
        assert listening.end() == 1
        said = listening.said(80, 40, 40, 0, 0)
        assert "not in the reject file: 40" in listening.errors.all()
    assert sum("Cannot write the reject file /dev/full: No space left" in line for line in said) == 1
    assert len(said) == 41


class TestTheHealthFile:
    def test_has_the_status_and_the_counts(self, listen: Start, topic: str, tmp_path: Path) -> None:
        file = tmp_path / "health.json"
        with listen("--health-file", file, "--host", "ws-*"):
            until(lambda: json.loads(file.read_text())["subscribed"] == [topic], "it says so")
            health = json.loads(file.read_text())
            assert health["connected"]
            assert health["open_gap"] is None
            assert {"delivered", "written", "rejected", "filtered", "dropped"} <= health.keys()
            assert datetime.fromisoformat(health["written_at"]).tzinfo
            assert [path.name for path in tmp_path.iterdir()] == ["health.json"]

    def test_follows_the_connection(self, topic: str, tmp_path: Path) -> None:
        file = tmp_path / "health.json"
        with LocalFabric() as fabric, Listen(fabric.config_file, topic, "--health-file", file):
            fabric.stop()
            until(lambda: bool(json.loads(file.read_text())["open_gap"]), "there is a gap")
            health = json.loads(file.read_text())
            assert not health["connected"]
            assert health["open_gap"]["topics"] == [topic]


def test_systemd_is_notified_while_the_loop_goes_on(listen: Start, epo: Epo, tmp_path: Path) -> None:
    """The loop waits while nothing reads from the output pipe."""
    reader, writer = os.pipe()
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}
    with (
        os.fdopen(reader),
        os.fdopen(writer, "w"),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
    ):
        systemd.bind(environment["NOTIFY_SOCKET"])
        systemd.settimeout(2)
        with listen("--format", "jsonl", stdout=writer, **environment):
            states = [systemd.recv(4096).decode() for _ in range(6)]
            assert "READY=1\nSTATUS=Waiting for threat events" in states
            assert states.count("WATCHDOG=1") >= 3
            epo.send_many(300)
            with pytest.raises(TimeoutError):
                states += [systemd.recv(4096).decode() for _ in range(20)]
