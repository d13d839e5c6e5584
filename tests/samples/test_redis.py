"""The Redis Stream samples, with a redis-server and killed workers."""

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from dxlclient.client import DxlClient
from helpers.receiving import publish_payload
from helpers.samples import Sample, Start, documented_command, ids, publish
from helpers.waiting import until
from samples.servers import Server

pytestmark = pytest.mark.servers

PAGE = "redisstreamexample.rst"
PASSWORD = "of this test"

Workers = Callable[..., list[Sample]]


class RedisServer(Server):
    """A redis-server whose data survives a SIGKILL."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "redis-server", "redis-server")
        self.url = f"redis://127.0.0.1:{self.port}"
        import redis  # noqa: PLC0415 - slow, and only these tests need it

        self.client = redis.Redis.from_url(self.url, password=PASSWORD)
        options = f"--port {self.port} --bind 127.0.0.1 --appendonly yes --appendfsync always"
        self.command += [*options.split(), "--save", "", "--requirepass", PASSWORD]


@pytest.fixture
def redis_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    monkeypatch.setenv("REDIS_PASSWORD", PASSWORD)
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.client.close()
    server.end()


@pytest.fixture
def receiver(start: Start, redis_server: RedisServer) -> Sample:
    return start(documented_command(PAGE, "redis_stream_example.py"), "--redis", redis_server.url)


@pytest.fixture
def work(start: Start, redis_server: RedisServer) -> Workers:
    """A function that starts ``count`` workers with the given options."""
    command = [*documented_command(PAGE, "redis_worker_example.py"), "--redis", redis_server.url]
    return lambda count, *options: [start(command, *options, until="") for _ in range(count)]


def finished(workers: list[Sample]) -> Counter[str]:
    return Counter(message_id for worker in workers for message_id in worker.lines("Finished "))


class TestRedisSamples:
    def test_three_workers_handle_each_event_once(
        self, dxl_client: DxlClient, redis_server: RedisServer, receiver: Sample, work: Workers
    ) -> None:
        workers = work(3, "--work", "1")
        published = ids(publish(dxl_client, 9))
        until(lambda: finished(workers).total() >= 9, "as many events as were published are handled")
        for sample in (receiver, *workers):
            sample.end(signal.SIGTERM)
        assert finished(workers) == Counter(published)
        assert all(worker.lines("Finished ") for worker in workers)
        assert redis_server.client.xlen("threat-events") == 0
        [group] = cast("Any", redis_server.client.xinfo_groups("threat-events"))
        assert (group["name"], group["pending"]) == (b"workers", 0)

    def test_the_event_of_a_killed_worker_is_taken_over(
        self, dxl_client: DxlClient, redis_server: RedisServer, receiver: Sample, work: Workers
    ) -> None:
        workers = work(3, "--work", "1", "--take-over-after", "3")
        victim, *others = workers
        published = ids(publish(dxl_client, 9))
        in_the_middle = victim.until_printed("Took ", 2)[1]
        victim.kill()
        until(lambda: finished(workers).keys() == set(published), "each event is handled")
        assert finished([victim])[in_the_middle] == 0
        assert finished(others)[in_the_middle] == 1
        for sample in (receiver, *others):
            sample.end()

    @pytest.mark.usefixtures("receiver")
    def test_an_event_that_fails_goes_to_the_failed_stream(
        self, dxl_client: DxlClient, redis_server: RedisServer, work: Workers
    ) -> None:
        [worker] = work(1)
        payload = b'{"event": 1} \0'
        failing = publish_payload(dxl_client, payload).message_id
        worker.until_printed(f"Finished {failing!r}")
        [(_, fields)] = cast("Any", redis_server.client.xrange("threat-events-failed"))
        assert fields == {b"message_id": failing.encode(), b"payload": payload}
        assert f"{failing!r} failed" in worker.errors

    def test_nothing_is_lost_while_redis_is_away(
        self, dxl_client: DxlClient, redis_server: RedisServer, receiver: Sample, work: Workers
    ) -> None:
        workers = work(1)
        published = ids(publish(dxl_client, 5))
        until(lambda: finished(workers).keys() == set(published), "the first events are handled")
        redis_server.end()
        published += ids(publish(dxl_client, 5))
        for sample in (receiver, *workers):
            until(lambda: "Retrying" in sample.errors, "it says that it tries again")  # noqa: B023
        redis_server.start()
        until(lambda: finished(workers).keys() == set(published), "each event is handled")
        for sample in (receiver, *workers):
            sample.end()
