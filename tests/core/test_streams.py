"""The stream, over a fabric: in a for loop, under load, and ended in every way there is."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from dxlclient.client import DxlClient
from helpers.receiving import OTHER_TOPIC, Receiver, publish_numbers, publish_payload
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient, ThreatEventDecodeError, ThreatEventStream
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC as TOPIC
from dxlthreateventclient.testing import LocalFabric

PROGRAM = """
import signal, sys, time
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig
from dxlthreateventclient import CommonThreatEventClient

def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()

def tell_what_arrived(threat_event_dict, original_event):
    say("arrived", threat_event_dict["event"]["id"])

config = DxlClientConfig.create_dxl_config_from_file(sys.argv[1])
config.incoming_message_queue_size = 5
with DxlClient(config) as dxl_client:
    dxl_client.connect()
    with CommonThreatEventClient(dxl_client) as client, client.threat_events(max_buffered=50) as events:
        client.add_threat_event_callback(tell_what_arrived)
        signal.signal(signal.SIGTERM, lambda *_: events.close())
        taken = []
        try:
            say("ready")
            for threat_event, _ in events:
                taken.append(threat_event["event"]["id"])
                if taken == [0]:
                    sys.stdin.readline()
        except KeyboardInterrupt:
            say("interrupted after", *taken)
        else:
            say("took", *taken)
"""


@contextmanager
def running_program(fabric: LocalFabric) -> Iterator["subprocess.Popen[str]"]:
    """Run the program above, and return when it waits for events."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM, fabric.config_file],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until_printed(process, "ready")
        yield process
    finally:
        process.kill()
        process.communicate()


