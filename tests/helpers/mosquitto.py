"""A mosquitto process that acts as the broker of a DXL fabric and can be killed."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import trustme
from dxlclient.client_config import DxlClientConfig
from helpers.ports import reserve_port
from helpers.program import freeze
from helpers.waiting import until

# Each bridge needs a unique name, because bridges with the same name would disconnect each other.
_BRIDGE = """\
connection hub-{}
address 127.0.0.1:{}
topic # in
restart_timeout 1
"""


class Mosquitto:
    """Runs mosquitto in a temporary directory on a free port, with mutually authenticated TLS.

    :param hub: another mosquitto, whose messages it also receives
    """

    # Debian installs mosquitto in a directory that is only on root's PATH.
    PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))

    def __init__(self, hub: "Mosquitto | None" = None) -> None:
        executable = shutil.which("mosquitto", path=self.PATH)
        if executable is None:
            raise FileNotFoundError("mosquitto is not installed: apt-get install mosquitto")
        self._executable = executable
        self._directory = tempfile.TemporaryDirectory(prefix="dxl-mosquitto-")
        self.directory = Path(self._directory.name)
        self.port, self.plain_port = reserve_port(), reserve_port()
        self.ca = trustme.CA()
        self._process: subprocess.Popen[bytes] | None = None
        broker = self.ca.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA)
        client = self.ca.issue_cert("client@localhost")
        self.ca.cert_pem.write_to_path(self.directory / "ca.crt")
        broker.private_key_and_cert_chain_pem.write_to_path(self.directory / "broker.pem")
        client.private_key_and_cert_chain_pem.write_to_path(self.directory / "client.pem")
        self.config_file.write_text(
            f"[Certs]\nBrokerCertChain = ca.crt\nCertFile = client.pem\nPrivateKey = client.pem\n"
            f"[Brokers]\nbroker = broker;{self.port};127.0.0.1\n[BrokersWebSockets]\n"
        )
        (self.directory / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\n"
            f"cafile {self.directory}/ca.crt\n"
            f"certfile {self.directory}/broker.pem\n"
            f"keyfile {self.directory}/broker.pem\n"
            "require_certificate true\n"
            "allow_anonymous true\n"
            # When started as root, mosquitto by default switches to a user that cannot read the key.
            "user root\n"
            # Queue an unlimited number of messages for slow clients.
            "max_queued_messages 0\n"
            # Other brokers and proxies connect to this listener without TLS.
            f"listener {self.plain_port} 127.0.0.1\n"
            + (_BRIDGE.format(self.port, hub.plain_port) if hub else "")
        )

    @property
    def config_file(self) -> Path:
        """The configuration file for clients."""
        return self.directory / "dxlclient.config"

    def client_config(self) -> DxlClientConfig:
        """Return a new configuration for a client."""
        return DxlClientConfig.create_dxl_config_from_file(str(self.config_file))

    def start(self) -> None:
        """Start mosquitto and wait until it accepts connections."""
        log_file = self.directory / "mosquitto.log"
        with log_file.open("wb") as log:
            self._process = process = subprocess.Popen(
                [self._executable, "-c", self.directory / "mosquitto.conf"], stdout=log, stderr=log
            )

        def listens() -> bool:
            assert process.poll() is None, f"mosquitto has ended; it says: {log_file.read_text()}"
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.port)):
                return True
            return False

        until(listens, "mosquitto listens")

    def freeze(self) -> None:
        """Suspend the process. The connections stay open, but mosquitto does not answer."""
        assert self._process
        freeze(self._process)

    def thaw(self) -> None:
        """Resume the process."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Kill mosquitto with SIGKILL, so that no connection is closed cleanly."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Kill mosquitto and remove its files."""
        self.stop()
        self._directory.cleanup()

    def __enter__(self) -> "Mosquitto":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
