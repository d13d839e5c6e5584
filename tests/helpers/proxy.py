"""A proxy between clients and mosquitto, which resets connections and withholds acknowledgements."""

import contextlib
import select
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import trustme
from dxlclient.broker import Broker
from dxlclient.client_config import DxlClientConfig
from helpers.mosquitto import Mosquitto

_SUBACK = 9


class Proxy:
    """Terminates the clients' TLS and forwards packets between them and mosquitto."""

    def __init__(self, mosquitto: Mosquitto, listener: socket.socket) -> None:
        self.withholds_acknowledgements = False
        self._mosquitto, self._listener = mosquitto, listener
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.verify_mode = ssl.CERT_REQUIRED
        mosquitto.ca.configure_trust(self._tls)
        mosquitto.ca.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA).configure_cert(self._tls)
        self._clients: set[ssl.SSLSocket] = set()

    def client_config(self) -> DxlClientConfig:
        """Return a new configuration for a client."""
        config = self._mosquitto.client_config()
        config.brokers = [Broker("127.0.0.1", port=self._listener.getsockname()[1])]
        return config

    def reset(self) -> None:
        """Reset the connections of all clients."""
        for client in tuple(self._clients):
            with contextlib.suppress(OSError):
                # The following close() sends RST. shutdown() ends the reading thread.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.shutdown(socket.SHUT_RD)

    def serve(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed at the end
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=[connection], daemon=True).start()

    def _connect(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(5)  # for the handshake: dxlclient also probes the port without TLS
            with (
                self._tls.wrap_socket(connection, server_side=True) as client,
                socket.create_connection(("127.0.0.1", self._mosquitto.plain_port)) as broker,
            ):
                self._clients.add(client)
                try:
                    self._pass_on(client, broker)
                finally:
                    self._clients.discard(client)

    def _pass_on(self, client: ssl.SSLSocket, broker: socket.socket) -> None:
        # Use one thread for both directions, because two threads must not share a TLS connection.
        received = b""
        while True:
            readable = [client] if client.pending() else select.select([client, broker], [], [])[0]
            if client in readable:
                if not (data := client.recv(65536)):
                    return
                broker.sendall(data)
            if broker in readable:
                if not (data := broker.recv(65536)):
                    return
                packets, received = _packets(received + data)
                client.sendall(
                    b"".join(
                        packet
                        for packet in packets
                        if not (packet[0] >> 4 == _SUBACK and self.withholds_acknowledgements)
                    )
                )


def _packets(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the complete MQTT packets, and the rest."""
    packets: list[bytes] = []
    while True:
        # The size follows the first byte, with seven bits in each byte. Its last byte is below 128.
        digits = next((data[1:end] for end in range(2, 6) if len(data) >= end and data[end - 1] < 0x80), b"")
        end = 1 + len(digits) + sum((digit & 0x7F) << 7 * place for place, digit in enumerate(digits))
        if not digits or len(data) < end:
            return packets, data
        packets.append(data[:end])
        data = data[end:]


@contextmanager
def proxy(mosquitto: Mosquitto) -> Iterator[Proxy]:
    """Run a proxy."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = Proxy(mosquitto, listener)
        thread = threading.Thread(target=running.serve, daemon=True)
        thread.start()
        try:
            yield running
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            running.reset()
