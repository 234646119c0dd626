"""SOCKS5 proxies on loopback (RFC 1928, RFC 1929) for mail: honest, slow, dying and lying ones.

async with socks_server(Socks(user="ann", password="pw")) as socks:
    ... socks.port ... socks.requests ...
    await socks.kill()
    await socks.restart()
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

LOOPBACK = "127.0.0.1"


class Lie(Enum):
    """What a proxy does instead of connecting."""

    SUCCESS_THEN_CLOSE = "says that it connected, and closes"
    SUCCESS_THEN_HANG = "says that it connected, and sends nothing"
    CLOSE = "closes instead of a reply to CONNECT"
    HANG = "never replies to CONNECT"
    SILENT = "never replies to the greeting"
    GARBAGE = "is no SOCKS server"
    SHORT_ADDRESS = "replies with an address of unknown type"


@dataclass(eq=False)
class Socks:
    """One proxy. It connects to what it is asked for, from `source`."""

    user: str = ""
    password: str = ""
    source: str = ""
    reply: int = 0
    """The reply with which it refuses every request; 0 is none."""
    lie: Lie | None = None
    lie_about: Mapping[str, Lie] = field(default_factory=dict)
    """The same for some of the addresses that it is asked for."""
    script: Sequence[bytes] | None = None
    """What it sends after each read, in place of SOCKS, before it closes."""
    delay_s: float = 0.0
    """Before each reply to CONNECT."""
    dies_after: int = 0
    """Requests after which it ends with all its connections; 0 is never."""
    port: int = 0
    requests: list[tuple[str, int]] = field(default_factory=list)
    """Address and port of each CONNECT."""
    names: list[str] = field(default_factory=list)
    """Host names that it was given."""
    turned_away: int = 0
    greetings: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def url(self, user: str = "", password: str = "") -> str:
        """Its URL, with these credentials."""
        at = f"{user}:{password}@" if user else ""
        return f"socks5://{at}{LOOPBACK}:{self.port}"

    async def kill(self) -> None:
        """End the server and all its connections, as `kill -9` does."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def restart(self) -> None:
        """Start it, at the same port if it had one."""
        self._server = await asyncio.start_server(self._safely, LOOPBACK, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        await self.kill()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _safely(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        # uvloop raises RuntimeError for a write after the connection was aborted
        closed = (asyncio.IncompleteReadError, OSError, RuntimeError, asyncio.CancelledError)
        with contextlib.suppress(*closed):
            await self._serve(reader, writer)
        self._tasks.discard(task)
        self._writers.discard(writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.script is not None:
            for chunk in self.script:
                if await reader.read(300):
                    writer.write(chunk)
            return
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        self.greetings += 1
        if self.lie is Lie.GARBAGE:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return
        if self.lie is Lie.SILENT:
            await reader.read()
            return
        method = 2 if self.user else 0
        if method not in methods:
            self.turned_away += 1
            writer.write(b"\x05\xff")
            return
        writer.write(bytes((5, method)))
        if self.user and not await self._let_in(reader, writer):
            self.turned_away += 1
            return
        host, port = await self._read_request(reader)
        self.requests.append((host, port))
        if self.dies_after and len(self.requests) > self.dies_after:
            await self.kill()
            return
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        await self._connect(host, port, reader, writer)

    async def _read_request(self, reader: asyncio.StreamReader) -> tuple[str, int]:
        _, _, _, kind = await reader.readexactly(4)
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
            self.names.append(host)
        else:
            host = str(ipaddress.ip_address(await reader.readexactly(4 if kind == 1 else 16)))
        return host, int.from_bytes(await reader.readexactly(2))

    async def _connect(
        self,
        host: str,
        port: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        success = bytes((5, 0, 0, 1, 0, 0, 0, 0, 0, 0))
        match self.lie_about.get(host, self.lie):
            case Lie.SUCCESS_THEN_CLOSE:
                writer.write(success)
                return
            case Lie.SUCCESS_THEN_HANG:
                writer.write(success)
                await reader.read()
                return
            case Lie.CLOSE:
                return
            case Lie.HANG:
                await reader.read()
                return
            case Lie.SHORT_ADDRESS:
                writer.write(bytes((5, 0, 0, 9, 0, 0)))
                await reader.read()
                return
        if self.reply:
            writer.write(bytes((5, self.reply, 0, 1, 0, 0, 0, 0, 0, 0)))
            return
        local = (self.source, 0) if self.source else None
        try:
            up_reader, up_writer = await asyncio.open_connection(host, port, local_addr=local)
        except OSError as exc:
            code = 5 if isinstance(exc, ConnectionRefusedError) else 4
            writer.write(bytes((5, code, 0, 1, 0, 0, 0, 0, 0, 0)))
            return
        self._writers.add(up_writer)
        try:
            writer.write(success)
            await _tunnel(reader, writer, up_reader, up_writer)
        finally:
            self._writers.discard(up_writer)
            up_writer.close()

    async def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await reader.readexactly(1)
        user = await reader.readexactly((await reader.readexactly(1))[0])
        password = await reader.readexactly((await reader.readexactly(1))[0])
        good = (user.decode(), password.decode()) == (self.user, self.password)
        writer.write(bytes((1, 0 if good else 1)))
        return good


async def _tunnel(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    up_reader: asyncio.StreamReader,
    up_writer: asyncio.StreamWriter,
) -> None:
    """Octets both ways, until either side has ended."""

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()

    pumps = [
        asyncio.ensure_future(pump(reader, up_writer)),
        asyncio.ensure_future(pump(up_reader, writer)),
    ]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


@contextlib.asynccontextmanager
async def socks_server(socks: Socks) -> AsyncIterator[Socks]:
    """The proxy while inside."""
    await socks.restart()
    try:
        yield socks
    finally:
        await socks.aclose()
