"""On demand, LocalFabric simulates the faults of real brokers and networks."""

import contextlib
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from helpers.fabric_socket import PONG, connected_socket, ping
from helpers.ports import reserve_port

from dxlthreateventclient.testing import LocalFabric


@pytest.fixture
def fabric() -> Iterator[LocalFabric]:
    with LocalFabric() as local_fabric:
        yield local_fabric


class TestDropConnections:
    def test_a_client_sees_a_reset(self, fabric: LocalFabric) -> None:
        with connected_socket(fabric) as tls:
            fabric.drop_connections()
            with pytest.raises(ConnectionResetError):
                socket.socket.recv(tls, 1)  # bypass TLS, because it reports a reset as a normal close

    def test_without_a_client_nothing_happens(self, fabric: LocalFabric) -> None:
        fabric.drop_connections()


class TestFreeze:
    def test_who_is_connected_gets_an_answer_only_after_the_thaw(self, fabric: LocalFabric) -> None:
        with connected_socket(fabric) as tls:
            fabric.freeze()
            tls.settimeout(0.2)
            with pytest.raises(TimeoutError):
                ping(tls)
            fabric.thaw()
            tls.settimeout(10)
            assert tls.recv(2) == PONG

    def test_who_connects_is_accepted_and_hears_nothing(self, fabric: LocalFabric) -> None:
        fabric.freeze()
        with socket.create_connection(("127.0.0.1", fabric.port), timeout=10) as connection:
            connection.settimeout(0.2)
            with pytest.raises(TimeoutError):
                ssl.create_default_context().wrap_socket(connection, server_hostname="127.0.0.1")
        fabric.thaw()
        with connected_socket(fabric) as tls:
            assert ping(tls) == PONG

    def test_freezing_and_thawing_twice_is_once(self, fabric: LocalFabric) -> None:
        fabric.thaw()
        fabric.freeze()
        fabric.freeze()
        fabric.thaw()
        fabric.thaw()
        with connected_socket(fabric) as tls:
            assert ping(tls) == PONG

    def test_leaving_a_frozen_fabric_ends(self) -> None:
        with LocalFabric(port=reserve_port()) as fabric, connected_socket(fabric) as tls:
            fabric.freeze()
            fabric.stop()
            assert tls.recv(1) == b""
            fabric.start()
            fabric.freeze()

    def test_a_program_can_end_with_a_frozen_fabric(self) -> None:
        program = "from dxlthreateventclient.testing import LocalFabric as F\nf = F()\nf.start()\nf.freeze()"
        subprocess.run([sys.executable, "-c", program], timeout=30, check=True)


class TestStop:
    def test_ends_a_connection_that_asyncio_leaves_open(
        self, fabric: LocalFabric, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """dxlclient waits up to half an hour for a TLS handshake."""
        monkeypatch.setattr("asyncio.sslproto.SSLProtocol._abort", lambda *_: None)
        with socket.create_connection(("127.0.0.1", fabric.port), timeout=10) as connection:
            with connected_socket(fabric):  # the fabric accepts the connections in order
                fabric.stop()
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""


class TestMisuse:
    @pytest.mark.parametrize("call", [LocalFabric.drop_connections, LocalFabric.freeze])
    def test_a_stopped_fabric_says_so(self, call: Callable[[LocalFabric], None]) -> None:
        with pytest.raises(RuntimeError, match="not running: call start"):
            call(LocalFabric())

    def test_a_stopped_fabric_is_not_frozen(self) -> None:
        LocalFabric().thaw()

    def test_a_frozen_fabric_cannot_drop(self, fabric: LocalFabric) -> None:
        fabric.freeze()
        with pytest.raises(RuntimeError, match=r"frozen.*thaw"):
            fabric.drop_connections()
