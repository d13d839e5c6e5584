"""The store-and-forward sample, killed again and again, with an HTTP server that fails half of the time."""

import http.server
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.advanced_sample import WAITING, Sample, documented_command
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
        self.server.requests += 1
        answer = next(self.server.answers)
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
def start(tmp_path: Path, fabric: LocalFabric, receiver: Receiver) -> Callable[[], Sample]:
    """Starts the sample with the command on its page and the receiver's address."""
    page, url = "storeandforwardexample.rst", "http://127.0.0.1:18080/threat-events"
    *command, _ = documented_command(page, f"store_and_forward_example.py {url}")
    return lambda: Sample(tmp_path, fabric, [*command, receiver.url])


def half_failing(rng: random.Random) -> Iterator[int]:
    while True:
        yield rng.choice((204, 204, 204, 503, DROP, LOSE_THE_ANSWER))


def publish(dxl_client: DxlClient, count: int) -> dict[str, dict[str, Any]]:
    """Publish events; return them by the ids that the receiver should get."""
    threat_events = [sample_threat_event(threatName=f"threat {number}") for number in range(count)]
    return {
        json.dumps(publish_threat_event(dxl_client, threat_event).message_id): threat_event
        for threat_event in threat_events
    }


class TestStoreAndForwardSample:
    @pytest.mark.parametrize(
        "kills", [4, pytest.param(40, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
    )
    def test_no_stored_event_is_lost_when_it_is_killed(
        self, dxl_client: DxlClient, receiver: Receiver, start: Callable[[], Sample], kills: int
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
        self, dxl_client: DxlClient, receiver: Receiver, start: Callable[[], Sample]
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
        self, dxl_client: DxlClient, receiver: Receiver, start: Callable[[], Sample]
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
        self, dxl_client: DxlClient, receiver: Receiver, start: Callable[[], Sample]
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
