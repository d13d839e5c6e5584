"""The store-and-forward sample, killed repeatedly while sending to an HTTP server that often fails."""

import http.server
import json
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import cycle, repeat
from pathlib import Path
from typing import Any

import pytest
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.samples import WAITING, Start, documented_command, publish, until_passed_on
from helpers.waiting import until

from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.testing import sample_threat_event

DROP, LOSE_THE_ANSWER = -1, -2


class Receiver(http.server.ThreadingHTTPServer):
    """Responds as the test specifies, and records the accepted threat events."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RequestHandler)
        self.url = f"http://127.0.0.1:{self.server_port}/threat-events"
        self.answers: Iterator[int] = repeat(204)
        self.locations = cycle(("/elsewhere", "http://[invalid"))
        self.requests = 0
        self.accepted: list[tuple[str, Any]] = []
        self.tokens: list[str | None] = []
        self.lock = threading.Lock()
        self.seconds = 0.0
        self.open_requests = self.most_at_once = 0

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
        time.sleep(self.server.seconds)  # like a distant service
        with self.server.lock:
            self.server.open_requests -= 1
        if answer in (204, LOSE_THE_ANSWER):
            assert self.headers["Content-Type"] == "application/json"
            self.server.accepted.append((self.headers["Idempotency-Key"], json.loads(body)))
            self.server.tokens.append(self.headers["Authorization"])
        if answer < 0:
            self.close_connection = True
            return
        self.send_response(answer)
        self.send_header("Location", next(self.server.locations))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def forward(receiver: Receiver, start: Start) -> Start:
    """A function that starts the documented command with the receiver's address and additional options."""
    page, url = "storeandforwardexample.rst", "http://127.0.0.1:18080/threat-events"
    command = documented_command(page, f"store_and_forward_example.py {url}")
    return partial(start, [receiver.url if word == url else word for word in command])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The sample's event directory on a 1 MB disk. Mounting the disk requires root privileges."""
    directory = tmp_path / "threat-event-queue"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", directory], check=True)
    yield directory
    subprocess.run(["umount", directory], check=True)


def ids(events: list[Event]) -> list[str]:
    """Return the message IDs in the form that the receiver sees and the sample prints."""
    return [json.dumps(event.message_id) for event in events]


