"""Measures the resources that ``listen`` uses when it runs as a service.

Run this benchmark with ``python benchmarks/listen.py``.

CPU times cover the whole process. The benchmark requires Linux, because it uses ``/proc`` and ``/dev/full``.
Log rotation is measured only if logrotate is installed.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from brokers import running_broker
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig
from formats import EVENT_ID, events

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.formats import FORMATS
from dxlthreateventclient.testing import publish_threat_event

TOPIC = "/dxlthreateventclient/bench"
BURST = 5_000
ROTATIONS = 12
RATE = 300  # events per second during rotation
RESTARTS = 10
RESTART_RATE = 50  # events per second


class Listen:
    """A running ``listen --format ecs``."""

    def __init__(self, config_file: Path, output: str | Path) -> None:
        command = [
            sys.executable,
            "-m",
            "dxlthreateventclient",
            "listen",
            "-c",
            str(config_file),
            "--topic",
            TOPIC,
        ]
        command += ["--format", "ecs", "--drain-seconds", "60", "--output", str(output)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr
        self.process.stderr.readline()  # wait until the process is ready to receive events

    def cpu_seconds(self) -> float:
        """Return the process's CPU time, in seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Return the process's resident memory, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024

    def end(self, number: int) -> str:
        """Send the process a signal and return the last line of its output."""
        self.process.send_signal(number)
        assert self.process.stderr
        last: str = self.process.communicate()[1].splitlines()[-1]
        return f"{last}; status {self.process.returncode}"


@contextmanager
def publisher(config_file: Path) -> Iterator[DxlClient]:
    """Yield a connected client."""
    with DxlClient(DxlClientConfig.create_dxl_config_from_file(str(config_file))) as client:
        client.connect()
        yield client


def until_still(listen: Listen) -> None:
    """Wait until the process has used almost no CPU time for one second."""
    used = -1.0
    while listen.cpu_seconds() - used > 0.03:
        used = listen.cpu_seconds()
        time.sleep(1)


def main() -> None:
    """Measure and print the figures."""
    with running_broker() as (broker, config_file), tempfile.TemporaryDirectory() as directory:
        print(f"Python {sys.version.split()[0]}, {broker}, bursts of {BURST} events")
        with publisher(config_file) as epo:
            for name, event in events().items():
                size = len(json.dumps(event))
                document = len(
                    FORMATS["ecs"](event, topic=TOPIC, event_id=EVENT_ID, arrived=datetime.now(timezone.utc))
                )
                print(f"{name}: an event of {size} bytes, as an ECS document {document} bytes")
                output = Path(directory) / "events"
                listen = Listen(config_file, output)
                before = listen.cpu_seconds()
                for _ in range(BURST):
                    publish_threat_event(epo, event, TOPIC)
                until_still(listen)
                each = (listen.cpu_seconds() - before) / BURST
                print(f"  CPU time {each * 1e6:.0f} µs per event: {1 / each:.0f} events/s on one core")
                print(f"  {listen.end(signal.SIGTERM)}")
                output.unlink()
                listen = Listen(config_file, "/dev/full")
                before_memory = listen.memory()
                for _ in range(BURST):
                    publish_threat_event(epo, event, TOPIC)
                until_still(listen)
                each_1000 = (listen.memory() - before_memory) / BURST * 1000
                print(f"  {each_1000 / 1e6:.1f} MB of memory per 1,000 buffered events")
                listen.process.kill()
                listen.process.communicate()
            stop_in_a_burst(config_file, epo, Path(directory))
            if shutil.which("logrotate"):
                rotate(config_file, epo, Path(directory))
            restart(config_file, epo, Path(directory))


def stop_in_a_burst(config_file: Path, epo: DxlClient, directory: Path) -> None:
    """Publish a burst of events and stop ``listen`` before it has received all of them."""
    _, event = next(iter(events().items()))
    listen = Listen(config_file, directory / "burst")
    back = threading.Semaphore(0)
    with CommonThreatEventClient(epo) as client:
        # The broker sends each event to ``listen`` and back to the publisher, which counts the events.
        client.add_threat_event_callback(lambda *_: back.release(), TOPIC)
        for _ in range(BURST):
            publish_threat_event(epo, event, TOPIC)
        for _ in range(BURST):
            back.acquire()
        print(f"SIGTERM after a burst of {BURST} events:")
        print(f"  {listen.end(signal.SIGTERM)}")


def rotate(config_file: Path, epo: DxlClient, directory: Path) -> None:
    """Rotate the output file while events are being published, and count the events in all files."""
    output, rules = directory / "rotated", directory / "logrotate.conf"
    rules.write_text(
        f"{output} {{\n  rotate {2 * ROTATIONS}\n  create\n  su root root\n}}\n", encoding="utf-8"
    )
    rules.chmod(0o600)
    listen = Listen(config_file, output)
    _, event = next(iter(events().items()))
    started, published = time.monotonic(), 0
    for second in range(ROTATIONS + 1):
        while time.monotonic() - started < second + 1:
            publish_threat_event(epo, event, TOPIC)
            published += 1
            time.sleep(max(0.0, started + published / RATE - time.monotonic()))
        if second < ROTATIONS:
            command = ["logrotate", "--force", "--state", str(directory / "state"), str(rules)]
            subprocess.run(command, check=True)
    until_still(listen)
    last = listen.end(signal.SIGTERM)
    files = list(directory.glob("rotated*"))
    lines = sum(len(file.read_bytes().splitlines()) for file in files)
    print(f"logrotate ran {ROTATIONS} times at {RATE} events/s: {published} published")
    print(f"  {lines} lines in {len(files)} files")
    print(f"  {last}")


def restart(config_file: Path, epo: DxlClient, directory: Path) -> None:
    """Restart ``listen`` while events are being published, and count the missed events."""
    output = directory / "restarted"
    _, event = next(iter(events().items()))
    stopped, published = threading.Event(), 0

    def publish() -> None:
        nonlocal published
        while not stopped.wait(1 / RESTART_RATE):
            publish_threat_event(epo, event, TOPIC)
            published += 1

    listen = Listen(config_file, output)
    thread = threading.Thread(target=publish)
    thread.start()
    for _ in range(RESTARTS):
        time.sleep(1)
        listen.end(signal.SIGTERM)
        listen = Listen(config_file, output)
    stopped.set()
    thread.join()
    until_still(listen)
    listen.end(signal.SIGTERM)
    lost = published - len(output.read_bytes().splitlines())
    print(f"{RESTARTS} restarts at about {RESTART_RATE} events/s: {lost} of {published} lost")


if __name__ == "__main__":
    main()
