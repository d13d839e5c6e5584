"""LocalFabric's broker, which runs amqtt on a separate thread."""

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import struct
import threading
from concurrent.futures import Future
from typing import Any, cast
from weakref import WeakSet

import amqtt.plugins.authentication  # noqa: F401 - amqtt imports it by name, which PyInstaller does not detect
from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker, BrokerContext
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.plugins.base import BasePlugin

logger = logging.getLogger(__name__)

_LISTENER = "default"
# With this option, closing a socket resets its connection.
_LINGER = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)

# Keep amqtt's warnings about lost clients off stderr when logging is not configured.
logging.getLogger("amqtt").addHandler(logging.NullHandler())


class _ForgetTopics(BasePlugin[BrokerContext]):  # type: ignore[misc]  # amqtt has no type hints
    """Removes a topic when its last subscriber unsubscribes.

    amqtt 0.12.1 keeps topics without subscribers and checks each message against them. A thousand topics
    without subscribers delay each message by 1 ms.
    """

    async def on_broker_client_unsubscribed(self, *, client_id: str, topic: str) -> None:  # noqa: ARG002
        if self.context.subscriptions.get(topic) == []:
            del self.context.subscriptions[topic]


class _Listener(socket.socket):
    """Remembers the accepted connections.

    If an asyncio server stops after accepting a connection but before the TLS handshake, the connection stays
    open. The client then waits for the handshake instead of reconnecting.
    """

    def __init__(self, bound: socket.socket) -> None:
        super().__init__(fileno=bound.detach())
        self.accepted: WeakSet[socket.socket] = WeakSet()

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        self.accepted.add(connection)
        return connection, address


class BrokerThread:
    """Runs the broker on a separate thread.

    :param bound: a listening socket, which the broker closes
    :param tls: the TLS context of all connections
    :raise BaseException: the error that prevents the broker from starting
    """

    def __init__(self, bound: socket.socket, tls: ssl.SSLContext) -> None:
        listener = _Listener(bound)
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._thaw: threading.Event | None = None
        started: Future[None] = Future()
        serving = self._serve(listener, tls, started)

        def run() -> None:
            try:
                asyncio.run(serving)
            except BaseException as error:
                serving.close()  # in case asyncio has failed to start the coroutine
                if started.done():
                    raise
                started.set_exception(error)
            finally:
                for connection in (listener, *listener.accepted):
                    connection.close()

        self._thread = threading.Thread(target=run, name="LocalFabric", daemon=True)
        self._thread.start()
        started.result()

    def stop(self) -> None:
        """Stop the broker, even if it is frozen, and wait until it has stopped."""
        self.thaw()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def drop_connections(self) -> None:
        """Reset all connections."""
        if self._thaw is not None:
            raise RuntimeError("a frozen fabric cannot drop its connections: call thaw() first")
        asyncio.run_coroutine_threadsafe(self._reset_all(), self._loop).result()

    def freeze(self) -> None:
        """Suspend the broker's thread, just as SIGSTOP suspends a process."""
        if self._thaw is None:
            frozen, self._thaw = threading.Event(), threading.Event()
            self._loop.call_soon_threadsafe(_stand_still, frozen, self._thaw)
            frozen.wait()

    def thaw(self) -> None:
        """Let the broker's thread continue."""
        if self._thaw is not None:
            self._thaw.set()
            self._thaw = None

    async def _serve(self, listener: socket.socket, tls: ssl.SSLContext, started: "Future[None]") -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_log_connection_error)
        self._stop = asyncio.Event()
        # Do not use amqtt's own listener, which does not require a client certificate, does not accept a
        # bound socket, and logs an error for each bare TCP probe from dxlclient.
        broker = Broker(
            BrokerConfig(
                listeners={_LISTENER: ListenerConfig(type=ListenerType.EXTERNAL)},
                plugins={
                    "amqtt.plugins.authentication.AnonymousAuthPlugin": {},
                    f"{__name__}.{_ForgetTopics.__name__}": {},
                },
            )
        )

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self._stop.is_set():  # its TLS handshake ended after all others were aborted
                writer.transport.abort()
                return
            self._connections[writer] = cast("asyncio.Task[None]", asyncio.current_task())
            try:
                await broker.external_connected(
                    StreamReaderAdapter(reader), StreamWriterAdapter(writer), _LISTENER
                )
            finally:
                del self._connections[writer]

        await broker.start()
        server = await asyncio.start_server(connected, sock=listener, ssl=tls)
        started.set_result(None)
        await self._stop.wait()
        server.close()
        # Abort all connections. Otherwise, amqtt 0.12.1 waits for slow readers and hangs if it has just begun
        # to serve a client.
        for writer, served in self._connections.items():
            writer.transport.abort()
            served.cancel()
        await asyncio.gather(*self._connections.values(), return_exceptions=True)
        await broker.shutdown()

    async def _reset_all(self) -> None:
        sockets = []
        for writer in self._connections:
            connection = writer.get_extra_info("socket")
            if connection is not None:  # otherwise already closed
                sockets.append(connection)
                with contextlib.suppress(OSError):  # the client has already closed the connection
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            writer.transport.abort()
        # abort() closes the socket in a later iteration of the event loop, without notification.
        while any(connection.fileno() != -1 for connection in sockets):  # noqa: ASYNC110
            await asyncio.sleep(0)


def _stand_still(frozen: threading.Event, thaw: threading.Event) -> None:
    frozen.set()
    thaw.wait()


def _log_connection_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # Refused and lost clients are normal for a broker, so log them only at the debug level.
    logger.debug("%s: %s", context["message"], context.get("exception"))
