"""``listen`` as a service: what becomes of its files on full disks, and when they are rotated."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from dxlclient.client import DxlClient
from helpers.command_line import PROGRAM, TIMEOUT, Listen, run
from helpers.mosquitto import Mosquitto
from helpers.receiving import Publisher, publish_payload, publish_until_all_have_them
from helpers.waiting import until

from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event

SIZE_LIMIT = 20_000
# Without root, a limit for the size of each file is the nearest to a full disk.
SET_LIMIT = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, 2 * [{SIZE_LIMIT}])"
LIMITED = [sys.executable, "-c", f"{SET_LIMIT}; os.execv(sys.argv[1], sys.argv[1:])", *PROGRAM]
KIBIBYTE = 1024


def numbers_in(*files: Path) -> list[int]:
    """The numbers of the events in files, without half a line at the end that is just being written."""
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines(keepends=True)]
    return [json.loads(line)["event"]["id"] for line in lines if line.endswith("\n")]


def publish(dxl_client: DxlClient, topic: str, *numbers: int) -> None:
    for number in numbers:
        publish_threat_event(dxl_client, sample_threat_event(id=number), topic)


def test_lines_are_appended_and_a_torn_one_is_ended(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str, tmp_path: Path
) -> None:
    """A power cut may have torn the last line: what is there stays, and the next event begins a new one."""
    file = tmp_path / "events.jsonl"
    file.write_text("whole\nto")
    with Listen(fabric.config_file, topic, "--format", "jsonl", "--output", file) as listen:
        publish(dxl_client, topic, 1)
        until(lambda: file.read_text().count("\n") == 3, "it is written at once")
        assert listen.end() == 0
        assert listen.said(1, 1, 0, 0, 0) == []
        assert listen.output.all() == ""
    *before, line = file.read_text().splitlines()
    assert (before, json.loads(line)["event"]["id"]) == (["whole", "to"], 1)


def test_the_name_may_hold_the_date(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str, tmp_path: Path
) -> None:
    output = tmp_path / "%Y" / "%m.txt"
    with Listen(fabric.config_file, topic, "--output", output, "--count", 1, TERM="xterm") as listen:
        publish(dxl_client, topic, 1)
        assert listen.process.wait(TIMEOUT) == 0
    [file] = tmp_path.rglob("*.txt")
    now = datetime.now(timezone.utc)
    assert file == tmp_path / f"{now:%Y}" / f"{now:%m}.txt"
    assert "\x1b" not in file.read_text()


def test_a_file_that_cannot_be_opened_is_reported_first(tmp_path: Path) -> None:
    completed = run("listen", "--output", tmp_path / "missing" / "file")
    assert completed.returncode == 2
    assert f"cannot write the output file {tmp_path}/missing/file: No such file" in completed.stderr


def test_rotating_it_12_times_under_load_loses_nothing(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str, tmp_path: Path
) -> None:
    """logrotate renames the file, may make a new one, and may send SIGHUP, which kills by default."""
    file, rotated = tmp_path / "events", [tmp_path / f"events.{number}" for number in range(12)]
    with Listen(fabric.config_file, topic, "--format", "jsonl", "--output", file) as listen:
        for number, old in enumerate(rotated):
            publish(dxl_client, topic, *range(50 * number, 50 * number + 50))
            until(lambda: file.exists() and file.stat().st_size > 0, "some are written")
            file.rename(old)
            if number % 2:
                file.touch()
            listen.process.send_signal(signal.SIGHUP)
        publish(dxl_client, topic, 600)
        until(lambda: file.exists() and 600 in numbers_in(file), "the last one is written")
        assert listen.end() == 0
        assert listen.said(601, 601, 0, 0, 0) == []
    assert numbers_in(*rotated, file) == list(range(601))


def test_two_that_overlap_miss_nothing_between_them(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str, tmp_path: Path
) -> None:
    """As an upgrade does: the new one listens before the old one is stopped."""
    old, new = tmp_path / "old", tmp_path / "new"
    arguments = ("--format", "jsonl", "--output")
    with (
        Listen(fabric.config_file, topic, *arguments, old) as first,
        Publisher(dxl_client, topic, 0.005) as publisher,
    ):
        until(lambda: len(numbers_in(old)) > 10, "the old one receives")
        with Listen(fabric.config_file, topic, *arguments, new) as second:
            assert first.end() == 0
            until(lambda: len(numbers_in(new)) > 10, "the new one receives")
            publisher.stop()
            until(lambda: publisher.count in numbers_in(new), "the last one is written")
            assert second.end() == 0
    both = numbers_in(old), numbers_in(new)
    assert sorted(set().union(*both)) == list(range(min(both[0]), publisher.count + 1))


@pytest.mark.usefixtures("without_coverage")
def test_a_file_without_room_is_tried_again(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str, tmp_path: Path
) -> None:
    """Nothing is lost if there is room again before the memory is full, too."""
    file, full = tmp_path / "events", tmp_path / "full"
    arguments = ("--format", "jsonl", "--output", file)
    with Listen(fabric.config_file, topic, *arguments, program=LIMITED) as listen:
        publish_until_all_have_them(dxl_client, topic, count := 20)
        listen.errors.wait_for(f"Cannot write {file}: File too large. Events wait in memory")
        assert file.stat().st_size <= SIZE_LIMIT
        file.rename(full)
        assert listen.end() == 0
        assert "can be written again after" in listen.said(count, count, 0, 0, 0)[-1]
    assert numbers_in(full, file) == list(range(count))
    assert full.read_text().endswith("}\n"), "the half line that had room is removed"


@pytest.mark.usefixtures("without_coverage")
def test_what_finds_no_room_until_the_end_is_counted(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str, tmp_path: Path
) -> None:
    file = tmp_path / "events"
    arguments = ("--format", "jsonl", "--output", file, "--drain-seconds", 1)
    with Listen(fabric.config_file, topic, *arguments, program=LIMITED) as listen:
        publish_until_all_have_them(dxl_client, topic, 30)
        listen.errors.wait_for("File too large")
        assert listen.end() == 1
        numbers = numbers_in(file)
        listen.said(30, len(numbers), 0, 0, 30 - len(numbers))
    assert numbers == list(range(len(numbers)))
    assert file.read_text().endswith("}\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full stands for a full disk")
def test_a_full_reject_file_ends_nothing(fabric: LocalFabric, dxl_client: DxlClient, topic: str) -> None:
    """A sender could end it otherwise. The log has what the file lacks."""
    with Listen(fabric.config_file, topic, "--format", "jsonl", "--reject-file", "/dev/full") as listen:
        for number in range(40):
            publish(dxl_client, topic, number)
            publish_payload(dxl_client, b"junk", topic)
        listen.errors.wait_for("was not handled: payload is not JSON", times=40)
        assert listen.end() == 1
        said = listen.said(80, 40, 40, 0, 0)
        assert "not in the reject file: 40" in listen.errors.all()
    assert sum("Cannot write the reject file /dev/full: No space left" in line for line in said) == 1
    assert len(said) == 41


class TestTheHealthFile:
    def test_has_the_status_and_the_counts(
        self, fabric: LocalFabric, dxl_client: DxlClient, topic: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "health.json"
        arguments = ("--health-file", file, "--host", "ws-*", "--format", "jsonl")
        with Listen(fabric.config_file, topic, *arguments):
            until(lambda: json.loads(file.read_text())["subscribed"] == [topic], "it says so")
            health = json.loads(file.read_text())
            assert health["connected"]
            assert health["gap"] is None
            assert {"received", "written", "rejected", "filtered", "dropped"} <= health.keys()
            assert datetime.fromisoformat(health["written_at"]).tzinfo
            assert [path.name for path in tmp_path.iterdir()] == ["health.json"]

    def test_follows_the_connection(self, topic: str, tmp_path: Path) -> None:
        file = tmp_path / "health.json"
        with LocalFabric() as fabric, Listen(fabric.config_file, topic, "--health-file", file):
            fabric.stop()
            until(lambda: bool(json.loads(file.read_text())["gap"]), "there is a gap")
            health = json.loads(file.read_text())
            assert not health["connected"]
            assert health["gap"]["topics"] == [topic]


def test_systemd_is_notified_while_the_loop_goes_on(
    fabric: LocalFabric, dxl_client: DxlClient, topic: str, tmp_path: Path
) -> None:
    """The loop hangs when nobody reads the pipe to which it writes."""
    reader, writer = os.pipe()
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}
    with (
        os.fdopen(reader),
        os.fdopen(writer, "w"),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
    ):
        systemd.bind(environment["NOTIFY_SOCKET"])
        systemd.settimeout(4)
        with Listen(fabric.config_file, topic, "--format", "jsonl", stdout=writer, **environment):
            states = [systemd.recv(4096).decode() for _ in range(6)]
            assert "READY=1\nSTATUS=Waiting for threat events" in states
            assert states.count("WATCHDOG=1") >= 3
            publish_until_all_have_them(dxl_client, topic, 300)
            with pytest.raises(TimeoutError):
                states += [systemd.recv(4096).decode() for _ in range(20)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB. Mounting it takes the rights of root."""
    sudo = ["sudo", "-n"] if os.geteuid() else []
    disk = tmp_path / "disk"
    disk.mkdir()
    options = f"size=1m,uid={os.geteuid()}"
    subprocess.run([*sudo, "mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)
    yield disk
    subprocess.run([*sudo, "umount", disk], check=True)


@pytest.fixture
def mosquitto() -> Iterator[Mosquitto]:
    with Mosquitto() as broker:
        yield broker


@pytest.mark.servers
@pytest.mark.timeout(180)
class TestALargeBurst:
    def test_on_a_full_disk_waits_for_room(self, mosquitto: Mosquitto, topic: str, small_disk: Path) -> None:
        ballast, file = small_disk / "ballast", small_disk / "events"
        ballast.write_bytes(bytes(600 * KIBIBYTE))
        with DxlClient(mosquitto.client_config()) as epo:
            epo.connect()
            with Listen(mosquitto.config_file, topic, "--format", "jsonl", "--output", file) as listen:
                publish_until_all_have_them(epo, topic, 300)
                listen.errors.wait_for(f"Cannot write {file}: No space left on device")
                written = numbers_in(file)
                assert 0 < len(written) < 300
                ballast.unlink()
                listen.errors.wait_for(f"{file} can be written again after ")
                assert listen.end() == 0
                listen.said(300, 300, 0, 0, 0)
        assert numbers_in(file) == list(range(300))

    def test_that_memory_cannot_hold_either_is_counted(
        self, mosquitto: Mosquitto, topic: str, small_disk: Path
    ) -> None:
        """The newest 10,000 stay, and dxlclient goes on receiving."""
        ballast, file = small_disk / "ballast", small_disk / "events"
        ballast.write_bytes(bytes(1020 * KIBIBYTE))
        with DxlClient(mosquitto.client_config()) as epo:
            epo.connect()
            with Listen(mosquitto.config_file, topic, "--output", file) as listen:
                publish_until_all_have_them(epo, topic, 10_500)
                listen.errors.wait_for("from now on the oldest events are dropped")
                ballast.unlink()
                listen.errors.wait_for(f"{file} can be written again after ")
                assert listen.end() == 1
                lines = len(file.read_text().splitlines())
                listen.said(10_500, lines, 0, 0, 10_500 - lines)
        assert 0 < 10_500 - lines < 1_000

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_is_written_if_a_signal_comes(
        self, mosquitto: Mosquitto, topic: str, tmp_path: Path, number: int
    ) -> None:
        """The last ones may still be on their way to the broker: they have not arrived."""
        file = tmp_path / "events"
        with DxlClient(mosquitto.client_config()) as epo:
            epo.connect()
            with Listen(mosquitto.config_file, topic, "--format", "jsonl", "--output", file) as listen:
                publish(epo, topic, *range(5000))
                assert listen.end(number) == 0
                numbers = numbers_in(file)
                listen.said(len(numbers), len(numbers), 0, 0, 0)
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > 1000
