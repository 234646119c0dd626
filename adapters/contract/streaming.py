"""Replies that are rendered while they are sent: `StreamReply` to chunks of bytes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator
from typing import Any

from adapters.contract.wire import StreamReply

BUFFER_BYTES = 64 * 1024
"""Rendered rows are sent when they have about this size."""
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""Date of the file in an archive, fixed so that the same rows make the same archive."""


async def render_body(reply: StreamReply) -> AsyncIterator[bytes]:
    """The body in chunks, compressed if the reply is an archive."""
    plain = _rendered(reply)
    async for chunk in _zipped(plain, reply.zip_member) if reply.zip_member else plain:
        yield chunk


async def _rendered(reply: StreamReply) -> AsyncIterator[bytes]:
    collected = [reply.head]
    size = len(reply.head)
    separator = b""
    async for row in reply.rows:
        rendered = separator + reply.render(row)
        separator = reply.separator
        collected.append(rendered)
        size += len(rendered)
        if size >= BUFFER_BYTES:
            yield b"".join(collected)
            collected, size = [], 0
    collected.append(reply.tail)
    yield b"".join(collected)


async def _zipped(plain: AsyncIterator[bytes], name: str) -> AsyncIterator[bytes]:
    out = _ZipBuffer()
    member = zipfile.ZipInfo(name, ZIP_TIME)
    member.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(out, "w") as archive, archive.open(member, "w", force_zip64=True) as entry:
        async for chunk in plain:
            entry.write(chunk)
            if ready := out.take():
                yield ready
    yield out.take()


class _ZipBuffer(io.RawIOBase):
    """A write-only file that cannot seek; `take` removes what was written since the last call."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written += data
        return len(data)

    def take(self) -> bytes:
        taken, self._written = bytes(self._written), bytearray()
        return taken
