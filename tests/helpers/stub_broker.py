"""A small broker that, unlike real brokers, can withhold acknowledgements."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme
from dxlclient.broker import Broker
from dxlclient.client_config import DxlClientConfig
from dxlclient.message import Event
from helpers.misbehaving import server

GRANTED, REFUSED = 0, 128
WITHHELD = None

Answer = Callable[[str], int | None]


class StubBroker:
    """An MQTT broker with mutually authenticated TLS, for any number of clients.

    The broker calls ``answer`` for each SUBSCRIBE packet. A test can replace ``answer`` at any time. The
    function receives the topic and returns ``WITHHELD`` or the SUBACK's code (``GRANTED`` or ``REFUSED``).
    """

    port: int

    def __init__(self, tls: ssl.SSLContext, files: tuple[str, str, str]) -> None:
        self._tls, self._files = tls, files
        self.answer: Answer = lambda _: GRANTED
        self.subscribes: list[str] = []
        """The topic of each received SUBSCRIBE, answered or not."""
        self._sessions: set[_Session] = set()

    def client_config(self) -> DxlClientConfig:
        """Return a configuration for a ``DxlClient``."""
        return DxlClientConfig(*self._files, [Broker("127.0.0.1", port=self.port)])

    def acknowledge_withheld(self, code: int = GRANTED) -> None:
        """Send the withheld SUBACKs for all existing connections."""
        for session in tuple(self._sessions):
            while session.withheld:
                session.acknowledge(*session.withheld.pop(0), code)

    def publish(self, topic: str, payload: bytes) -> int:
        """Send an event to each client with a granted subscription, and return the number of recipients."""
        event = Event(topic)
        event.payload = payload
        return self.send(event)

    def send(self, event: Event) -> int:
        """Send an event unchanged, including its message ID."""
        topic = event.destination_topic
        packed = event._to_bytes()  # type: ignore[attr-defined]
        receivers = [session for session in tuple(self._sessions) if topic in session.granted]
        for session in receivers:
            session.send(0x30, _text(topic) + packed)
        return len(receivers)

    def send_raw(self, data: bytes) -> None:
        """Send raw bytes, such as part of a packet, to all clients."""
        for session in tuple(self._sessions):
            session.send_raw(data)

    def reset(self) -> None:
        """Reset all connections."""
        for session in tuple(self._sessions):
            session.reset()

    def converse(self, connection: socket.socket) -> None:
        # Ignore EOFError: dxlclient probes the port without TLS, and a client may close its connection.
        with contextlib.suppress(EOFError), self._tls.wrap_socket(connection, server_side=True) as tls:
            session = _Session(tls)
            try:
                self._answer_all(session)
            finally:
                self._sessions.discard(session)

    def _answer_all(self, session: "_Session") -> None:
        while True:
            kind, body = session.receive()
            if kind == 1:  # CONNECT
                self._sessions.add(session)
                session.send(0x20, b"\0\0")
            elif kind == 3:  # PUBLISH
                self._pass_on(body)
            elif kind == 8:  # SUBSCRIBE (dxlclient always sends one topic)
                packet_id, topic = body[:2], body[4:-1].decode()
                code = self.answer(topic)
                self.subscribes.append(topic)
                if code is WITHHELD:
                    session.withheld.append((packet_id, topic))
                else:
                    session.acknowledge(packet_id, topic, code)
            elif kind == 10:  # UNSUBSCRIBE
                session.granted.discard(body[4:].decode())
                session.send(0xB0, body[:2])
            elif kind == 12:  # PINGREQ
                session.send(0xD0, b"")
            elif kind == 14:  # DISCONNECT
                return

    def _pass_on(self, body: bytes) -> None:
        topic = body[2 : 2 + int.from_bytes(body[:2], "big")].decode()
        for session in tuple(self._sessions):
            if topic in session.granted:
                session.send(0x30, body)


class _Session:
    """One client's connection."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self._tls = tls
        self._sending = threading.Lock()
        self.granted: set[str] = set()
        self.withheld: list[tuple[bytes, str]] = []

    def acknowledge(self, packet_id: bytes, topic: str, code: int) -> None:
        if code != REFUSED:
            self.granted.add(topic)
        self.send(0x90, packet_id + bytes([code]))

    def send(self, first_byte: int, body: bytes) -> None:
        size, length = len(body), b""
        while True:
            size, digit = divmod(size, 128)
            length += bytes([digit | (0x80 if size else 0)])
            if not size:
                break
        self.send_raw(bytes([first_byte]) + length + body)

    def send_raw(self, data: bytes) -> None:
        with self._sending, contextlib.suppress(OSError):  # the client is gone
            self._tls.sendall(data)

    def receive(self) -> tuple[int, bytes]:
        kind = self._read(1)[0] >> 4
        size = shift = 0
        while True:
            digit = self._read(1)[0]
            size |= (digit & 0x7F) << shift
            shift += 7
            if digit < 0x80:
                return kind, self._read(size)

    def _read(self, size: int) -> bytes:
        read = b""
        while len(read) < size:
            piece = self._tls.recv(size - len(read))
            if not piece:
                raise EOFError
            read += piece
        return read

    def reset(self) -> None:
        with contextlib.suppress(OSError):
            # Because of SO_LINGER, close() sends an RST packet. shutdown() ends the reading thread.
            # SSLSocket's own disables TLS.
            self._tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            socket.socket.shutdown(self._tls, socket.SHUT_RD)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("!H", len(encoded)) + encoded


@contextmanager
def stub_broker(directory: Path) -> Iterator[StubBroker]:
    """Run a stub broker and write the clients' certificates to ``directory``."""
    ca = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers("AES128-SHA256")
    tls.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(tls)
    ca.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA).configure_cert(tls)
    client = ca.issue_cert(common_name="client")
    files = (
        str(directory / "stub-ca.crt"),
        str(directory / "stub-client.crt"),
        str(directory / "stub-client.key"),
    )
    ca.cert_pem.write_to_path(files[0])
    client.cert_chain_pems[0].write_to_path(files[1])
    client.private_key_pem.write_to_path(files[2])
    broker = StubBroker(tls, files)
    with server(broker.converse) as broker.port:
        yield broker
        broker.reset()
