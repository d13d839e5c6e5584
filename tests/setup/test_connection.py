"""connect() reports why it cannot use a broker, and retries unless the failure is permanent."""

import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
from dxlclient.broker import Broker
from dxlclient.client import DxlClient
from dxlclient.exceptions import DxlException
from helpers.broken_brokers import (
    BROKER,
    KINDS,
    REACH,
    Broken,
    exchange,
    stay_silent,
    tls,
)
from helpers.broken_files import write_good
from helpers.misbehaving import server
from helpers.ports import reserve_port
from helpers.waiting import until

from dxlthreateventclient import BrokerConnectionError, connect, load_configuration
from dxlthreateventclient.connection import address, try_broker
from dxlthreateventclient.testing import LocalFabric


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    file = write_good(tmp_path)
    file.write_text(file.read_text().replace("one = one;8883;127.0.0.1\n", BROKER))
    return file


class TestABrokenBroker:
    @pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
    def test_is_reported_with_what_to_do(self, config_file: Path, kind: Broken) -> None:
        kind.change(config_file)
        with server(kind.serve) as port:
            config_file.write_text(config_file.read_text().replace("{port}", str(port)))
            config = load_configuration(config_file)
            with pytest.raises(BrokerConnectionError) as raised:
                try_broker(config, config.brokers[0], timeout=kind.timeout)
        words = kind.words.format(broker=f"the broker 127.0.0.1:{port}", address=f"127.0.0.1:{port}")
        message = str(raised.value)
        assert [part for part in words.split(" | ") if part not in message] == [], message
        assert raised.value.reason == str(raised.value)
        assert raised.value.is_final is kind.is_final


def seconds(call: Callable[[], object]) -> float:
    """Return the duration of a call in seconds."""
    start = time.monotonic()
    call()
    return time.monotonic() - start


@pytest.fixture(scope="module")
def destroying(fabric: LocalFabric) -> Iterator[list[threading.Thread]]:
    """Background threads that destroy the clients before the fabric stops."""
    threads: list[threading.Thread] = []
    yield threads
    for thread in threads:
        thread.join(30)


@pytest.fixture
def client(fabric: LocalFabric, destroying: list[threading.Thread]) -> Iterator[DxlClient]:
    """An unconnected fabric client with short delays between connection attempts."""
    config = load_configuration(fabric.config_file)
    config.reconnect_delay = 0.01
    dxl_client = DxlClient(config)
    yield dxl_client
    destroying.append(threading.Thread(target=dxl_client.destroy, daemon=True))
    destroying[-1].start()


