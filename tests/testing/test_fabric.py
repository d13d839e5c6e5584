"""LocalFabric, tried with real clients and bare sockets."""

import os
import queue
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dxlclient.client import DxlClient

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event


def round_trip(receiver: DxlClient, sender: DxlClient) -> dict[str, Any]:
    received: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    with CommonThreatEventClient(receiver) as client:
        client.add_epo_threat_event_response_callback(lambda threat_event, _: received.put(threat_event))
        sent = sample_threat_event()
        publish_threat_event(sender, sent)
        arrived = received.get(timeout=10)
    assert arrived == sent
    return arrived


def test_an_event_published_by_one_client_reaches_another(connect: Callable[[], DxlClient]) -> None:
    assert round_trip(connect(), connect())


def test_it_speaks_tls_as_the_opendxl_broker_does(fabric: LocalFabric) -> None:
    config = fabric.client_config()
    context = ssl.create_default_context(cafile=config.broker_ca_bundle)
    context.load_cert_chain(config.cert_file, config.private_key)
    context.set_ciphers("AES128-SHA256")
    with (
        socket.create_connection(("127.0.0.1", fabric.port)) as connection,
        context.wrap_socket(connection, server_hostname="127.0.0.1") as tls,
    ):
        assert tls.version() == "TLSv1.2"
        assert tls.cipher() == ("AES128-SHA256", "TLSv1.2", 128)


@pytest.mark.skipif(os.name == "nt", reason="file modes say nothing on Windows")
def test_only_the_owner_can_read_the_private_key(fabric: LocalFabric) -> None:
    assert stat.S_IMODE((fabric.directory / "client.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(fabric.directory.stat().st_mode) == 0o700


def test_it_comes_back_on_the_same_port_with_the_same_certificates(connect: Callable[[], DxlClient]) -> None:
    with LocalFabric() as fabric:
        port, files = fabric.port, {file.name: file.read_bytes() for file in fabric.directory.iterdir()}
        fabric.stop()
        fabric.start()
        assert fabric.port == port
        assert {file.name: file.read_bytes() for file in fabric.directory.iterdir()} == files


def test_a_client_reconnects_after_a_restart_and_receives_again() -> None:
    with LocalFabric() as fabric:
        config = fabric.client_config()
        config.reconnect_delay = 0.1
        with DxlClient(config) as dxl_client:
            dxl_client.connect()
            received: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
            client = CommonThreatEventClient(dxl_client)
            client.add_epo_threat_event_response_callback(lambda threat_event, _: received.put(threat_event))
            fabric.stop()
            fabric.start()
            with DxlClient(fabric.client_config()) as sender:
                sender.connect()
                sent = sample_threat_event()
                for _ in range(100):
                    publish_threat_event(sender, sent)
                    try:
                        assert received.get(timeout=0.1) == sent
                        break
                    except queue.Empty:
                        continue
                else:
                    pytest.fail("nothing arrived within 10 seconds of the restart")


def test_it_leaves_no_file_thread_or_socket_behind() -> None:
    threads = threading.active_count()
    with LocalFabric() as fabric, DxlClient(fabric.client_config()) as dxl_client:
        dxl_client.connect()
        directory, port = fabric.directory, fabric.port
        assert directory.is_dir()
    assert not directory.exists()
    assert threading.active_count() == threads
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_files_of_the_same_names_in_the_current_directory_are_not_taken_for_its_own(
    fabric: LocalFabric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ca-bundle.crt", "client.crt", "client.key"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    config = fabric.client_config()
    config.connect_retries = 0
    with DxlClient(config) as dxl_client:
        dxl_client.connect()
        assert dxl_client.connected


def test_a_given_directory_is_used_and_what_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with LocalFabric(directory=tmp_path) as fabric:
        assert fabric.config_file == tmp_path / "dxlclient.config"
        assert fabric.config_file.is_file()
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_a_missing_directory_is_made_and_removed(tmp_path: Path) -> None:
    directory = tmp_path / "fabric"
    with LocalFabric(directory=directory):
        assert directory.is_dir()
    assert not directory.exists()


def test_the_configuration_of_somebody_else_is_never_replaced(tmp_path: Path) -> None:
    config_file = tmp_path / "dxlclient.config"
    config_file.write_text("production")
    with pytest.raises(FileExistsError, match=r"dxlclient\.config exists already: choose another directory"):
        LocalFabric(directory=tmp_path).start()
    assert config_file.read_text() == "production"
    assert list(tmp_path.iterdir()) == [config_file]


def test_a_port_in_use_gives_an_error_that_names_it(fabric: LocalFabric) -> None:
    other = LocalFabric(port=fabric.port)
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{fabric.port}: Address already in use"):
        other.start()
    assert not other.directory.exists()


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_cannot_be_is_named(port: int) -> None:
    with pytest.raises(ValueError, match=f"must be from 0 .* to 65535, got {port}"):
        LocalFabric(port=port)


def test_starting_twice_and_using_it_stopped_are_errors_and_stopping_twice_is_none() -> None:
    fabric = LocalFabric()
    with pytest.raises(RuntimeError, match="not running"):
        fabric.client_config()
    with fabric, pytest.raises(RuntimeError, match="running already"):
        fabric.start()
    fabric.stop()


def test_it_is_quiet_about_probes_refused_clients_and_clients_that_vanish() -> None:
    program = """
import socket, ssl
from dxlclient.client import DxlClient
from dxlthreateventclient.testing import LocalFabric

with LocalFabric() as fabric:
    for junk in (b"", b"junk", b"GET / HTTP/1.0\\r\\n\\r\\n"):
        with socket.create_connection(("127.0.0.1", fabric.port)) as connection:
            connection.sendall(junk)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(100):
                pass
    config = fabric.client_config()
    for client_certificate in (False, True):
        context = ssl.create_default_context(cafile=config.broker_ca_bundle)
        context.set_ciphers("AES128-SHA256")
        if client_certificate:
            context.load_cert_chain(config.cert_file, config.private_key)
        try:
            with socket.create_connection(("127.0.0.1", fabric.port)) as connection:
                with context.wrap_socket(connection, server_hostname="127.0.0.1") as tls:
                    tls.sendall(b"no MQTT")
        except OSError:
            assert not client_certificate
    # A thread of dxlclient that reconnects may end with a traceback of its own.
    config.reconnect_when_disconnected = False
    with DxlClient(config) as dxl_client:
        dxl_client.connect()
        fabric.stop()
"""
    completed = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (completed.returncode, completed.stdout, completed.stderr) == (0, "", "")