def until_printed(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout
    while (printed := process.stdout.readline()) != line + "\n":
        assert printed, f"the program ended before it printed {line!r}"


@pytest.fixture
def client(dxl_client: DxlClient) -> Iterator[CommonThreatEventClient]:
    before = dxl_client.subscriptions
    with CommonThreatEventClient(dxl_client) as threat_event_client:
        yield threat_event_client
    assert dxl_client.subscriptions == before


@pytest.fixture(scope="module")
def crowded(fabric: LocalFabric) -> Iterator[DxlClient]:
    """A client of which dxlclient's queue of incoming messages is soon full."""
    config = fabric.client_config()
    config.incoming_message_queue_size = 5
    with DxlClient(config) as dxl_client:
        dxl_client.connect()
        yield dxl_client


@contextmanager
def pouring(sender: DxlClient, topic: str = TOPIC) -> Iterator[None]:
    """Publish events without end, until the block is left."""

    def pour() -> None:
        while not stop.is_set():
            publish_numbers(sender, range(20), topic)
            stop.wait(0.01)

    stop = threading.Event()
    thread = threading.Thread(target=pour)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def numbers(events: ThreatEventStream) -> Iterator[int]:
    for threat_event, _ in events:
        yield threat_event["event"]["id"]


def waits(dxl_client: DxlClient, events: ThreatEventStream) -> Callable[[], bool]:
    """Tell whether the worker waits for room, and dxlclient's queue is full behind it."""
    tasks = dxl_client._thread_pool._tasks  # type: ignore[attr-defined]
    return lambda: events._is_waiting and tasks.full()


def test_a_for_loop_gets_each_event_in_order_with_the_original(
    dxl_client: DxlClient, client: CommonThreatEventClient
) -> None:
    with client.threat_events() as events:
        published = publish_numbers(dxl_client, range(100))
        for (threat_event, original_event), event in zip(events, published, strict=False):
            assert original_event.message_id == event.message_id
            assert original_event.destination_topic == TOPIC
            if threat_event["event"]["id"] == 99:
                break
    assert TOPIC not in dxl_client.subscriptions


def test_it_listens_on_a_topic_or_a_filter_beside_others(
    dxl_client: DxlClient, client: CommonThreatEventClient
) -> None:
    with client.threat_events() as exact, client.threat_events("/mcafee/event/other/#") as below:
        publish_numbers(dxl_client, [1])
        publish_numbers(dxl_client, [2], f"{OTHER_TOPIC}/one")
        assert exact.get(timeout=10)[0] == {"event": {"id": 1}}
        assert below.get(timeout=10)[0] == {"event": {"id": 2}}


def test_the_loop_runs_on_the_thread_of_the_caller_and_delays_no_callback(
    dxl_client: DxlClient, client: CommonThreatEventClient
) -> None:
    receiver = Receiver()
    with client.threat_events() as events:
        client.add_threat_event_callback(receiver)
        publish_numbers(dxl_client, range(100))
        receiver.until_received(99)
        assert threading.current_thread() not in receiver.threads
        assert events.get(timeout=0)[0] == {"event": {"id": 0}}, "the loop has taken none until now"


def test_a_slow_loop_and_a_small_buffer_lose_nothing_and_warn_once(
    crowded: DxlClient, dxl_client: DxlClient, caplog: pytest.LogCaptureFixture
) -> None:
    with CommonThreatEventClient(crowded) as client, client.threat_events(max_buffered=10) as events:
        publish_numbers(dxl_client, range(1000))
        until(waits(crowded, events), "the buffer and dxlclient's queue are full")
        arrived = []
        for number in numbers(events):
            arrived.append(number)
            assert events._events.qsize() <= 10
            if number == 999:
                break
    assert arrived == list(range(1000))
    assert "The stream's buffer is full: 10 events wait for the loop" in caplog.text


def test_malformed_payloads_go_to_on_error_and_the_loop_goes_on(
    dxl_client: DxlClient, client: CommonThreatEventClient
) -> None:
    errors: list[tuple[ThreatEventDecodeError, str]] = []
    with client.threat_events(
        on_error=lambda error, event: errors.append((error, event.message_id))
    ) as events:
        publish_numbers(dxl_client, [1])
        junk = publish_payload(dxl_client, b"junk")
        publish_numbers(dxl_client, [2])
        arrived = numbers(events)
        assert [next(arrived), next(arrived)] == [1, 2]
    [(error, message_id)] = errors
    assert isinstance(error, ThreatEventDecodeError)
    assert message_id == junk.message_id


def test_two_threads_share_the_events_of_one_stream(
    dxl_client: DxlClient, client: CommonThreatEventClient
) -> None:
    with client.threat_events() as events, ThreadPoolExecutor(2) as pool:
        loops = [pool.submit(list, numbers(events)) for _ in range(2)]
        last = Receiver()
        client.add_threat_event_callback(last)
        publish_numbers(dxl_client, range(1000))
        last.until_received(999)
        events.close()
        shares = [loop.result(10) for loop in loops]
    assert sorted(shares[0] + shares[1]) == list(range(1000))


class TestEnding:
    def test_close_on_another_thread_ends_the_loop_after_what_is_buffered(
        self, dxl_client: DxlClient, client: CommonThreatEventClient
    ) -> None:
        with client.threat_events() as events, ThreadPoolExecutor(1) as pool:
            publish_numbers(dxl_client, range(10))
            until(lambda: events._events.qsize() == 10, "all have arrived")
            pool.submit(events.close).result(10)
            assert list(numbers(events)) == list(range(10))

    def test_close_in_a_callback_ends_the_loop(
        self, dxl_client: DxlClient, client: CommonThreatEventClient
    ) -> None:
        with client.threat_events() as events:
            client.add_threat_event_callback(lambda *_: events.close())
            publish_numbers(dxl_client, [1])
            assert list(numbers(events)) == [1]

    def test_leaving_the_with_block_of_the_client_ends_a_loop_on_another_thread(
        self, dxl_client: DxlClient
    ) -> None:
        def loop() -> list[int]:
            with threat_event_client.threat_events() as events:
                return list(numbers(events))

        with ThreadPoolExecutor(1) as pool:
            with CommonThreatEventClient(dxl_client) as threat_event_client:
                running = pool.submit(loop)
                until(lambda: TOPIC in dxl_client.subscriptions, "the stream listens")
            assert running.result(10) == []

    @pytest.mark.parametrize("closed_before", [False, True])
    def test_a_full_stream_can_be_left_while_events_pour_in(
        self, crowded: DxlClient, dxl_client: DxlClient, closed_before: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        with (
            pouring(dxl_client),
            CommonThreatEventClient(crowded) as client,
            client.threat_events(max_buffered=1) as events,
        ):
            until(waits(crowded, events), "the buffer and dxlclient's queue are full")
            if closed_before:
                events.close()
        assert TOPIC not in crowded.subscriptions
        assert "A stream was left with" in caplog.text

    def test_a_client_with_full_streams_can_be_left_while_events_pour_in(
        self, crowded: DxlClient, dxl_client: DxlClient
    ) -> None:
        with pouring(dxl_client), CommonThreatEventClient(crowded) as client:
            streams = [client.threat_events(topic, max_buffered=1) for topic in (TOPIC, "/mcafee/#")]
            for events in streams:
                events.__enter__()
            until(lambda: any(waits(crowded, events)() for events in streams), "one of them is full")
        assert len(crowded.subscriptions) == 1

    def test_callbacks_and_streams_can_come_and_go_in_the_loop_while_its_buffer_is_full(
        self, crowded: DxlClient, dxl_client: DxlClient
    ) -> None:
        # The broker's answers wait behind the worker, which waits for this thread to make room.
        with (
            pouring(dxl_client),
            CommonThreatEventClient(crowded) as client,
            client.threat_events(max_buffered=1) as events,
        ):
            until(waits(crowded, events), "the buffer and dxlclient's queue are full")
            client.add_threat_event_callback(other := Receiver(), OTHER_TOPIC)
            assert OTHER_TOPIC in crowded.subscriptions
            until(waits(crowded, events), "the buffer and dxlclient's queue are full again")
            with client.threat_events("/mcafee/event/others/#"):
                until(waits(crowded, events), "the buffer and dxlclient's queue are full again")
            until(waits(crowded, events), "the buffer and dxlclient's queue are full again")
            client.remove_threat_event_callback(other, OTHER_TOPIC)
            assert OTHER_TOPIC not in crowded.subscriptions

    def test_a_stream_can_be_opened_while_events_pour_in(
        self, crowded: DxlClient, dxl_client: DxlClient
    ) -> None:
        receiver = Receiver()
        with pouring(dxl_client), CommonThreatEventClient(crowded) as client:
            client.add_threat_event_callback(receiver)
            until(crowded._thread_pool._tasks.full, "dxlclient's queue is full")  # type: ignore[attr-defined]
            # Its events arrive before the broker acknowledges the filter.
            with client.threat_events("/mcafee/#", max_buffered=1) as events:
                events.get(timeout=10)

    def test_close_in_a_signal_handler_ends_a_loop_that_waits(self, fabric: LocalFabric) -> None:
        with running_program(fabric) as process:
            process.send_signal(signal.SIGTERM)
            output, errors = process.communicate(timeout=10)
        assert (process.returncode, output, errors) == (0, "took\n", "")

    def test_close_in_a_signal_handler_ends_the_loop_after_what_is_buffered(
        self, fabric: LocalFabric, dxl_client: DxlClient
    ) -> None:
        with running_program(fabric) as process:
            publish_numbers(dxl_client, range(50))
            until_printed(process, "arrived 49")
            process.send_signal(signal.SIGTERM)
            output, errors = process.communicate("go on\n", timeout=10)
        assert (process.returncode, errors) == (0, "")
        assert output.splitlines()[-1] == " ".join(map(str, ["took", *range(50)]))

    def test_ctrl_c_ends_a_loop_that_waits_at_once(self, fabric: LocalFabric, dxl_client: DxlClient) -> None:
        with running_program(fabric) as process:
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=10)
        assert (process.returncode, output, errors) == (0, "interrupted after\n", "")

    def test_ctrl_c_ends_a_busy_loop_at_once_with_a_full_buffer_and_events_pouring_in(
        self, fabric: LocalFabric, dxl_client: DxlClient
    ) -> None:
        with running_program(fabric) as process, pouring(dxl_client):
            # By then 50 are buffered, and the worker waits with the next.
            for number in [*range(20), *range(20), *range(10)]:
                until_printed(process, f"arrived {number}")
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=10)
        assert process.returncode == 0
        assert "interrupted after 0" in output.splitlines()
        assert "Traceback" not in errors
