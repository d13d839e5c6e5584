"""The asyncio stream: threat events in an async for loop that does not block other tasks."""

import asyncio
import itertools
import random
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import pytest
from dxlclient.client import DxlClient
from dxlclient.exceptions import WaitTimeoutException
from dxlclient.message import Event
from helpers.clients import clients, is_subscribed, queue_is_full
from helpers.receiving import Receiver, number_of, numbered, publish_numbers
from helpers.waiting import until
from helpers.worker import Worker

from dxlthreateventclient import (
    AsyncThreatEventStream,
    CommonThreatEventClient,
    Gap,
    ThreatEventDecodeError,
)
from dxlthreateventclient.testing import LocalFabric

Run: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]

needs_3_11 = pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio has it since Python 3.11")


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a test on an event loop."""
    module = pytest.importorskip(request.param)
    run: Run = module.run
    return run


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture(scope="module")
def crowded(fabric: LocalFabric) -> Iterator[DxlClient]:
    """A client with a small queue of incoming messages."""
    with clients(fabric.client_config) as connect:
        yield connect(incoming_message_queue_size=5)


async def taken(events: AsyncThreatEventStream) -> list[int]:
    return [number_of(threat_event) async for threat_event, _ in events]


@asynccontextmanager
async def ticking() -> AsyncIterator[list[int]]:
    """A second task on the event loop. Its list grows unless the loop is blocked."""
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


async def until_async(condition: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(until, condition, what)


class TestTheLoop:
    def test_gets_each_event_in_order_with_the_original(
        self, run: Run, dxl_client: DxlClient, topic: str
    ) -> None:
        async def main() -> None:
            with CommonThreatEventClient(dxl_client) as client:
                async with client.async_threat_events(topic) as events:
                    published = publish_numbers(dxl_client, range(100), topic)
                    for number, sent in enumerate(published):
                        threat_event, original_event = await events.get(timeout=30)
                        assert threat_event == numbered(number)
                        assert original_event.message_id == sent.message_id
                until(lambda: not is_subscribed(topic), "it is unsubscribed")

        run(main())

    def test_loses_nothing_if_it_is_late_and_its_buffer_small(
        self,
        run: Run,
        crowded: DxlClient,
        dxl_client: DxlClient,
        topic: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        async def main() -> None:
            with CommonThreatEventClient(crowded) as client:
                async with client.async_threat_events(topic, max_buffered=10) as events, ticking() as ticks:
                    publish_numbers(dxl_client, range(300), topic)
                    await until_async(
                        lambda: "is full" in caplog.text and queue_is_full(crowded), "all is full"
                    )
                    assert client.status().buffered == 10
                    before = len(ticks)
                    assert [number_of((await events.get(30))[0]) for _ in range(300)] == list(range(300))
                    assert len(ticks) > before

        run(main())

    def test_misses_no_event_that_comes_when_it_begins_to_wait(self, run: Run, worker: Worker) -> None:
        wanted = threading.Semaphore(0)
        before = sys.getswitchinterval()

        def deliver() -> None:
            for number in range(1_000):
                wanted.acquire()
                worker.number(number)

        async def main() -> None:
            thread = threading.Thread(target=deliver)
            async with worker.async_stream() as events:
                thread.start()
                for number in range(1_000):
                    wanted.release()
                    assert (await events.get())[0] == numbered(number)
                thread.join()

        sys.setswitchinterval(1e-6)  # so that threads interrupt each other anywhere
        try:
            run(main())
        finally:
            sys.setswitchinterval(before)

    def test_lets_other_tasks_run_however_many_events_wait(self, run: Run, worker: Worker) -> None:
        async def main() -> None:
            async with worker.async_stream(max_buffered=5_000) as events, ticking() as ticks:
                worker.number(*range(5_000))
                events.close()
                before = len(ticks)
                assert await taken(events) == list(range(5_000))
                assert len(ticks) > before + 1

        run(main())

    def test_shares_the_events_with_other_tasks(self, run: Run, worker: Worker) -> None:
        async def main() -> None:
            async with worker.async_stream() as events:
                tasks = [asyncio.create_task(taken(events)) for _ in range(3)]
                for number in range(300):
                    worker.number(number)
                    await asyncio.sleep(0)
                events.close()
                shares = await asyncio.gather(*tasks)
            assert sorted(itertools.chain(*shares)) == list(range(300))
            assert all(share == sorted(share) for share in shares), "each gets its own in order"

        run(main())

    def test_goes_on_after_a_gap(self, run: Run, topic: str) -> None:
        gaps: list[Gap] = []

        async def main() -> None:
            with LocalFabric() as own, clients(own.client_config) as connect:
                dxl_client = connect()
                with CommonThreatEventClient(dxl_client, gaps.append) as client:
                    async with client.async_threat_events(topic) as events:
                        await asyncio.to_thread(own.stop)
                        await asyncio.to_thread(own.start)
                        await until_async(lambda: any(gap.end for gap in gaps), "the gap is over")
                        await asyncio.to_thread(publish_numbers, dxl_client, [1], topic)
                        assert (await events.get(30))[0] == numbered(1)

        run(main())
        assert [gap.topics for gap in gaps] == [(topic,), (topic,)]

    def test_hands_malformed_payloads_to_on_error(self, run: Run, worker: Worker) -> None:
        def raise_it(error: ThreatEventDecodeError, original_event: Event) -> None:
            raise error

        async def main() -> None:
            async with worker.async_stream(on_error=raise_it) as events:
                worker.deliver(b"junk")
                worker.number(1)
                with pytest.raises(ThreatEventDecodeError):
                    await events.get()
                assert (await events.get())[0] == numbered(1), "the next event is still there"

        run(main())

    def test_runs_in_an_async_with_statement_and_once(self, run: Run, worker: Worker) -> None:
        async def main() -> None:
            events = worker.async_stream()
            with pytest.raises(RuntimeError, match="with"):
                await events.get()
            async with events:
                pass
            with pytest.raises(RuntimeError, match="once"):
                await events.__aenter__()

        run(main())


class TestGet:
    @pytest.mark.parametrize("timeout", [-1, 0, 0.01])
    def test_raises_if_nothing_arrives_in_time(self, run: Run, worker: Worker, timeout: float) -> None:
        async def main() -> None:
            async with worker.async_stream() as events:
                with pytest.raises(TimeoutError):
                    await events.get(timeout)
                worker.number(1)
                assert (await events.get(timeout))[0] == numbered(1)

        run(main())

    @pytest.mark.parametrize("timeout", [None, 30])
    def test_waits_for_what_arrives_later(self, run: Run, worker: Worker, timeout: float | None) -> None:
        async def main() -> None:
            async with worker.async_stream() as events:
                waiting = asyncio.create_task(events.get(timeout))
                await asyncio.sleep(0)
                worker.start(1).join()
                assert (await waiting)[0] == numbered(1)

        run(main())

    def test_raises_eof_error_if_the_stream_is_closed_and_empty(self, run: Run, worker: Worker) -> None:
        async def main() -> None:
            async with worker.async_stream() as events:
                worker.number(1)
                events.close()
                assert (await events.get())[0] == numbered(1)
                with pytest.raises(EOFError):
                    await events.get(timeout=5)

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
            async with worker.async_stream(max_buffered=20) as events:
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

    @needs_3_11
    def test_by_a_timeout_leaves_the_event_to_the_next(self, run: Run, worker: Worker) -> None:
        async def main() -> None:
            async with worker.async_stream() as events:
                for number in range(100):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0):  # type: ignore[attr-defined,unused-ignore]
                            await events.get()
                    worker.number(number)
                    assert (await events.get())[0] == numbered(number)

        run(main())

    @needs_3_11
    def test_of_a_task_group_leaves_the_stream(self, run: Run, worker: Worker) -> None:
        async def fail() -> None:
            raise KeyError("mine")

        async def main() -> None:
            async with (
                worker.async_stream() as events,
                asyncio.TaskGroup() as group,  # type: ignore[attr-defined,unused-ignore]
            ):
                group.create_task(taken(events))
                group.create_task(fail())

        with pytest.raises(Exception, match="TaskGroup") as raised:
            run(main())
        assert isinstance(raised.value.exceptions[0], KeyError)  # type: ignore[attr-defined]
        worker.dxl_client.remove_event_callback.assert_called_once()


class TestOpeningAndLeaving:
    """Opening and leaving wait for the broker on separate threads."""

    def test_do_not_block_the_event_loop(self, run: Run, worker: Worker) -> None:
        answer, answered = threading.Event(), []

        async def main() -> None:
            worker.dxl_client.add_event_callback.side_effect = lambda *_: answered.append(answer.wait(10))

            async def answer_later() -> None:
                await asyncio.sleep(0.01)
                answer.set()

            task = asyncio.create_task(answer_later())
            async with worker.async_stream():
                pass
            await task

        run(main())
        assert answered == [True]

    def test_are_undone_if_opening_is_cancelled(self, run: Run, worker: Worker) -> None:
        """In this case, neither the loop nor asyncio.run() waits for the broker."""
        asked, answer = threading.Event(), threading.Event()

        def ask(*_: object) -> None:
            asked.set()
            answer.wait(30)

        async def main() -> None:
            worker.dxl_client.add_event_callback.side_effect = ask
            opening = asyncio.create_task(worker.async_stream(max_buffered=1).__aenter__())
            await until_async(asked.is_set, "the broker is asked")
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening

        run(main())
        worker.number(*range(5))
        worker.dxl_client.remove_event_callback.assert_not_called()
        answer.set()
        until(lambda: worker.dxl_client.remove_event_callback.called, "the callback is removed")

    @pytest.mark.parametrize("method", ["add_event_callback", "remove_event_callback"])
    def test_raise_what_dxlclient_raises(self, run: Run, worker: Worker, method: str) -> None:
        async def main() -> None:
            getattr(worker.dxl_client, method).side_effect = WaitTimeoutException("no answer")
            async with worker.async_stream():
                pass

        with pytest.raises(WaitTimeoutException):
            run(main())

    def test_report_what_was_not_taken(
        self, run: Run, worker: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def main() -> None:
            async with worker.async_stream() as events:
                worker.number(1, 2, 3)
                await events.get()

        run(main())
        assert "1 events handed over, 2 unread" in caplog.text


class TestClosing:
    @pytest.mark.parametrize("closed", ["the stream", "the client"])
    def test_ends_every_loop_that_waits(self, run: Run, worker: Worker, closed: str) -> None:
        async def main() -> None:
            async with worker.async_stream() as events:
                tasks = [asyncio.create_task(taken(events)) for _ in range(3)]
                await asyncio.sleep(0)
                close = events.close if closed == "the stream" else worker.client.close
                await asyncio.to_thread(close)
                assert await asyncio.gather(*tasks) == [[], [], []]

        run(main())

    def test_the_event_loop_first_makes_no_worker_wait(
        self, worker: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A waiting worker would block itself and all other callbacks forever."""
        loop = asyncio.new_event_loop()
        events = loop.run_until_complete(worker.async_stream(max_buffered=1).__aenter__())
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


class TestTheEventsOfAStream:
    def test_are_those_that_a_callback_gets(self, run: Run, dxl_client: DxlClient, topic: str) -> None:
        async def main() -> None:
            with CommonThreatEventClient(dxl_client) as client:
                client.add_threat_event_callback(receiver := Receiver(), topic)
                async with client.async_threat_events(topic) as events:
                    publish_numbers(dxl_client, range(500), topic)
                    receiver.until_received(499)
                    events.close()
                    assert await taken(events) == receiver.numbers

        run(main())
