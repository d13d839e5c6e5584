"""A DxlClient that is not connected, not yet or no longer, and a broker that restarts or does not answer."""

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from dxlclient.client import DxlClient
from dxlclient.exceptions import WaitTimeoutException
from helpers.clients import Connect, clients
from helpers.program import running
from helpers.receiving import Publisher, Receiver, publish_numbers, publish_until_all_have_them
from helpers.restarting import Tap, until_settled
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.testing import LocalFabric


@pytest.fixture(scope="module")
def fabric() -> Iterator[LocalFabric]:
    """A fabric that no other module uses, since it is stopped and frozen."""
    with LocalFabric() as local_fabric:
        yield local_fabric


@pytest.fixture(scope="module")
def dxl_client(fabric: LocalFabric) -> Iterator[DxlClient]:
    with clients(fabric.client_config) as connect:
        yield connect()


class TestWithoutAConnection:
    def test_a_callback_receives_once_the_dxl_client_connects(self, fabric: LocalFabric, topic: str) -> None:
        receiver, removed = Receiver(), Receiver()
        with DxlClient(fabric.client_config()) as dxl_client:
            client = CommonThreatEventClient(dxl_client)
            client.add_threat_event_callback(receiver, topic)
            client.add_threat_event_callback(removed, topic)
            client.remove_threat_event_callback(removed, topic)
            dxl_client.connect()
            publish_numbers(dxl_client, [1], topic)
            receiver.until_received(1)
        assert removed.numbers == []

    def test_every_method_works(self, fabric: LocalFabric, topic: str) -> None:
        """Before connecting and after disconnecting."""

        def use() -> None:
            with CommonThreatEventClient(own) as client:
                client.add_threat_event_callback(Receiver(), topic)
                client.add_threat_event_callback(kept := Receiver(), f"{topic}/other")
                client.remove_threat_event_callback(kept, f"{topic}/other")
                with client.threat_events(topic) as events:
                    with pytest.raises(TimeoutError):
                        events.get(timeout=0)
                    events.close()
                    assert list(events) == []
            assert not {topic, f"{topic}/other"} & set(own.subscriptions)

        with DxlClient(fabric.client_config()) as own:
            use()
            own.connect()
            use()
            own.disconnect()
            use()

    def test_nothing_can_be_added_once_it_is_destroyed(self, fabric: LocalFabric, topic: str) -> None:
        """It would never receive anything."""
        own = DxlClient(fabric.client_config())
        own.destroy()
        with CommonThreatEventClient(own) as client:
            for add in (
                lambda: client.add_threat_event_callback(Receiver(), topic),
                lambda: client.threat_events(topic).__enter__(),
            ):
                with pytest.raises(RuntimeError, match="the DxlClient was destroyed"):
                    add()

    def test_the_with_block_can_be_left(self, fabric: LocalFabric, topic: str) -> None:
        dxl_client = DxlClient(fabric.client_config())
        with CommonThreatEventClient(dxl_client) as client, client.threat_events(topic):
            client.add_threat_event_callback(Receiver(), topic)
            dxl_client.connect()
            dxl_client.destroy()
        with pytest.raises(RuntimeError, match="the client is closed"):
            client.add_threat_event_callback(Receiver(), topic)

    def test_a_destroyed_dxl_client_is_freed(self, fabric: LocalFabric, topic: str) -> None:
        """Even if its callback knows it."""

        def use() -> "weakref.ref[DxlClient]":
            dxl_client = DxlClient(fabric.client_config())
            callback = Receiver()
            vars(callback)["dxl_client"] = dxl_client
            CommonThreatEventClient(dxl_client).add_threat_event_callback(callback, topic)
            dxl_client.destroy()
            return weakref.ref(dxl_client)

        freed = use()
        gc.collect()
        assert freed() is None


