"""Servers that are no DXL broker, or one that does something wrong."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import trustme


@contextmanager
def server(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server on this machine that does something with each connection. Gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                accepted.append(connection)
                with connection, suppress(OSError):
                    serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            # The last one may still be served.
            with suppress(OSError):
                accepted[-1].shutdown(socket.SHUT_RDWR) if accepted else None
            thread.join()


def tls_server(
    ca: trustme.CA,
    version: ssl.TLSVersion,
    *,
    answer: bytes = b"\x20\x02\0\0",
    clients_of: trustme.CA | None = None,
    certificate: trustme.LeafCert | None = None,
) -> Callable[[socket.socket], object]:
    """What answers the hello of MQTT over one version of TLS, to clients of its CA or of another one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("AES128-SHA256")
    context.verify_mode = ssl.CERT_REQUIRED
    (clients_of or ca).configure_trust(context)
    (certificate or ca.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA)).configure_cert(context)

    def serve(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) as tls:
                tls.recv(100)
                tls.sendall(answer)
                tls.recv(100)
        except OSError:
            pass

    return serve
