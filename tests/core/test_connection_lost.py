"""A DxlClient that is not connected, and a broker that restarts or does not answer."""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from dxlclient.client import DxlClient
from dxlclient.exceptions import WaitTimeoutException
from helpers.clients import Connect, clients, is_subscribed
from helpers.feed import Feed
from helpers.ports import reserve_port
from helpers.program import running
from helpers.receiving import Publisher, Receiver, publish_numbers, publish_until_all_have_them
from helpers.restarting import Tap, until_settled
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient._feed import clients as feed_clients
from dxlthreateventclient.testing import LocalFabric


@pytest.fixture(scope="module")
def fabric() -> Iterator[LocalFabric]:
    """A separate fabric, because the tests in this module stop and freeze it."""
    with LocalFabric(port=reserve_port()) as local_fabric:
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
        """Each method works before the client connects and after it disconnects."""

        def use() -> None:
            with CommonThreatEventClient(own) as client:
                client.add_threat_event_callback(Receiver(), topic)
                client.add_threat_event_callback(print, f"{topic}/other")
                client.remove_threat_event_callback(print, f"{topic}/other")
                with client.threat_events(topic) as events:
                    events.close()
                    assert list(events) == []
            until(lambda: not (is_subscribed(topic) or is_subscribed(f"{topic}/other")), "it is unsubscribed")

        with DxlClient(fabric.client_config()) as own:
            use()
            own.connect()
            use()
            own.disconnect()
            use()

    def test_nothing_can_be_added_once_it_is_destroyed(self, fabric: LocalFabric, topic: str) -> None:
        """A callback added to a destroyed DxlClient would never receive an event."""
        own = DxlClient(fabric.client_config())
        client = CommonThreatEventClient(own)
        own.destroy()
        with pytest.raises(RuntimeError, match="the DxlClient was destroyed"):
            CommonThreatEventClient(own)
        with client:
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
        """Python frees a destroyed DxlClient even if one of its callbacks refers to it."""

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
    """A forked child cannot receive events, and neither can a client whose worker thread has ended."""
    with running(DEAD, fabric.config_file, topic, how) as process:
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    *refused, left = output.splitlines()
    assert [reason in line for line in refused] == [True, True]
    assert left == "left"


def test_an_error_behind_a_call_reaches_the_caller(fabric: LocalFabric, topic: str) -> None:
    """If the feed thread fails, the caller must not wait forever."""

    def fail(*_: object) -> None:
        raise NotImplementedError("a patched part")

    with DxlClient(fabric.client_config()) as dxl_client:
        vars(dxl_client)["_client"].subscribe = fail
        client = CommonThreatEventClient(dxl_client)
        dxl_client.connect()
        with client, pytest.raises(NotImplementedError, match="a patched part"):
            client.add_threat_event_callback(print, topic)
        assert client.status().subscribed == ()


class TestABrokerThatDoesNotAnswer:
    @contextmanager
    def silence(self, fabric: LocalFabric, feed: Feed) -> Iterator[None]:
        """Freeze the broker and shorten the library's maximum wait of two minutes."""
        with pytest.MonkeyPatch.context() as patches:
            patches.setattr(feed_clients, "_LONGEST_WAIT", 0.05)
            fabric.freeze()
            try:
                yield
            finally:
                fabric.thaw()
        # amqtt may process a SUBSCRIBE before an earlier UNSUBSCRIBE.
        publish_until_all_have_them(feed.dxl_client, f"{feed.topic}/thawed", 1)

    def test_does_not_get_a_callback_added(self, fabric: LocalFabric, feed: Feed) -> None:
        receiver = Receiver()
        with self.silence(fabric, feed), pytest.raises(WaitTimeoutException):
            feed.add(receiver)
        until(lambda: not is_subscribed(feed.topic), "the subscription is taken back")
        feed.publish([1])
        feed.add(receiver)
        feed.publish([2])
        receiver.until_received(2)
        assert receiver.numbers == [2]

    @pytest.mark.parametrize("remove", [Feed.remove, lambda feed, _: feed.client.close()])
    def test_keeps_nothing_from_being_removed(
        self, fabric: LocalFabric, feed: Feed, remove: Callable[[Feed, Receiver], None]
    ) -> None:
        feed.add(receiver := Receiver())
        with self.silence(fabric, feed):
            remove(feed, receiver)
        until(lambda: not is_subscribed(feed.topic), "it is unsubscribed")
        with feed.client:
            feed.add(other := Receiver())
            feed.publish([1])
            other.until_received(1)
        assert receiver.numbers == []


def test_a_restart_of_the_broker_costs_nothing_that_arrived(
    fabric: LocalFabric, connect: Connect, topic: str
) -> None:
    dxl_client, epo = connect(), connect()
    tap, callback = Tap(dxl_client, topic), Receiver()
    with (
        # Without a CommonThreatEventClient, dxlclient would wait two minutes for a response that was lost.
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