DEAD = """
import faulthandler, os, sys, threading
from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig
from dxlclient.message import Event
from dxlthreateventclient import CommonThreatEventClient

class Exiting(EventCallback):
    def on_event(self, event):
        sys.exit()

faulthandler.dump_traceback_later(30, exit=True)
config, topic, how = sys.argv[1:]
dxl_client = DxlClient(DxlClientConfig.create_dxl_config_from_file(config))
dxl_client.connect()
with CommonThreatEventClient(dxl_client) as client, client.threat_events(topic) as events:
    client.add_threat_event_callback(print, topic)
    if how == "forked":
        if child := os.fork():
            os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    else:
        [worker] = [thread for thread in threading.enumerate() if thread.name.startswith("DxlMessagePool")]
        dxl_client.add_event_callback(topic + "/exit", Exiting())
        dxl_client.send_event(Event(topic + "/exit"))
        worker.join()
    for add in (
        lambda: client.add_threat_event_callback(lambda *_: None, topic),
        lambda: client.threat_events(topic + "/other").__enter__(),
    ):
        try:
            add()
        except RuntimeError as error:
            print(error, flush=True)
    client.remove_threat_event_callback(print, topic)
print("left", flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(
    ("how", "reason"),
    [("forked", "this process was forked"), ("dead", "the threads of the DxlClient have ended")],
)
def test_what_can_deliver_nothing_takes_nothing_and_can_be_left(
    fabric: LocalFabric, topic: str, how: str, reason: str
) -> None:
    """In a child of the process that connected it, or when a callback of its own has ended its worker."""
    with running(DEAD, fabric.config_file, topic, how) as process:
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    *refused, left = output.splitlines()
    assert [reason in line for line in refused] == [True, True]
    assert left == "left"


def test_the_network_thread_may_be_started_and_stopped_at_once(fabric: LocalFabric) -> None:
    """As dxlclient does after two losses in quick succession: it could be left without one for good."""
    dxl_client: Any = DxlClient(fabric.client_config())
    mqtt = dxl_client._client
    mqtt._thread_main = lambda: None  # it would take a second to stop
    CommonThreatEventClient(dxl_client)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as pool:
            for _ in range(500):
                for call in [pool.submit(mqtt.loop_start), pool.submit(mqtt.loop_stop)]:
                    call.result(30)
    finally:
        sys.setswitchinterval(before)
        dxl_client.destroy()


Silence = Callable[[], AbstractContextManager[None]]


class TestABrokerThatDoesNotAnswer:
    @pytest.fixture
    def silence(self, fabric: LocalFabric, dxl_client: DxlClient, topic: str) -> Silence:
        """A block in which the broker is frozen, and dxlclient waits for it 50 ms instead of two minutes."""

        @contextmanager
        def frozen() -> Iterator[None]:
            with pytest.MonkeyPatch.context() as patches:
                patches.setattr(dxl_client, "_MAX_PACKET_ACK_WAIT", 0.05)
                fabric.freeze()
                try:
                    yield
                finally:
                    fabric.thaw()
            # amqtt does a SUBSCRIBE before an UNSUBSCRIBE that it has read, but not done yet.
            publish_until_all_have_them(dxl_client, f"{topic}/thawed", 1)

        return frozen

    def test_does_not_get_a_callback_added(self, dxl_client: DxlClient, topic: str, silence: Silence) -> None:
        receiver = Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            with silence(), pytest.raises(WaitTimeoutException):
                client.add_threat_event_callback(receiver, topic)
            until(lambda: topic not in dxl_client.subscriptions, "the subscription is taken back")
            publish_numbers(dxl_client, [1], topic)
            client.add_threat_event_callback(receiver, topic)
            publish_numbers(dxl_client, [2], topic)
            receiver.until_received(2)
        assert receiver.numbers == [2]

    def test_does_not_cost_a_callback_that_was_there(
        self, dxl_client: DxlClient, topic: str, silence: Silence
    ) -> None:
        receiver = Receiver()
        dxl_client.add_event_callback(topic, receiver, subscribe_to_topic=False)
        with silence(), pytest.raises(WaitTimeoutException):
            CommonThreatEventClient(dxl_client).add_threat_event_callback(receiver, topic)
        publish_numbers(dxl_client, [1], topic)
        receiver.until_received(1)
        dxl_client.remove_event_callback(topic, receiver)

    def test_leaves_nothing_of_a_stream_that_cannot_be_opened(
        self, dxl_client: DxlClient, topic: str, silence: Silence
    ) -> None:
        receiver = Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            events = client.threat_events(topic, max_buffered=1)
            with silence(), pytest.raises(WaitTimeoutException):
                events.__enter__()
            client.add_threat_event_callback(receiver, topic)
            publish_numbers(dxl_client, range(5), topic)
            receiver.until_received(4)
        with pytest.raises(RuntimeError):
            next(events)

    def test_gets_a_callback_removed_all_the_same(
        self, dxl_client: DxlClient, topic: str, silence: Silence
    ) -> None:
        receiver, other = Receiver(), Receiver()
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(receiver, topic)
            with silence(), pytest.raises(WaitTimeoutException):
                client.remove_threat_event_callback(receiver, topic)
            client.add_threat_event_callback(other, topic)
            publish_numbers(dxl_client, [1], topic)
            other.until_received(1)
        assert receiver.numbers == []

    def test_gets_all_topics_unsubscribed_all_the_same(
        self, dxl_client: DxlClient, topic: str, silence: Silence
    ) -> None:
        topics = {f"{topic}/{number}" for number in range(5)}
        client = CommonThreatEventClient(dxl_client)
        for one in topics:
            client.add_threat_event_callback(Receiver(), one)
        with silence(), pytest.raises(WaitTimeoutException):
            client.__exit__(None, None, None)
        until(lambda: not topics & set(dxl_client.subscriptions), "all topics are unsubscribed")

    def test_is_logged_if_a_callback_removed_another(
        self, dxl_client: DxlClient, topic: str, silence: Silence, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nobody else hears of it: the callback itself does not wait for the broker."""
        frozen, client = silence(), CommonThreatEventClient(dxl_client)

        def one_shot(*_: object) -> None:
            frozen.__enter__()
            client.remove_threat_event_callback(one_shot, topic)

        client.add_threat_event_callback(one_shot, topic)
        publish_numbers(dxl_client, [1], topic)
        until(lambda: "WaitTimeoutException" in caplog.text, "the error is logged")
        frozen.__exit__(None, None, None)
        assert any(topic in record.getMessage() for record in caplog.records if record.levelname == "ERROR")


