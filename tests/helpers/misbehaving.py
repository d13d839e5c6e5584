"""Runs local servers that simulate faulty brokers and other services."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def server(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """Run a local server with one thread per connection, and yield its port."""
    accepted: list[socket.socket] = []

    def converse(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            serve(connection)

    def accept() -> None:
        with suppress(OSError):  # the listener is closed at the end
            while True:
                accepted.append(listener.accept()[0])
                threading.Thread(target=converse, args=[accepted[-1]], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in accepted:
                with suppress(OSError):  # it is closed already
                    connection.shutdown(socket.SHUT_RDWR)
