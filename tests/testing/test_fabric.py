"""LocalFabric, tested with real clients and bare sockets."""

import os
import socket
import ssl
import stat
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import Mock

import pytest
import trustme
from dxlclient.client import DxlClient
from helpers.clients import is_subscribed
from helpers.command_line import run
from helpers.fabric_socket import connected_socket, hello, tls_socket
from helpers.ports import reserve_port
from helpers.waiting import until

from dxlthreateventclient.testing import LocalFabric

PYTHON = [sys.executable, "-W", "ignore::DeprecationWarning", "-c"]
START = "from dxlthreateventclient.testing import LocalFabric\nLocalFabric().start()"


class TestBroker:
    def test_it_forgets_topics_that_nobody_wants(self, dxl_client: DxlClient, topic: str) -> None:
        """If the broker remembered unused topics, it would compare each event with all of them."""
        dxl_client.subscribe(topic)
        assert is_subscribed(topic)
        dxl_client.unsubscribe(topic)
        until(lambda: not is_subscribed(topic), "it is forgotten")

    def test_it_speaks_tls_as_the_opendxl_broker_does(self, fabric: LocalFabric) -> None:
        with connected_socket(fabric) as tls:
            assert tls.version() == "TLSv1.2"
            assert tls.cipher() == ("AES128-SHA256", "TLSv1.2", 128)

    @pytest.mark.parametrize("certificate", [False, True])
    def test_it_refuses_clients_of_another_authority(
        self, fabric: LocalFabric, tmp_path: Path, certificate: bool
    ) -> None:
        """Clients without a certificate or with a foreign certificate fail during the TLS 1.2 handshake."""
        context = ssl.create_default_context(cafile=fabric.client_config().broker_ca_bundle)
        context.set_ciphers("AES128-SHA256")
        if certificate:
            ca = trustme.CA()
            ca.issue_cert("client@localhost").configure_cert(context)
        with (
            socket.create_connection(("127.0.0.1", fabric.port)) as connection,
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            context.wrap_socket(connection, server_hostname="127.0.0.1")

    def test_clients_can_tell_it_from_another_fabric(self, fabric: LocalFabric) -> None:
        with LocalFabric() as other:
            config = other.client_config()
            config.broker_ca_bundle = fabric.client_config().broker_ca_bundle
            with pytest.raises(ssl.SSLCertVerificationError), connected_socket(other, config):
                pass

    def test_it_comes_back_as_it_was(self) -> None:
        with LocalFabric(port=reserve_port()) as fabric:
            before = fabric.port, {file.name: file.read_bytes() for file in fabric.directory.iterdir()}
            fabric.stop()
            fabric.start()
            after = fabric.port, {file.name: file.read_bytes() for file in fabric.directory.iterdir()}
            assert after == before

    @pytest.mark.slow
    @pytest.mark.timeout(60)
    def test_it_stops_while_clients_connect(self) -> None:
        fabric, before = LocalFabric(), threading.active_count()
        for _ in range(20):
            with fabric, ExitStack() as stack:
                connections = {name: stack.enter_context(tls_socket(fabric)) for name in "abcdefgh"}
                for client_id, tls in connections.items():
                    tls.sendall(hello(client_id))
                fabric.stop()
            assert threading.active_count() <= before

    def test_it_leaves_no_file_thread_or_socket_behind(self) -> None:
        threads = set(threading.enumerate())
        with LocalFabric() as fabric, DxlClient(fabric.client_config()) as dxl_client:
            dxl_client.connect()
            directory, port = fabric.directory, fabric.port
            assert directory.is_dir()
        assert not directory.exists()
        until(lambda: set(threading.enumerate()) <= threads, "no thread is left")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))

    def test_it_is_quiet_about_clients_that_misbehave(self) -> None:
        program = """
import socket
from helpers.fabric_socket import connected_socket, tls_socket
from dxlthreateventclient.testing import LocalFabric

with LocalFabric() as fabric:
    for junk in (b"", b"junk", b"GET / HTTP/1.0\\r\\n\\r\\n"):
        with socket.create_connection(("127.0.0.1", fabric.port)) as connection:
            connection.sendall(junk)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(100):
                pass
    with tls_socket(fabric) as tls:
        tls.sendall(b"no MQTT")
    with connected_socket(fabric):
        fabric.drop_connections()
"""
        completed = run(program=[*PYTHON, program], PYTHONPATH=str(Path(__file__).parents[1]))
        assert (completed.returncode, completed.stdout, completed.stderr) == (0, "", "")


