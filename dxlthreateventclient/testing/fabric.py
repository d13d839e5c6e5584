"""A DXL fabric on this machine: an MQTT broker over mutually authenticated TLS, and its certificates."""

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from dxlclient.client_config import DxlClientConfig

try:
    import trustme
    from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
    from amqtt.broker import Broker
    from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"LocalFabric needs {error.name}: pip install 'dxlthreateventclient[testing]'", name=error.name
    ) from error

logger = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_LISTENER = "default"
_CONFIG = """\
[Certs]
BrokerCertChain = ca-bundle.crt
CertFile = client.crt
PrivateKey = client.key

[Brokers]
local = local;{port};{host}

[BrokersWebSockets]
"""

# Where nobody configured logging, amqtt's warnings about clients that vanish would land on stderr.
logging.getLogger("amqtt").addHandler(logging.NullHandler())


class LocalFabric:
    """A DXL fabric on this machine: a broker over TLS, its certificates, and a ``dxlclient.config``.

    It listens on 127.0.0.1, speaks TLS as the OpenDXL broker does (TLS 1.2, RSA keys, ``AES128-SHA256``)
    and requires a client certificate that its own certificate authority signed.

    .. code-block:: python

        with LocalFabric() as fabric, DxlClient(fabric.client_config()) as dxl_client:
            dxl_client.connect()

    After :meth:`stop`, :meth:`start` brings it back on the same port, in the same directory and with the same
    certificates, as a broker that restarts.

    :param port: the TCP port to listen on; 0 takes a free one
    :param directory: where to write ``dxlclient.config`` and the certificates; made if missing. The default
        is a temporary directory. Whatever is written is removed by :meth:`stop`.
    :raise ValueError: if there is no such port
    """

    port: int
    """The TCP port, once it has been started."""

    directory: Path
    """Where the files are."""

    def __init__(self, *, port: int = 0, directory: str | PathLike[str] | None = None) -> None:
        if not 0 <= port <= 65535:
            raise ValueError(f"{port} is no port: it goes from 0 (any free one) to 65535")
        self.port = port
        self.directory = Path(
            directory or Path(tempfile.gettempdir(), f"dxl-fabric-{uuid4().hex}")
        ).absolute()
        ca = trustme.CA(organization_name="LocalFabric", key_type=trustme.KeyType.RSA)
        self._broker_certificate = ca.issue_cert(_HOST, "localhost", key_type=trustme.KeyType.RSA)
        client_certificate = ca.issue_cert(common_name="local-client", key_type=trustme.KeyType.RSA)
        self._ca = ca
        self._certificates = {
            "ca-bundle.crt": ca.cert_pem,
            "client.crt": client_certificate.cert_chain_pems[0],
            "client.key": client_certificate.private_key_pem,
        }
        self._made: list[Path] = []
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], object] = lambda: None

    @property
    def config_file(self) -> Path:
        """The configuration file for clients, as ``DxlClientConfig.create_dxl_config_from_file`` takes it."""
        return self.directory / "dxlclient.config"

    def client_config(self) -> DxlClientConfig:
        """Return a new configuration with which a ``DxlClient`` can connect.

        :raise RuntimeError: if the fabric is not running
        """
        if self._thread is None:
            raise RuntimeError("the fabric is not running: call start() or use it in a with statement")
        config = DxlClientConfig.create_dxl_config_from_file(str(self.config_file))
        # Else dxlclient would prefer files of these names in the current directory.
        config.broker_ca_bundle, config.cert_file, config.private_key = (
            str(self.directory / name) for name in self._certificates
        )
        return config

    def start(self) -> None:
        """Start the broker and write the files. Returns when clients can connect.

        :raise OSError: if the port is in use, or the directory cannot be written
        :raise FileExistsError: if a file to be written exists already
        :raise RuntimeError: if the fabric is running
        """
        if self._thread is not None:
            raise RuntimeError("the fabric is running already")
        listener = self._listen()
        self.port = listener.getsockname()[1]
        started: Future[None] = Future()
        try:
            self._write_files()
            self._thread = threading.Thread(
                target=lambda: asyncio.run(self._serve(listener, started)), name="LocalFabric", daemon=True
            )
            self._thread.start()
            started.result()
        except BaseException:
            self._thread = None
            listener.close()
            self._remove_files()
            raise

    def stop(self) -> None:
        """Stop the broker, as a crash would for its clients, and remove the files.

        Does nothing if it is not running.
        """
        if self._thread is not None:
            self._stop()
            self._thread.join()
            self._thread = None
            self._remove_files()

    def __enter__(self) -> "LocalFabric":
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _listen(self) -> socket.socket:
        try:
            return socket.create_server((_HOST, self.port))
        except OSError as error:
            raise OSError(
                error.errno,
                f"cannot listen on {_HOST}:{self.port}: {os.strerror(error.errno or 0)}; choose another port",
            ) from error

    def _write_files(self) -> None:
        if not self.directory.exists():
            self.directory.mkdir(mode=0o700)
            self._made.append(self.directory)
        for name, certificate in self._certificates.items():
            self._write(name, certificate.bytes())
        self._write(self.config_file.name, _CONFIG.format(host=_HOST, port=self.port).encode())

    def _write(self, name: str, content: bytes) -> None:
        path = self.directory / name
        # "x": a configuration that someone else wrote is never replaced.
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
            # Someone may have deleted the files, or put others beside them.
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

    async def _serve(self, listener: socket.socket, started: "Future[None]") -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_connection_error)
        stop = asyncio.Event()
        connections: set[asyncio.StreamWriter] = set()
        # The listener is ours and not amqtt's: amqtt would not require a client certificate, would not take
        # a port that is already bound, and would log an error for each bare TCP probe of dxlclient.
        broker = Broker(
            BrokerConfig(
                listeners={_LISTENER: ListenerConfig(type=ListenerType.EXTERNAL)},
                plugins={"amqtt.plugins.authentication.AnonymousAuthPlugin": {}},
            )
        )

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.add(writer)
            try:
                await broker.external_connected(
                    StreamReaderAdapter(reader), StreamWriterAdapter(writer), _LISTENER
                )
            finally:
                connections.discard(writer)

        try:
            await broker.start()
            server = await asyncio.start_server(connected, sock=listener, ssl=self._tls())
        except Exception as error:  # noqa: BLE001 - start() raises it
            started.set_exception(error)
            return
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        started.set_result(None)
        await stop.wait()
        server.close()
        for writer in connections:
            # Not close(), which would wait for clients that read slowly.
            writer.transport.abort()
        await broker.shutdown()


def _log_connection_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # Clients that are refused or vanish are what a broker lives with.
    logger.debug("%s: %s", context["message"], context.get("exception"))
