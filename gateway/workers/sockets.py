"""The sockets of several processes that listen on one port."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable

BALANCED = sys.platform == "linux"
"""Whether the kernel spreads connections over the sockets of a port (SO_REUSEPORT)."""


def bind_each(bind: Callable[[], socket.socket], count: int) -> list[socket.socket]:
    """A socket for each of `count` processes, all on the address that `bind` binds.

    With one socket for all, the process that wakes first accepts a whole burst: of 16 connections
    made at once, all came to one of two processes, and kept to it. With a socket for each the
    kernel spreads them. Elsewhere than on Linux it does not, and all get the same socket. Raises
    OSError.
    """
    first = bind()  # without SO_REUSEPORT: another server on this port must be an error
    if not BALANCED:
        return [first] * count
    family, (host, port) = first.family, first.getsockname()[:2]
    first.close()
    sockets: list[socket.socket] = []
    try:
        while len(sockets) < count:
            sockets.append(bind_shared(family, host, port))
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def bind_shared(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    """A further socket on a port that this process has. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