class TestFiles:
    def test_only_the_owner_can_read_the_private_key(self, fabric: LocalFabric) -> None:
        assert stat.S_IMODE((fabric.directory / "client.key").stat().st_mode) == 0o600
        assert stat.S_IMODE(fabric.directory.stat().st_mode) == 0o700

    def test_files_of_the_same_names_elsewhere_do_not_count(
        self, fabric: LocalFabric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By default, dxlclient prefers files of the same name in the current directory."""
        for name in ("ca-bundle.crt", "client.crt", "client.key"):
            (tmp_path / name).touch()
        monkeypatch.chdir(tmp_path)
        config = fabric.client_config()
        config.connect_retries = 0
        with DxlClient(config) as dxl_client:
            dxl_client.connect()
            assert dxl_client.connected

    def test_what_was_in_a_given_directory_stays(self, tmp_path: Path) -> None:
        (tmp_path / "mine.txt").write_text("mine")
        with LocalFabric(directory=tmp_path) as fabric:
            assert fabric.config_file == tmp_path / "dxlclient.config"
            assert fabric.config_file.is_file()
        assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]

    def test_the_configuration_of_somebody_else_stays(self, tmp_path: Path) -> None:
        config_file = tmp_path / "dxlclient.config"
        config_file.write_text("production")
        with pytest.raises(FileExistsError, match=r"config exists already: choose another directory"):
            LocalFabric(directory=tmp_path).start()
        assert config_file.read_text() == "production"
        assert list(tmp_path.iterdir()) == [config_file]


class TestStart:
    def test_a_port_in_use_is_named(self, fabric: LocalFabric) -> None:
        other = LocalFabric(port=fabric.port)
        with pytest.raises(
            OSError, match=f"listen on 127.0.0.1:{fabric.port}: Address already in use; choose another"
        ):
            other.start()
        assert not other.directory.exists()

    @pytest.mark.parametrize("port", [-1, 65536])
    def test_a_port_that_cannot_exist_is_named(self, port: int) -> None:
        with pytest.raises(ValueError, match=f"must be from 0 .* to 65535, got {port}"):
            LocalFabric(port=port)

    def test_starting_twice_is_an_error_stopping_twice_is_not(self) -> None:
        fabric = LocalFabric()
        with pytest.raises(RuntimeError, match="not running"):
            fabric.client_config()
        with fabric, pytest.raises(RuntimeError, match="running already"):
            fabric.start()
        fabric.stop()

    def test_an_error_of_the_event_loop_is_raised(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """If the broker thread has no file descriptors left, creating the event loop fails."""
        monkeypatch.setattr("asyncio.events.new_event_loop", Mock(side_effect=OSError("Too many open files")))
        fabric = LocalFabric()
        with pytest.raises(OSError, match="Too many open files"):
            fabric.start()
        assert not fabric.directory.exists()

    @pytest.mark.skipif(os.system("unshare -rn true 2>&1") != 0, reason="needs the right to use unshare")
    def test_a_missing_ipv4_loopback_is_the_reason(self) -> None:
        completed = run(program=["unshare", "-rn", *PYTHON, START])
        assert "this machine has no IPv4 loopback interface that is up" in completed.stderr

    @pytest.mark.usefixtures("without_coverage")
    def test_no_writable_temporary_directory_is_the_reason(self) -> None:
        """A file size limit of zero has the same effect as a container's read-only file system."""
        limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
        last_line = run(program=[*PYTHON, f"{limit}\n{START}"]).stderr.splitlines()[-1]
        assert last_line.startswith("FileNotFoundError: [Errno 2] No usable temporary directory found in")
        assert last_line.endswith("choose a directory, or set TMPDIR to one that can be written")
