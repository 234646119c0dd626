"""A way to a server that can lose what was sent, as a network does that drops packets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path


class TcpProxy:
    """Passes connections on to a Unix socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.port = 0
        self.passes_new = True
        """Whether connections from now on are served; else they stay without an answer."""
        self.sides: set[_Side] = set()

    def lose_connections(self) -> None:
        """Nothing arrives any more on the connections that there are; neither side is told."""
        for side in self.sides:
            side.is_lost = True


class _Side(asyncio.Protocol):
    """One end of a connection through the proxy."""

    def __init__(self, proxy: TcpProxy, other: _Side | None = None) -> None:
        self.proxy = proxy
        self.other = other
        self.is_lost = not proxy.passes_new
        self.transport: asyncio.Transport | None = None
        self.connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.proxy.sides.add(self)
        if self.other is None and not self.is_lost:
            transport.pause_reading()
            self.connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        self.other = other = _Side(self.proxy, self)
        loop = asyncio.get_running_loop()
        assert self.transport is not None
        try:
            await loop.create_unix_connection(lambda: other, str(self.proxy.path))
        except OSError:
            self.transport.abort()
        else:
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if not self.is_lost and self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.proxy.sides.discard(self)
        if self.connecting is not None:
            self.connecting.cancel()
        if not self.is_lost and self.other is not None and self.other.transport is not None:
            self.other.transport.abort()


@contextlib.asynccontextmanager
async def tcp_proxy(path: Path) -> AsyncIterator[TcpProxy]:
    proxy = TcpProxy(path)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Side(proxy), "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for side in tuple(proxy.sides):
            if side.transport is not None:
                side.transport.abort()
        while proxy.sides:  # noqa: ASYNC110 - their ends are told in the loop's next turns
            await asyncio.sleep(0)