class TestStoreAndForwardSample:
    def test_no_stored_event_is_lost_when_it_is_killed(
        self, dxl_client: DxlClient, receiver: Receiver, forward: Start
    ) -> None:
        """The sample is killed after storing events, while sending them and after the server accepts some."""
        half_failing = cycle((503, 204, DROP, 204, LOSE_THE_ANSWER, 204))
        published: dict[str, Any] = {}
        stored: set[str] = set()
        for moment in ("Stored ", "sent", "Forwarded "):
            receiver.answers = half_failing if stored else repeat(503)
            sample, requests = forward(), receiver.requests
            published |= {
                json.dumps(event.message_id): json.loads(event.payload) for event in publish(dxl_client, 8)
            }
            if moment == "sent":
                until(lambda: receiver.requests >= requests + 4, "four requests")  # noqa: B023
            else:
                sample.until_printed(moment, 4)
            sample.kill()
            stored.update(sample.lines("Stored "))
        receiver.answers = repeat(204)
        sample = forward(until="")
        until(lambda: stored <= receiver.accepted_ids.keys(), "all that was stored reaches the receiver")
        assert stored <= published.keys()
        assert all(published[message_id] == threat_event for message_id, threat_event in receiver.accepted)
        sample.until_printed(WAITING)
        sample.end()

    def test_tries_again_in_order_and_sends_nothing_twice(
        self,
        tmp_path: Path,
        dxl_client: DxlClient,
        receiver: Receiver,
        forward: Start,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The sample sets aside refused events and files left incomplete by a killed process."""
        monkeypatch.setenv("HTTP_TOKEN", "abc\n")
        torn = tmp_path / "threat-event-queue" / "000000000007-00000000.json"
        torn.parent.mkdir()
        torn.write_text('"{id}"\n{"event": {"threatN')
        receiver.answers = iter([302, 302, 500, DROP, 204, 422, 204])
        sample = forward()
        first, second, third = ids(publish(dxl_client, 3))
        assert sample.until_printed("Forwarded ", 2) == [first, third]
        assert sample.lines("Refused ") == [second]
        assert f"{receiver.url} answered 302" in sample.errors
        sample.end()
        receiver.answers = repeat(204)
        sample = forward()
        [last] = ids(publish(dxl_client, 1))
        sample.until_printed("Forwarded ")
        sample.end()
        assert receiver.accepted_ids == dict.fromkeys((first, third, last), 1)
        assert (receiver.requests, set(receiver.tokens)) == (8, {"Bearer abc"})
        assert torn.name in {file.name for file in torn.parent.glob("*/*")}

    def test_keeps_the_refused_events_of_earlier_runs(
        self, tmp_path: Path, dxl_client: DxlClient, receiver: Receiver, forward: Start
    ) -> None:
        receiver.answers = repeat(422)
        (directory := tmp_path / "threat-event-queue" / "refused").mkdir(parents=True)
        (directory / "corrected.json").touch()
        refused = {""}
        for _ in range(2):
            sample = forward()
            refused.update(ids(publish(dxl_client, 1)))
            sample.until_printed("Refused ")
            sample.end()
        assert {file.read_text().partition("\n")[0] for file in directory.iterdir()} == refused

    def test_sends_several_at_once_and_those_of_a_host_in_order(
        self, dxl_client: DxlClient, receiver: Receiver, forward: Start
    ) -> None:
        receiver.seconds = 0.02
        sample = forward("--senders", "8", "--in-order")
        published = [ids(publish(dxl_client, 10, target={"hostName": f"WS-{host}"})) for host in range(10)]
        sample.until_printed("Forwarded ", 100)
        sample.end()
        order = list(receiver.accepted_ids)
        assert all([message_id for message_id in order if message_id in host] == host for host in published)
        assert receiver.most_at_once > 1

    def test_sends_the_id_and_a_token_that_may_change_as_headers(
        self,
        tmp_path: Path,
        dxl_client: DxlClient,
        receiver: Receiver,
        forward: Start,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A message ID with line breaks cannot inject a header."""
        token = tmp_path / "token"
        token.write_text("old\n")
        monkeypatch.setenv("HTTP_TOKEN_FILE", str(token))
        hostile = Event(EPO_THREAT_EVENT_RESPONSE_TOPIC)
        hostile._message_id = 'é"\r\nX-Forged: 1\r\n\r\n'  # type: ignore[attr-defined]
        hostile.payload = json.dumps(sample_threat_event()).encode()
        sample = forward()
        dxl_client.send_event(hostile)
        sample.until_printed("Forwarded ")
        token.write_text("new\n")
        publish(dxl_client, 1)
        sample.until_printed("Forwarded ", 2)
        sample.end()
        assert json.loads(receiver.accepted[0][0]) == hostile.message_id
        assert receiver.tokens == ["Bearer old", "Bearer new"]

    @pytest.mark.slow
    def test_every_event_is_kept_or_reported_at_the_end(
        self, tmp_path: Path, dxl_client: DxlClient, receiver: Receiver, forward: Start
    ) -> None:
        """Send SIGTERM during a burst, when the queue is full and some events are only in memory."""
        receiver.answers = repeat(503)
        sample = forward("--limit", "10")
        publish(dxl_client, 30)
        until(lambda: "the queue is full: 10 events wait" in sample.errors, "it says that it is full")
        until_passed_on(dxl_client)
        for _ in range(2):
            sample.process.send_signal(signal.SIGTERM)
            until(lambda: sample.process.poll() is not None or "Retrying" in sample.errors, "")
        assert sample.process.wait(timeout=30) == 1
        assert sample.errors.endswith("Stopped before all was done.\n")
        kept = len(list(tmp_path.glob("threat-event-queue/*.json")))
        assert f"{kept} events wait on disk" in sample.errors
        assert kept + sample.reported() == 30
        assert kept <= 10 + 1  # one more in transit

    @pytest.mark.servers
    def test_on_a_full_disk_it_goes_on_and_can_be_restarted(
        self, small_disk: Path, dxl_client: DxlClient, receiver: Receiver, forward: Start
    ) -> None:
        receiver.answers = repeat(503)
        sample = forward()
        published = publish(dxl_client, 300, eventDesc="x" * 4000)
        until(lambda: "No space left on device" in sample.errors, "it says that the disk is full")
        until_passed_on(dxl_client)
        sample.process.send_signal(signal.SIGTERM)
        assert sample.process.wait(timeout=30) == 1
        kept = {file.read_text().partition("\n")[0] for file in small_disk.glob("*.json")}
        assert len(kept) + sample.reported() == len(published)
        sample = forward()
        more = publish(dxl_client, 300, eventDesc="x" * 4000)
        until(lambda: "No space left on device" in sample.errors, "the disk is still full")
        receiver.answers = repeat(204)
        sample.until_printed("Forwarded ", len(kept) + len(more))
        sample.end()
        assert receiver.accepted_ids.keys() == {*kept, *ids(more)}
        assert not list(small_disk.glob("*.json"))
