"""Servers that are not DXL brokers, or that misbehave."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def server(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """Run a local server that calls a function for each connection. Yield its port."""
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
            # The last connection may still be open.
            with suppress(OSError):
                accepted[-1].shutdown(socket.SHUT_RDWR) if accepted else None
            thread.join()