class TestConnect:
    def test_connects_and_leaves_the_configuration_as_it_was(self, client: DxlClient) -> None:
        before = (client.config.brokers, client.config.connect_retries)
        connect(client)
        assert client.connected
        assert (client.config.brokers, client.config.connect_retries) == before

    def test_does_nothing_to_a_client_that_is_connected(self, client: DxlClient) -> None:
        connect(client)
        client.config.brokers = []
        connect(client)
        assert client.connected

    def test_uses_the_broker_that_works(self, client: DxlClient) -> None:
        """Without this library, a DxlClient waits for a silent broker until the keep-alive interval ends."""
        good = client.config.brokers
        with server(stay_silent) as silent:
            client.config.brokers = [Broker("127.0.0.1", port=1), Broker("127.0.0.1", port=silent), *good]
            assert seconds(lambda: connect(client, seconds_per_try=90)) < 20
        assert client.current_broker == good[0]
        assert len(client.config.brokers) == 3

    def test_does_not_wait_for_a_name_server_that_is_silent(
        self, client: DxlClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolved = threading.Event()
        resolve = socket.getaddrinfo

        def getaddrinfo(host: str, *others: Any, **options: Any) -> Any:
            if host == "slow.example":
                resolved.wait()
            return resolve(host, *others, **options)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        good = client.config.brokers
        client.config.brokers = [Broker("slow.example")]
        with pytest.raises(BrokerConnectionError, match=r"slow\.example:8883 does not answer in time"):
            connect(client, retries=0, seconds_per_try=1)
        client.config.brokers += good
        connect(client)
        resolved.set()

    def test_tries_again_and_says_why(self, client: DxlClient, caplog: pytest.LogCaptureFixture) -> None:
        client.config.brokers = [Broker("127.0.0.1", port=1)]
        with pytest.raises(BrokerConnectionError, match="Connection refused"):
            connect(client, retries=2)
        assert [record.getMessage() for record in caplog.records if record.name.endswith("connection")] == [
            f"cannot reach 127.0.0.1:1: Connection refused; {REACH}; trying again in {delay} s"
            for delay in ("0.01", "0.02")
        ]

    def test_connects_once_the_broker_is_there(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with LocalFabric(port=reserve_port()) as fabric:
            shutil.copytree(fabric.directory, tmp_path / "copy")
            fabric.stop()
            config = load_configuration(tmp_path / "copy" / "dxlclient.config")
            config.reconnect_delay = 0.01
            with DxlClient(config) as dxl_client:
                connecting = threading.Thread(target=lambda: connect(dxl_client, retries=-1), daemon=True)
                connecting.start()
                until(lambda: "trying again" in caplog.text, "it tries again")
                fabric.start()
                connecting.join(30)
                assert dxl_client.connected

    @pytest.mark.parametrize("name", ["refuses the client", "forward secrecy only", "an expired certificate"])
    def test_gives_up_at_once_if_trying_again_is_of_no_use(self, config_file: Path, name: str) -> None:
        with server(KINDS[name].serve) as port:
            config_file.write_text(config_file.read_text().replace("{port}", str(port)))
            with (
                DxlClient(load_configuration(config_file)) as dxl_client,
                pytest.raises(BrokerConnectionError) as raised,
            ):
                connect(dxl_client)
        assert raised.value.is_final

    def test_names_all_brokers_or_those_that_refuse_for_good(self, client: DxlClient) -> None:
        down = [Broker("127.0.0.1", port=1), Broker("127.0.0.1", port=2)]
        client.config.brokers = down
        with pytest.raises(BrokerConnectionError, match=r"127\.0\.0\.1:1: .*; cannot reach 127\.0\.0\.1:2: "):
            connect(client, retries=0)
        with server(KINDS["SSH"].serve) as port:
            client.config.brokers = [*down, Broker("127.0.0.1", port=port)]
            with pytest.raises(BrokerConnectionError) as raised:
                connect(client)
        assert str(raised.value).startswith(f"the broker 127.0.0.1:{port} does not speak TLS")

    def test_is_bounded_if_the_broker_falls_silent_after_the_try(
        self, client: DxlClient, fabric: LocalFabric
    ) -> None:
        """dxlclient keeps trying to connect, and the next call to connect() succeeds."""
        connections, answers = count(), threading.Event()

        def serve(connection: socket.socket) -> None:
            if next(connections):
                answers.wait()
            with socket.create_connection(("127.0.0.1", fabric.port)) as target:
                exchange(connection, target)

        with server(serve) as port:
            client.config.brokers = [Broker("127.0.0.1", port=port)]
            with pytest.raises(BrokerConnectionError, match="does not answer in time"):
                connect(client, retries=0, seconds_per_try=3)
            answers.set()
            until(lambda: client.connected, "it connects by itself")
            connect(client)
            client.disconnect()

    def test_reports_what_dxlclient_itself_raises(
        self, client: DxlClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "connect", Mock(side_effect=DxlException("no")))
        with pytest.raises(
            BrokerConnectionError, match=r"cannot connect to the broker 127\.0\.0\.1:\d+: no$"
        ):
            connect(client, retries=0)

    def test_reports_files_that_have_changed_since(self, config_file: Path) -> None:
        config_file.write_text(config_file.read_text().replace("{port}", "1"))
        config = load_configuration(config_file)
        with DxlClient(config) as dxl_client, server(tls()) as port:
            config.brokers = [Broker("127.0.0.1", port=port)]
            config_file.with_name("client.crt").write_text("")
            with pytest.raises(
                BrokerConnectionError, match=r"^CertFile \(.*client\.crt\) is empty"
            ) as raised:
                connect(dxl_client)
        assert raised.value.is_final

    def test_refuses_a_client_without_brokers(self, client: DxlClient) -> None:
        client.config.brokers = []
        with pytest.raises(BrokerConnectionError, match="contains no broker"):
            connect(client)

    def test_refuses_a_destroyed_client(self, fabric: LocalFabric) -> None:
        dxl_client = DxlClient(fabric.client_config())
        dxl_client.destroy()
        with pytest.raises(RuntimeError, match="cannot connect: the DxlClient was destroyed"):
            connect(dxl_client)

    @pytest.mark.parametrize("double", [Mock(), MagicMock(spec=DxlClient)])
    def test_calls_the_connect_of_what_is_not_a_client(self, double: Mock) -> None:
        connect(double)
        double.connect.assert_called_once_with()

    def test_can_be_interrupted_and_called_again(self, client: DxlClient) -> None:
        good = client.config.brokers
        main = threading.get_ident()

        def interrupt(connection: socket.socket) -> None:
            signal.pthread_kill(main, signal.SIGINT)
            stay_silent(connection)

        with server(interrupt) as port:
            client.config.brokers = [Broker("127.0.0.1", port=port)]
            with pytest.raises(KeyboardInterrupt):
                connect(client)
        client.config.brokers = good
        connect(client)


class TestTryBroker:
    def test_returns_the_version_of_tls(self, fabric: LocalFabric) -> None:
        config = load_configuration(fabric.config_file)
        assert try_broker(config, config.brokers[0]) == ("TLSv1.2", datetime(3000, 1, 1, tzinfo=timezone.utc))

    def test_needs_no_files_without_tls(self, fabric: LocalFabric) -> None:
        config = fabric.client_config()
        config.cert_file = "no-such-file"
        assert try_broker(config, config.brokers[0], with_tls=False) == ("reachable", None)

    def test_uses_the_address_if_the_name_fails(self, fabric: LocalFabric) -> None:
        broker = Broker("no-such-host.invalid", ip_address="127.0.0.1", port=fabric.port)
        assert try_broker(fabric.client_config(), broker)[0] == "TLSv1.2"

    def test_ends_in_time_if_a_firewall_drops_all_packets(self, fabric: LocalFabric) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            port = full.getsockname()[1]
            # When a socket's connection queue is full, the kernel ignores further connection requests.
            with ExitStack() as queue:
                for _ in range(3):
                    waiting = queue.enter_context(socket.socket())
                    waiting.setblocking(False)
                    waiting.connect_ex(("127.0.0.1", port))
                broker = Broker("127.0.0.1", port=port)
                with pytest.raises(BrokerConnectionError) as raised:
                    try_broker(fabric.client_config(), broker, timeout=3)
        assert str(raised.value) == f"cannot reach 127.0.0.1:{port}: no answer in time; {REACH}"


@pytest.mark.parametrize(("host", "expected"), [("example.com", "example.com:1"), ("[::1]", "[::1]:1")])
def test_an_address_has_brackets_around_ipv6(host: str, expected: str) -> None:
    assert address(Broker(host, port=1)) == expected
