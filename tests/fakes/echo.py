"""An upstream on loopback that answers every request with its own secrets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class Echo:
    """Answers `status` with `body`, and with the head of the request if `repeats_head`."""

    port: int = 0
    status: int = 401
    body: bytes = b"{}"
    media_type: str = "application/json"
    repeats_head: bool = False
    heads: list[str] = field(default_factory=list)
    """Of the requests that came."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError), contextlib.closing(writer):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.heads.append(head)
                lowered = head.lower()
                if "content-length:" in lowered:
                    length = lowered.split("content-length:")[1].split("\r\n")[0]
                    await reader.readexactly(int(length))
                body = self.body + (head.encode("latin-1") if self.repeats_head else b"")
                writer.write(
                    f"HTTP/1.1 {self.status} Said\r\nContent-Type: {self.media_type}\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n".encode()
                    + body
                )
                await writer.drain()


@contextlib.asynccontextmanager
async def echo(**options: object) -> AsyncIterator[Echo]:
    """An upstream that listens while inside."""
    made = Echo(**options)  # type: ignore[arg-type]
    server = await asyncio.start_server(made.serve, "127.0.0.1", made.port)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
