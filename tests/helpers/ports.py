"""Reserve free TCP ports for servers that start later or restart."""

import socket

_RESERVED: list[socket.socket] = []


def reserve_port() -> int:
    """Return a free port on 127.0.0.1, reserved until this process ends.

    The operating system does not automatically assign the port to other programs, but a server can still
    request it.
    """
    reserved = socket.socket()
    # With this option, one socket can listen on a port to which another is bound.
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    _RESERVED.append(reserved)
    port: int = reserved.getsockname()[1]
    return port
