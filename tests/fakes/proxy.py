"""Proxies on loopback: HTTP (RFC 9110 sections 9.3.6 and 7.6) and SOCKS5 (RFC 1928, RFC 1929).

Every name leads to loopback, so that a test sees whether the proxy was given the name.
"""

import asyncio
import contextlib
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"
USER, PASSWORD = "ann", "p@ss word"
"""What a proxy with `credentials` wants; as a URL writes it: `ann:p%40ss%20word`."""
IN_URL = "ann:p%40ss%20word@"


@dataclass(eq=False)
class Proxy:
    """One proxy. Made by `http_proxy` or `socks_proxy`."""

    credentials: bool = False
    refuses: int = 0
    """The status, or the SOCKS reply, with which it refuses every connection; 0 is none."""
    silent: bool = False
    """Whether it answers nothing."""
    port: int = 0
    asked: list[str] = field(default_factory=list)
    """`CONNECT host:port`, `GET http://…` or `SOCKS host:port`, of those let in."""
    turned_away: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of an HTTP proxy."""
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if self.silent:
                await reader.read()
                return
            line, *lines = head[:-4].split(b"\r\n")
            method, target, _ = line.decode().split(" ")
            pairs = (line.split(b": ", 1) for line in lines)
            headers = {name.lower(): value for name, value in pairs}
            wanted = b"Basic " + b64encode(f"{USER}:{PASSWORD}".encode())
            if self.credentials and headers.get(b"proxy-authorization") != wanted:
                self.turned_away += 1
                writer.write(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
                continue
            self.asked.append(f"{method} {target}")
            if self.refuses:
                writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % self.refuses)
                continue
            if method == "CONNECT":
                port = int(target.rpartition(":")[2])
                up_reader, up_writer = await asyncio.open_connection(LOOPBACK, port)
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                await _tunnel(reader, writer, up_reader, up_writer)
                return
            body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
            writer.write(await self._forward(method, target, lines, body))

    async def _forward(self, method: str, target: str, lines: list[bytes], body: bytes) -> bytes:
        """The reply to a request, which has to have a length."""
        parts = urlsplit(target)
        reader, writer = await asyncio.open_connection(LOOPBACK, parts.port)
        kept = [line for line in lines if not line.lower().startswith(b"proxy-")]
        path = f"{parts.path}{'?' if parts.query else ''}{parts.query}"
        writer.write(b"\r\n".join([f"{method} {path} HTTP/1.1".encode(), *kept, b"", body]))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        reply = head + await reader.readexactly(length)
        writer.close()
        return reply

    async def socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a SOCKS5 proxy."""
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        if self.silent:
            await reader.read()
            return
        method = 2 if self.credentials else 0
        if method not in methods:
            self.turned_away += 1
            writer.write(b"\x05\xff")
            return
        writer.write(bytes((5, method)))
        if self.credentials and not await self._let_in(reader, writer):
            self.turned_away += 1
            return
        _, _, _, kind = await reader.readexactly(4)
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            host = ".".join(map(str, await reader.readexactly(4)))
        port = int.from_bytes(await reader.readexactly(2))
        self.asked.append(f"SOCKS {host}:{port}")
        writer.write(bytes((5, self.refuses, 0, 1, 0, 0, 0, 0, 0, 0)))
        if not self.refuses:
            await _tunnel(reader, writer, *await asyncio.open_connection(LOOPBACK, port))

    async def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await reader.readexactly(1)
        user = await reader.readexactly((await reader.readexactly(1))[0])
        password = await reader.readexactly((await reader.readexactly(1))[0])
        good = (user.decode(), password.decode()) == (USER, PASSWORD)
        writer.write(bytes((1, 0 if good else 1)))
        return good


async def _tunnel(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    up_reader: asyncio.StreamReader,
    up_writer: asyncio.StreamWriter,
) -> None:
    """Bytes both ways, until either side has ended."""

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()

    try:
        async with asyncio.TaskGroup() as group:
            pumps = [
                group.create_task(pump(reader, up_writer)),
                group.create_task(pump(up_reader, writer)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for task in pumps:
                task.cancel()
    finally:
        up_writer.close()


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def _listening(
    proxy: Proxy, serve: Serve, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Proxy]:
    async def safely(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        proxy._tasks.add(task)
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, OSError, ExceptionGroup, asyncio.CancelledError):
            pass
        finally:
            proxy._tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(safely, LOOPBACK, 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        tasks = tuple(proxy._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def http_proxy(proxy: Proxy, certificate: Path | None = None) -> AsyncIterator[Proxy]:
    """An HTTP proxy while inside; with a certificate and its key it is spoken to by TLS."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    async with _listening(proxy, proxy.http, context):
        yield proxy


@contextlib.asynccontextmanager
async def socks_proxy(proxy: Proxy) -> AsyncIterator[Proxy]:
    """A SOCKS5 proxy while inside."""
    async with _listening(proxy, proxy.socks):
        yield proxy
