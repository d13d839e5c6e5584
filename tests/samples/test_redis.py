"""The Redis Stream samples, with a redis-server, and workers that are killed."""

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from dxlclient.client import DxlClient
from helpers.receiving import publish_payload
from helpers.samples import WAITING, Sample, documented_command
from helpers.waiting import until
from samples.servers import Server

from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event

pytestmark = pytest.mark.servers

PAGE = "redisstreamexample.rst"
PASSWORD = "of this test"


class RedisServer(Server):
    """A redis-server whose data survives a SIGKILL."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "redis-server", "redis-server")
        self.url = f"redis://127.0.0.1:{self.port}"
        import redis  # noqa: PLC0415 - takes long, and only these tests need it

        self.client = redis.Redis.from_url(self.url, password=PASSWORD)
        self._is_down = redis.ConnectionError

    def arguments(self) -> list[str]:
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        return ["--port", str(self.port), "--bind", "127.0.0.1", "--requirepass", PASSWORD, *durable]

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except self._is_down:
            return False

    def assert_that_nothing_is_left(self) -> None:
        """Check that the stream holds no event, and no worker has one."""
        assert self.client.xlen("threat-events") == 0
        groups: Any = self.client.xinfo_groups("threat-events")
        assert [(group["name"], group["pending"]) for group in groups] == [(b"workers", 0)]

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.end()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    with server:
        server.start()
        yield server


@pytest.fixture
def start(
    tmp_path: Path, fabric: LocalFabric, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Sample]]:
    """Starts a sample with the command on its page, and the address and password of the test's server."""
    monkeypatch.setenv("REDIS_PASSWORD", PASSWORD)
    with ExitStack() as samples:

        def started_sample(script: str, *options: str) -> Sample:
            command = [*documented_command(PAGE, script), "--redis", redis_server.url, *options]
            return samples.enter_context(Sample(tmp_path, fabric, command))

        yield started_sample


def publish(dxl_client: DxlClient, count: int) -> list[str]:
    """Publish events; return their ids as the samples print them."""
    return [repr(publish_threat_event(dxl_client, sample_threat_event()).message_id) for _ in range(count)]


def finished(workers: list[Sample]) -> Counter[str]:
    return Counter(message_id for worker in workers for message_id in worker.lines("Finished "))


class TestRedisSamples:
    def test_three_workers_handle_each_event_once(
        self, dxl_client: DxlClient, redis_server: RedisServer, start: Callable[..., Sample]
    ) -> None:
        receiver = start("redis_stream_example.py")
        workers = [start("redis_worker_example.py", "--work", "1") for _ in range(3)]
        receiver.until_printed(WAITING)
        published = publish(dxl_client, 9)
        until(lambda: finished(workers).total() >= 9, "as many events as were published are handled")
        for sample in (receiver, *workers):
            sample.end(signal.SIGTERM)
        assert finished(workers) == Counter(published)
        assert all(worker.lines("Finished ") for worker in workers)
        redis_server.assert_that_nothing_is_left()

    def test_the_event_of_a_killed_worker_is_taken_over(
        self, dxl_client: DxlClient, redis_server: RedisServer, start: Callable[..., Sample]
    ) -> None:
        receiver = start("redis_stream_example.py")
        workers = [
            start("redis_worker_example.py", "--work", "2", "--take-over-after", "5") for _ in range(3)
        ]
        victim, *others = workers
        receiver.until_printed(WAITING)
        published = publish(dxl_client, 9)
        in_the_middle = victim.until_printed("Took ", 2)[1]
        victim.kill()
        until(lambda: finished(workers).keys() == set(published), "each event is handled")
        assert finished([victim])[in_the_middle] == 0
        assert finished(others)[in_the_middle] == 1
        for sample in (receiver, *others):
            sample.interrupt()
        redis_server.assert_that_nothing_is_left()

    def test_an_event_that_fails_goes_to_the_failed_stream(
        self, dxl_client: DxlClient, redis_server: RedisServer, start: Callable[..., Sample]
    ) -> None:
        receiver, worker = start("redis_stream_example.py"), start("redis_worker_example.py")
        receiver.until_printed(WAITING)
        payload = b'{"event": 1} \0'
        message_id = publish_payload(dxl_client, payload).message_id
        published = publish(dxl_client, 1)
        worker.until_printed(f"Finished {published[0]}")
        failed: Any = redis_server.client.xrange("threat-events-failed")
        assert [fields for _, fields in failed] == [{b"message_id": message_id.encode(), b"payload": payload}]
        assert f"{message_id!r} failed" in worker.errors

    def test_nothing_is_lost_while_redis_is_away(
        self, dxl_client: DxlClient, redis_server: RedisServer, start: Callable[..., Sample]
    ) -> None:
        receiver, worker = start("redis_stream_example.py"), start("redis_worker_example.py")
        receiver.until_printed(WAITING)
        before = publish(dxl_client, 5)
        until(lambda: finished([worker]).keys() == set(before), "the first events are handled")
        redis_server.end()
        meanwhile = publish(dxl_client, 5)
        for sample in (receiver, worker):
            until(lambda: "Retrying" in sample.errors, "it says that it tries again")  # noqa: B023
        redis_server.start()
        until(lambda: finished([worker]).keys() == {*before, *meanwhile}, "each event is handled")
        for sample in (receiver, worker):
            sample.interrupt()