def test_a_restart_of_the_broker_costs_nothing_that_arrived(
    fabric: LocalFabric, connect: Connect, topic: str
) -> None:
    dxl_client, epo = connect(), connect()
    tap, callback = Tap(dxl_client, topic), Receiver()
    with (
        # So dxlclient does not wait for two minutes for an answer that was lost with its connection.
        CommonThreatEventClient(epo),
        CommonThreatEventClient(dxl_client) as client,
        client.threat_events(topic) as events,
        Publisher(epo, topic, interval=0.01) as publisher,
    ):
        client.add_threat_event_callback(callback, topic)
        until(lambda: len(tap.numbers) >= 50, "a backlog has arrived")
        fabric.stop()
        arrived, stopped = tap.last, publisher.count
        fabric.start()
        until_settled(publisher, [tap])
        publisher.stop()
        callback.until_received(publisher.count)
        taken = [events.get(timeout=0)[0]["event"]["id"] for _ in tap.numbers]
        with pytest.raises(TimeoutError):
            events.get(timeout=0)
    subscribed_again = min(number for number in taken if number > stopped)
    assert taken == sorted(set(taken))
    assert {*range(1, arrived + 1), *range(subscribed_again, publisher.count + 1)} <= set(taken)
    assert callback.numbers == taken[-len(callback.numbers) :]
