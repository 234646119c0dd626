"""An HTTP server on loopback that writes what a test scripts, well-formed or not."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

CERTIFICATE = Path(__file__).parent / "vendor.pem"
"""For `localhost`, signed by itself."""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

Does = Callable[[asyncio.StreamWriter, int], None]
"""The reaction to the request with a number, counted from 1 on each connection."""


def say(data: bytes, *, close: bool = False) -> Does:
    def does(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(data)
        if close:
            writer.close()

    return does


def drop(writer: asyncio.StreamWriter, _: int) -> None:
    writer.transport.abort()


def nothing(_: asyncio.StreamWriter, __: int) -> None:
    pass


def by_number(*does: Does) -> Does:
    """Each request its own; the last for all that follow."""

    def one(writer: asyncio.StreamWriter, number: int) -> None:
        does[min(number, len(does)) - 1](writer, number)

    return one


class Server:
    """Reads requests, and follows its script. Made by `serving`."""

    def __init__(self, does: Does) -> None:
        self.does = does
        self.port = 0
        self.requests: list[bytes] = []
        """Their heads."""
        self.bodies: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.asked = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()
        self.gone = asyncio.Event()
        """A client has closed a connection, or we have."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.writers.append(writer)
        number = 0
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head)
                _, named, length = head.lower().partition(b"content-length: ")
                size = int(length.split(b"\r\n")[0]) if named else 0
                self.bodies.append(await reader.readexactly(size))
                number += 1
                self.asked.set()
                self.does(writer, number)
        writer.close()
        self.gone.set()


@contextlib.asynccontextmanager
async def serving(does: Does, tls: ssl.SSLContext | Path | None = None) -> AsyncIterator[Server]:
    """A server while inside; a path is that of a certificate and its key."""
    context = tls
    if isinstance(tls, Path):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
    server = Server(does)
    async with await asyncio.start_server(
        server.serve, "127.0.0.1", 0, ssl=context, ssl_handshake_timeout=5 if context else None
    ) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        try:
            yield server
        finally:
            listening.close()
            for writer in server.writers:
                writer.transport.abort()
            if server.tasks:
                await asyncio.wait(server.tasks)
