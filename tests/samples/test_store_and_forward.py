"""The store-and-forward sample, killed again and again, with an HTTP server that fails half of the time."""

import http.server
import json
import random
import resource
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.samples import WAITING, Sample, documented_command, until_passed_on
from helpers.waiting import until

from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event

DROP, LOSE_THE_ANSWER = -1, -2


class Receiver(http.server.ThreadingHTTPServer):
    """Notes the threat events that it accepts. The test chooses the answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RequestHandler)
        self.url = f"http://127.0.0.1:{self.server_port}/threat-events"
        self.answers: Iterator[int] = iter(lambda: 204, None)
        self.requests = 0
        self.accepted: list[tuple[str, Any]] = []
        self.lock = threading.Lock()
        self.seconds = 0.0
        self.open_requests = self.most_at_once = 0
        self.tokens: set[str | None] = set()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> "Receiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    @property
    def accepted_ids(self) -> Counter[str]:
        return Counter(message_id for message_id, _ in self.accepted)


class RequestHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.requests += 1
            self.server.open_requests += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.open_requests)
            answer = next(self.server.answers)
        time.sleep(self.server.seconds)  # as a service far away
        with self.server.lock:
            self.server.open_requests -= 1
        self.server.tokens.add(self.headers["Authorization"])
        if answer in (204, LOSE_THE_ANSWER):
            assert self.headers["Content-Type"] == "application/json"
            self.server.accepted.append((self.headers["Idempotency-Key"], json.loads(body)))
        if answer < 0:
            self.close_connection = True
            return
        self.send_response(answer)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(200)  # a client that follows the redirect would think that it succeeded
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running_receiver:
        yield running_receiver


@pytest.fixture
def start(tmp_path: Path, fabric: LocalFabric, receiver: Receiver) -> Callable[..., Sample]:
    """Starts the sample with the command on its page, the receiver's address and further options."""
    page, url = "storeandforwardexample.rst", "http://127.0.0.1:18080/threat-events"
    *command, _ = documented_command(page, f"store_and_forward_example.py {url}")
    return lambda *options: Sample(tmp_path, fabric, [*command, receiver.url, *options])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The sample's directory for events, on a disk of 1 MB, which root alone can make."""
    directory = tmp_path / "threat-event-queue"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", directory], check=True)
    yield directory
    subprocess.run(["umount", directory], check=True)


def half_failing(rng: random.Random) -> Iterator[int]:
    """Yield answers of which half fail, and no more than six in a row: each time the sample waits longer."""
    while True:
        yield from rng.sample((204, 204, 204, 503, DROP, LOSE_THE_ANSWER), 6)


def publish(dxl_client: DxlClient, count: int, **overrides: Any) -> dict[str, dict[str, Any]]:
    """Publish events; return them by the ids that the receiver should get."""
    threat_events = [
        sample_threat_event(threatName=f"threat {number}", **overrides) for number in range(count)
    ]
    return {
        json.dumps(publish_threat_event(dxl_client, threat_event).message_id): threat_event
        for threat_event in threat_events
    }


