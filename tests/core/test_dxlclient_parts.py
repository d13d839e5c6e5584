"""The private parts of dxlclient that this library needs: if one changes its name, that is said aloud."""

import threading
from queue import Queue
from typing import Any

import pytest
from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.receiving import Receiver, publish_numbers
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.testing import LocalFabric


class TestDxlclientStillHas:
    """The contract. What fails here is to be changed in ``_dxlclient.py``."""

    def test_the_callbacks_by_topic_in_a_dictionary_that_it_replaces(
        self, dxl_client: Any, topic: str
    ) -> None:
        """They are read without the lock."""
        registry = dxl_client._event_callbacks
        with registry.lock:
            before = registry.callbacks_by_channel
        callback = EventCallback()
        dxl_client.add_event_callback(topic, callback, False)
        assert topic not in before
        assert registry.callbacks_by_channel[topic] == [callback]
        dxl_client.remove_event_callback(topic, callback, False)

    def test_a_queue_of_tasks_that_disconnect_waits_for(self, dxl_client: Any) -> None:
        pool = dxl_client._thread_pool
        assert isinstance(pool._tasks, Queue)
        assert [type(thread).__mro__[1] for thread in pool._threads] == [threading.Thread]

    def test_workers_of_that_name(self, dxl_client: DxlClient, topic: str) -> None:
        """On them nothing may wait for the broker."""
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(receiver := Receiver(), topic)
            publish_numbers(dxl_client, [1], topic)
            receiver.until_received(1)
        [thread] = receiver.threads
        assert thread.name.startswith("DxlMessagePool-")

    def test_a_thread_of_that_name_that_tears_a_lost_connection_down(self) -> None:
        """Python names it by its function."""
        from dxlclient import client  # noqa: PLC0415

        thread = threading.Thread(target=vars(client)["_on_disconnect_run"])
        assert thread.name.endswith("(_on_disconnect_run)")

    def test_one_mqtt_client_with_these_attributes(self, dxl_client: Any) -> None:
        mqtt = dxl_client._client
        assert mqtt._userdata is dxl_client
        assert isinstance(mqtt._last_msg_in, float)
        assert mqtt._ping_t == 0
        assert mqtt.socket().pending() == 0
        hooks = ("_on_connect", "_on_disconnect", "_on_message", "_on_subscribe", "_on_unsubscribe")
        assert all(callable(getattr(mqtt, name)) for name in hooks)

    def test_acknowledgements_that_end_its_wait(self, dxl_client: Any) -> None:
        dxl_client._on_packet_ack(70_000)  # no number of a packet: they have 16 bits
        assert 70_000 in dxl_client._acked_packets
        dxl_client._acked_packets.remove(70_000)

    def test_subscriptions_that_may_change_while_it_iterates(self, dxl_client: Any, topic: str) -> None:
        """DxlClient.disconnect() does so without their lock, and would raise."""
        with CommonThreatEventClient(dxl_client) as client:
            client.add_threat_event_callback(Receiver(), topic)
            for _ in dxl_client._subscriptions:
                client.add_threat_event_callback(Receiver(), f"{topic}/other")
            assert {topic, f"{topic}/other"} <= set(dxl_client.subscriptions)

    def test_events_whose_state_is_in_their_dictionary(self) -> None:
        """Lists and dictionaries in it are copied for each callback."""
        kinds = {type(value) for value in vars(Event("/a")).values()}
        assert kinds <= {bytes, str, int, list, dict}


def without(part: str) -> type[DxlClient]:
    """A DxlClient that works, while a private part of it has another name."""

    class Renamed(DxlClient):
        def __getattr__(self, name: str) -> Any:
            if name == part and not threading.current_thread().name.startswith("from-outside"):
                return vars(self)[f"{part}_renamed"]
            raise AttributeError(name)

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(f"{part}_renamed" if name == part else name, value)

    return Renamed


class TestADxlClientThatLacks:
    @pytest.mark.parametrize("part", ["_event_callbacks", "_thread_pool", "_client", "_subscriptions"])
    def test_a_part_is_an_error_and_everything_else_works(
        self, fabric: LocalFabric, topic: str, part: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        first, second = Receiver(), Receiver()
        with without(part)(fabric.client_config()) as dxl_client:
            made: list[CommonThreatEventClient] = []

            def make() -> None:
                made.append(CommonThreatEventClient(dxl_client))

            # Only on this thread the part has another name: dxlclient itself goes on finding it.
            thread = threading.Thread(target=make, name="from-outside")
            thread.start()
            thread.join()
            [client] = made
            dxl_client.connect()
            with client:
                client.add_threat_event_callback(first, topic)
                client.add_threat_event_callback(second, topic)
                client.remove_threat_event_callback(first, topic)
                publish_numbers(dxl_client, [1], topic)
                second.until_received(1)
                with client.threat_events(topic) as events:
                    publish_numbers(dxl_client, [2], topic)
                    assert events.get(timeout=30)[0] == {"event": {"id": 2}}
            until(lambda: topic not in dxl_client.subscriptions, "it is unsubscribed")
        assert first.numbers == []
        [record] = [record for record in caplog.records if record.name.startswith("dxlthreateventclient")]
        assert record.levelname == "ERROR"
        assert f"DxlClient.{part}" in record.getMessage()
        assert "5.7.0.1" in record.getMessage()
