"""Runs the broker for the benchmarks: mosquitto, or a LocalFabric if mosquitto is not installed."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from dxlthreateventclient.testing import LocalFabric

# Debian installs mosquitto in /usr/sbin, which is not on every user's PATH.
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))


@contextmanager
def running_broker() -> Iterator[tuple[str, Path]]:
    """Run a broker and yield its name and a client configuration file."""
    executable = shutil.which("mosquitto", path=_PATH)
    if executable is None:
        with LocalFabric() as fabric:
            yield (
                "LocalFabric (mosquitto is not installed; it shares a core with the publisher)",
                fabric.config_file,
            )
        return
    with tempfile.TemporaryDirectory(prefix="dxl-mosquitto-") as name:
        directory = Path(name)
        port = _configure(directory)
        with subprocess.Popen(
            [executable, "-c", directory / "mosquitto.conf"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                _wait_until_it_listens(process, port)
                yield "mosquitto", directory / "dxlclient.config"
            finally:
                process.kill()


def _configure(directory: Path) -> int:
    """Write the certificates and configurations for mosquitto and its clients. Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    ca = trustme.CA(key_type=trustme.KeyType.RSA)
    ca.cert_pem.write_to_path(directory / "ca.crt")
    for name, identity in (("broker.pem", "127.0.0.1"), ("client.pem", "client@localhost")):
        certificate = ca.issue_cert(identity, key_type=trustme.KeyType.RSA)
        certificate.private_key_and_cert_chain_pem.write_to_path(directory / name)
    (directory / "dxlclient.config").write_text(
        "[Certs]\nBrokerCertChain = ca.crt\nCertFile = client.pem\nPrivateKey = client.pem\n"
        f"[Brokers]\nbroker = broker;{port};127.0.0.1\n[BrokersWebSockets]\n"
    )
    # If root starts mosquitto without "user root", mosquitto switches to a user that cannot read the key. The
    # number of queued messages is unlimited, because the broker has to queue a whole burst.
    (directory / "mosquitto.conf").write_text(
        f"listener {port} 127.0.0.1\n"
        f"cafile {directory}/ca.crt\n"
        f"certfile {directory}/broker.pem\n"
        f"keyfile {directory}/broker.pem\n"
        "require_certificate true\n"
        "allow_anonymous true\n"
        "user root\n"
        "max_queued_messages 0\n"
    )
    return port


def _wait_until_it_listens(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"mosquitto does not listen on port {port}") from error
            time.sleep(0.01)
        else:
            return