class TestStoreAndForwardSample:
    @pytest.mark.parametrize(
        "kills", [2, pytest.param(40, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
    )
    def test_no_stored_event_is_lost_when_it_is_killed(
        self, dxl_client: DxlClient, receiver: Receiver, start: Callable[..., Sample], kills: int
    ) -> None:
        seed = random.randrange(2**32)
        print(f"{seed = }")  # pytest shows it if the test fails
        rng = random.Random(seed)
        published: dict[str, dict[str, Any]] = {}
        stored: set[str] = set()
        for kill in range(kills):
            # Before the first kill, nothing is forwarded.
            receiver.answers = iter(lambda: 503, None) if kill == 0 else half_failing(rng)
            with start() as sample:
                sample.until_printed(WAITING)
                requests = receiver.requests
                published |= publish(dxl_client, 8)
                # Any moment: right after an event was stored, during a request, right after it was sent.
                moment = rng.randint(1, 8)
                match rng.choice(("stored", "sending", "forwarded")) if kill else "stored":
                    case "stored":
                        sample.until_printed("Stored ", moment)
                    case "sending":
                        until(lambda: receiver.requests >= requests + moment, f"{moment} requests")  # noqa: B023
                    case "forwarded":
                        sample.until_printed("Forwarded ", moment)
                sample.kill()
            stored.update(sample.lines("Stored "))
            if kill == 0:
                assert stored
                assert not receiver.accepted
        assert stored <= published.keys()

        receiver.answers = iter(lambda: 204, None)
        with start() as sample:
            until(lambda: stored <= receiver.accepted_ids.keys(), "all that was stored reaches the receiver")
            assert all(
                published[message_id] == threat_event for message_id, threat_event in receiver.accepted
            )
            sample.until_printed(WAITING)
            sample.interrupt()

    def test_acknowledged_events_are_not_sent_after_a_restart(
        self, dxl_client: DxlClient, receiver: Receiver, start: Callable[..., Sample]
    ) -> None:
        for _ in range(2):
            with start() as sample:
                sample.until_printed(WAITING)
                published = publish(dxl_client, 5)
                assert sample.until_printed("Forwarded ", 5) == list(published)
                sample.interrupt()
        assert set(receiver.accepted_ids.values()) == {1}
        assert len(receiver.accepted) == receiver.requests == 10

    def test_tries_again_in_order_and_sets_refused_events_aside(
        self, dxl_client: DxlClient, receiver: Receiver, start: Callable[..., Sample]
    ) -> None:
        receiver.answers = iter([302, 500, DROP, 204, 422, 204])
        with start() as sample:
            sample.until_printed(WAITING)
            first, second, third = publish(dxl_client, 3)
            sample.until_printed("Forwarded ", 2)
            assert sample.lines("Refused ") == [second]
            sample.interrupt()
        assert list(receiver.accepted_ids) == [first, third]
        assert f"{receiver.url} answered 302" in sample.errors
        assert receiver.requests == 6

    def test_a_hostile_message_id_adds_no_header(
        self, dxl_client: DxlClient, receiver: Receiver, start: Callable[..., Sample]
    ) -> None:
        event = Event(EPO_THREAT_EVENT_RESPONSE_TOPIC)
        event._message_id = 'é"\r\nX-Forged: 1\r\n\r\n'  # type: ignore[attr-defined]
        event.payload = json.dumps(sample_threat_event()).encode()
        with start() as sample:
            sample.until_printed(WAITING)
            dxl_client.send_event(event)
            until(lambda: len(receiver.accepted) == 1, "the event is accepted")
            sample.interrupt()
        assert json.loads(receiver.accepted[0][0]) == event.message_id

    def test_sends_several_at_once_and_those_of_a_host_in_order(
        self, dxl_client: DxlClient, receiver: Receiver, start: Callable[..., Sample]
    ) -> None:
        receiver.seconds = 0.02
        with start("--senders", "8", "--in-order") as sample:
            sample.until_printed(WAITING)
            published = [publish(dxl_client, 10, target={"hostName": f"WS-{host}"}) for host in range(10)]
            sample.until_printed("Forwarded ", 100)
            sample.interrupt()
        order = list(receiver.accepted_ids)
        assert all(
            [message_id for message_id in order if message_id in host] == list(host) for host in published
        )
        assert receiver.most_at_once > 1

    def test_sends_the_bearer_token_of_a_file_that_may_change(
        self,
        tmp_path: Path,
        dxl_client: DxlClient,
        receiver: Receiver,
        start: Callable[..., Sample],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        token = tmp_path / "token"
        token.write_text("old\n")
        monkeypatch.setenv("HTTP_TOKEN_FILE", str(token))
        with start() as sample:
            sample.until_printed(WAITING)
            publish(dxl_client, 1)
            sample.until_printed("Forwarded ")
            token.write_text("new\n")
            publish(dxl_client, 1)
            sample.until_printed("Forwarded ", 2)
            sample.interrupt()
        assert receiver.tokens == {"Bearer old", "Bearer new"}

    def test_sets_a_torn_file_aside(
        self, tmp_path: Path, dxl_client: DxlClient, receiver: Receiver, start: Callable[..., Sample]
    ) -> None:
        """As a kill in the middle of writing leaves it, before the event was reported as stored."""
        directory = tmp_path / "threat-event-queue"
        directory.mkdir()
        (directory / "000000000007-00000000.json").write_text('"{id}"\n{"event": {"threatN')
        with start() as sample:
            sample.until_printed("Torn 000000000007")
            sample.until_printed(WAITING)
            publish(dxl_client, 1)
            sample.until_printed("Forwarded ")
            sample.interrupt()
        assert receiver.requests == 1
        assert [file.name for file in directory.glob("*/*")] == ["000000000007-00000000.json"]

    @pytest.mark.parametrize("count", [1, pytest.param(30, marks=pytest.mark.slow)])
    def test_every_event_is_done_kept_or_reported_at_the_end(
        self,
        tmp_path: Path,
        dxl_client: DxlClient,
        receiver: Receiver,
        start: Callable[..., Sample],
        count: int,
    ) -> None:
        """SIGTERM in a burst, with a queue that is full, so that some events are in memory alone."""
        receiver.answers = iter(lambda: 503, None)
        with start("--limit", "10") as sample:
            sample.until_printed(WAITING)
            publish(dxl_client, count)
            until_passed_on(dxl_client)
            if count == 1:
                sample.until_printed("Stored ")
                sample.end(signal.SIGTERM)
            else:
                until(lambda: "the queue is full: 10 events wait" in sample.errors, "it says that it is full")
                for _ in range(2):
                    sample.process.send_signal(signal.SIGTERM)
                    until(lambda: sample.process.poll() is not None or "Retrying" in sample.errors, "")
                assert sample.process.wait(timeout=30) == 1
                assert sample.errors.endswith("Stopped before all was done.\n")
        kept = len(list(tmp_path.glob("threat-event-queue/*.json")))
        assert f"{kept} events wait on disk" in sample.errors
        assert kept + sample.reported() == count
        assert kept <= 10 + 1  # one is being sent
        assert not receiver.accepted

    def test_what_is_too_large_to_be_stored_waits_in_memory(
        self, dxl_client: DxlClient, receiver: Receiver, start: Callable[..., Sample]
    ) -> None:
        with start() as sample:
            sample.until_printed(WAITING)
            _, no_limit = resource.prlimit(sample.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(sample.process.pid, resource.RLIMIT_FSIZE, (50_000, no_limit))
            published = publish(dxl_client, 1, eventDesc="x" * 60_000) | publish(dxl_client, 5)
            until(lambda: "File too large" in sample.errors, "it says that it cannot store the event")
            resource.prlimit(sample.process.pid, resource.RLIMIT_FSIZE, (no_limit, no_limit))
            assert sample.until_printed("Forwarded ", 6) == list(published)
            sample.interrupt()

    @pytest.mark.servers
    def test_on_a_full_disk_it_goes_on_sending_and_loses_nothing(
        self, small_disk: Path, dxl_client: DxlClient, receiver: Receiver, start: Callable[..., Sample]
    ) -> None:
        receiver.answers = iter(lambda: 503, None)
        with start() as sample:
            sample.until_printed(WAITING)
            published = publish(dxl_client, 300, eventDesc="x" * 4000)
            until(lambda: "No space left on device" in sample.errors, "it says that the disk is full")
            receiver.answers = iter(lambda: 204, None)
            sample.until_printed("Forwarded ", 300)
            sample.interrupt()
        assert list(receiver.accepted_ids) == list(published)
        assert not list(small_disk.glob("*.json"))

    @pytest.mark.servers
    def test_on_a_full_disk_it_starts_again_and_sends_what_it_stored(
        self, small_disk: Path, dxl_client: DxlClient, receiver: Receiver, start: Callable[..., Sample]
    ) -> None:
        receiver.answers = iter(lambda: 503, None)
        with start() as sample:
            sample.until_printed(WAITING)
            published = publish(dxl_client, 300, eventDesc="x" * 4000)
            until(lambda: "No space left on device" in sample.errors, "it says that the disk is full")
            until_passed_on(dxl_client)
            sample.process.send_signal(signal.SIGTERM)
            assert sample.process.wait(timeout=30) == 1
        kept = {
            json.loads(f"[{file.read_text().partition(chr(10))[0]}]")[0] for file in small_disk.glob("*.json")
        }
        assert len(kept) + sample.reported() == len(published)
        receiver.answers = iter(lambda: 204, None)
        with start() as sample:
            sample.until_printed("Forwarded ", len(kept))
            sample.until_printed(WAITING)
            sample.interrupt()
        assert {json.loads(message_id) for message_id in receiver.accepted_ids} == kept
