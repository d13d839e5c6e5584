"""The asyncio stream: threat events in an async for loop that does not block other tasks."""

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import pytest
from helpers.receiving import number_of, numbered
from helpers.waiting import until
from helpers.worker import Worker

from dxlthreateventclient import AsyncThreatEventStream, CommonThreatEventClient

Run: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """A function that runs a test on an event loop."""
    module = pytest.importorskip(request.param)
    run: Run = module.run
    return run


@pytest.fixture
def worker() -> Worker:
    return Worker(CommonThreatEventClient.async_threat_events)


@asynccontextmanager
async def ticking() -> AsyncIterator[list[int]]:
    """Run a second task that appends a number to the returned list whenever the event loop is free."""
    ticks: list[int] = []

    async def tick() -> None:
        while True:
            ticks.append(len(ticks))
            await asyncio.sleep(0)

    task = asyncio.create_task(tick())
    try:
        yield ticks
    finally:
        task.cancel()


class TestTheLoop:
    @pytest.mark.usefixtures("restless")
    def test_misses_no_event_that_comes_when_it_begins_to_wait(self, run: Run, worker: Worker) -> None:
        wanted = threading.Semaphore(0)

        def deliver() -> None:
            for number in range(1_000):
                wanted.acquire()
                worker.number(number)

        async def main() -> None:
            thread = threading.Thread(target=deliver)
            async with worker.stream() as events:
                thread.start()
                for number in range(1_000):
                    wanted.release()
                    assert (await events.get())[0] == numbered(number)
                thread.join()

        run(main())

    def test_lets_other_tasks_run_however_many_events_wait(self, run: Run, worker: Worker) -> None:
        async def main() -> None:
            async with worker.stream() as events, ticking() as ticks:
                worker.number(*range(100))
                events.close()
                async for _ in events:
                    time.sleep(0.001)  # noqa: ASYNC251 - as handling an event would
                assert len(ticks) > 2

        run(main())


class TestCancelling:
    def test_at_any_moment_loses_and_repeats_nothing(self, run: Run, worker: Worker) -> None:
        chance = random.Random(0)
        numbers: list[int] = []

        async def take(events: AsyncThreatEventStream) -> None:
            while True:
                threat_event, _ = await events.get(chance.choice([None, 0.001]))
                numbers.append(number_of(threat_event))

        async def main() -> None:
            async with worker.stream(max_buffered=20) as events:
                thread = worker.start(*range(2_000))
                while len(numbers) < 2_000:
                    task = asyncio.create_task(take(events))
                    await asyncio.sleep(chance.choice([0, 0, 0.0002]))
                    task.cancel()
                    with suppress(asyncio.CancelledError, TimeoutError):
                        await task
                thread.join()

        run(main())
        assert numbers == list(range(2_000))


class TestOpeningAndLeaving:
    """When a stream is opened or left, a separate thread waits for the broker."""

    def test_do_not_block_the_event_loop(self, run: Run, worker: Worker) -> None:
        async def main() -> None:
            answer, loop = threading.Event(), asyncio.get_running_loop()

            def ask(*_: object) -> None:
                loop.call_soon_threadsafe(answer.set)
                assert answer.wait(10)

            worker.dxl_client.add_event_callback.side_effect = ask
            async with worker.stream():
                pass

        run(main())

    def test_are_undone_if_opening_is_cancelled(self, run: Run, worker: Worker) -> None:
        """If opening a stream is cancelled, neither the event loop nor asyncio.run() waits for the broker."""
        asked, answer = threading.Event(), threading.Event()

        def ask(*_: object) -> None:
            asked.set()
            answer.wait(30)

        async def main() -> None:
            worker.dxl_client.add_event_callback.side_effect = ask
            opening = asyncio.create_task(worker.stream(max_buffered=1).__aenter__())
            await asyncio.to_thread(asked.wait, 30)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening

        run(main())
        worker.number(*range(5))
        worker.dxl_client.remove_event_callback.assert_not_called()
        answer.set()
        until(lambda: worker.dxl_client.remove_event_callback.called, "the callback is removed")


class TestClosing:
    def test_the_event_loop_first_makes_no_worker_wait(
        self, worker: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A worker that waits for a closed event loop would block all callbacks forever."""
        loop = asyncio.new_event_loop()
        events = loop.run_until_complete(worker.stream(max_buffered=1).__aenter__())
        worker.number(1)
        thread = worker.start(2, 3)
        until(lambda: "is full" in caplog.text, "the worker waits")
        loop.close()
        thread.join(30)
        assert not thread.is_alive()
        assert "event loop was closed" in caplog.text
        events.close()
        worker.client.close()
        assert "1 unread, 2 passed over" in caplog.text
