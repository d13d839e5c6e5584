"""A local DXL fabric: an MQTT broker with mutual TLS authentication, and its certificates."""

import contextlib
import errno
import os
import socket
import ssl
import tempfile
from os import PathLike
from pathlib import Path
from uuid import uuid4

from dxlclient.client_config import DxlClientConfig

try:
    import trustme

    from dxlthreateventclient.testing._broker import BrokerThread
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"LocalFabric needs {error.name}: pip install 'dxlthreateventclient[testing]'", name=error.name
    ) from error

_HOST = "127.0.0.1"
_NO_LOOPBACK = "; this machine has no IPv4 loopback interface that is up"
_CONFIG = """\
[Certs]
BrokerCertChain = ca-bundle.crt
CertFile = client.crt
PrivateKey = client.key

[Brokers]
local = local;{port};{host}

[BrokersWebSockets]
"""


class LocalFabric:
    """A local DXL fabric: a broker with TLS, its certificates, and a ``dxlclient.config`` file.

    The broker listens on 127.0.0.1 and uses the same TLS settings as the OpenDXL broker (TLS 1.2, RSA keys,
    ``AES128-SHA256``). Clients need a certificate signed by the fabric's own certificate authority.

    .. code-block:: python

        with LocalFabric() as fabric, DxlClient(fabric.client_config()) as dxl_client:
            dxl_client.connect()

    After :meth:`stop`, :meth:`start` restarts the fabric with the same port, directory and certificates. The
    :meth:`drop_connections` and :meth:`freeze` methods simulate broker problems.

    :param port: the TCP port to listen on, 0 for a free one
    :param directory: the directory for ``dxlclient.config`` and the certificates, created if missing. The
        default is a temporary directory. :meth:`stop` removes everything that was created.
    :raise ValueError: if the port is not from 0 to 65535
    :raise FileNotFoundError: if no temporary directory is writable
    """

    port: int
    """The TCP port, once the fabric has been started."""

    directory: Path
    """The directory of the files while the fabric runs."""

    def __init__(self, *, port: int = 0, directory: str | PathLike[str] | None = None) -> None:
        if not 0 <= port <= 65535:
            raise ValueError(f"port must be from 0 (any free one) to 65535, got {port}")
        self.port = port
        self.directory = Path(directory or _temporary_directory()).absolute()
        ca = trustme.CA(organization_name="LocalFabric")
        # The broker needs an RSA key because of the cipher in _tls(). All other keys are elliptic-curve keys,
        # which are faster to generate.
        self._broker_certificate = ca.issue_cert(_HOST, "localhost", key_type=trustme.KeyType.RSA)
        client_certificate = ca.issue_cert(common_name="local-client")
        self._ca = ca
        self._certificates = {
            "ca-bundle.crt": ca.cert_pem,
            "client.crt": client_certificate.cert_chain_pems[0],
            "client.key": client_certificate.private_key_pem,
        }
        self._made: list[Path] = []
        self._broker: BrokerThread | None = None

    @property
    def config_file(self) -> Path:
        """The configuration file for ``DxlClientConfig.create_dxl_config_from_file()``."""
        return self.directory / "dxlclient.config"

    def client_config(self) -> DxlClientConfig:
        """Return a new configuration for a ``DxlClient`` that connects to this fabric.

        :raise RuntimeError: if the fabric is not running
        """
        self._running()
        config = DxlClientConfig.create_dxl_config_from_file(str(self.config_file))
        # Use absolute paths, because dxlclient prefers files with the same names in the current directory.
        config.broker_ca_bundle, config.cert_file, config.private_key = (
            str(self.directory / name) for name in self._certificates
        )
        return config

    def start(self) -> None:
        """Start the broker and write the files. Return when clients can connect.

        :raise OSError: if the broker cannot listen on the port, or the files cannot be written
        :raise FileExistsError: if one of the files already exists
        :raise RuntimeError: if the fabric is running
        """
        if self._broker is not None:
            raise RuntimeError("the fabric is running already")
        listener = _listen(self.port)
        self.port = listener.getsockname()[1]
        try:
            self._write_files()
            self._broker = BrokerThread(listener, self._tls())
        except BaseException:
            listener.close()
            self._remove_files()
            raise

    def stop(self) -> None:
        """Stop the broker abruptly, as in a crash, and remove the files.

        This method does nothing if the fabric is not running.
        """
        if self._broker is not None:
            self._broker.stop()
            self._broker = None
            self._remove_files()

    def drop_connections(self) -> None:
        """Reset each client's connection, as a firewall might. Clients can reconnect immediately.

        :raise RuntimeError: if the fabric is not running or is frozen
        """
        self._running().drop_connections()

    def freeze(self) -> None:
        """Stop responding to connected clients and to new connections.

        A frozen broker behaves like one whose process has received SIGSTOP. A ``DxlClient`` may take up to
        two keep-alive intervals (``config.keep_alive_interval``) to notice that the broker is frozen.

        :raise RuntimeError: if the fabric is not running
        """
        self._running().freeze()

    def thaw(self) -> None:
        """Resume after :meth:`freeze`.

        The broker first handles the messages that arrived while it was frozen.

        This method does nothing if the fabric is not frozen. :meth:`stop` also thaws the fabric.
        """
        if self._broker is not None:
            self._broker.thaw()

    def __enter__(self) -> "LocalFabric":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _running(self) -> BrokerThread:
        if self._broker is None:
            raise RuntimeError("the fabric is not running: call start() or use it in a with statement")
        return self._broker

    def _write_files(self) -> None:
        if not self.directory.exists():
            self.directory.mkdir(mode=0o700)
            self._made.append(self.directory)
        for name, certificate in self._certificates.items():
            self._write(name, certificate.bytes())
        self._write(self.config_file.name, _CONFIG.format(host=_HOST, port=self.port).encode())

    def _write(self, name: str, content: bytes) -> None:
        path = self.directory / name
        # Use O_EXCL to avoid overwriting an existing configuration.
        try:
            file = os.open(
                path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode=0o600
            )
        except FileExistsError as error:
            raise FileExistsError(
                error.errno,
                f"{path} exists already: choose another directory, or delete what another fabric left",
            ) from error
        self._made.append(path)
        with os.fdopen(file, "wb") as stream:
            stream.write(content)

    def _remove_files(self) -> None:
        while self._made:
            path = self._made.pop()
            # The user may have deleted the files or added other files to the directory.
            with contextlib.suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()

    def _tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AES128-SHA256")
        context.verify_mode = ssl.CERT_REQUIRED
        self._ca.configure_trust(context)
        self._broker_certificate.configure_cert(context)
        return context


def _listen(port: int) -> socket.socket:
    try:
        # Connect a UDP socket (without sending data) to check that the address is reachable. create_server()
        # may succeed even for an unreachable address.
        with socket.socket(type=socket.SOCK_DGRAM) as probe:
            probe.connect((_HOST, port or 1))
        return socket.create_server((_HOST, port))
    except OSError as error:
        number = error.errno or 0
        advice = {
            errno.EADDRINUSE: "; choose another port",
            errno.EACCES: "; choose another port",
            errno.EADDRNOTAVAIL: _NO_LOOPBACK,
            errno.ENETUNREACH: _NO_LOOPBACK,
        }.get(number, "")
        raise OSError(number, f"cannot listen on {_HOST}:{port}: {os.strerror(number)}{advice}") from error


def _temporary_directory() -> Path:
    try:
        parent = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            error.errno, f"{error.strerror}: choose a directory, or set TMPDIR to one that can be written"
        ) from error
    return Path(parent, f"dxl-fabric-{uuid4().hex}")
