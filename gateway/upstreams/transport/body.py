"""Reads a reply's body up to a bound, which holds after decompression."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable
from typing import Any

GZIP = frozenset({"gzip", "x-gzip"})


class BadBodyError(Exception):
    """No body that can be used; the message says why in a few words."""


async def read_body(
    pieces: AsyncIterable[bytes], *, content_encoding: str, max_bytes: int
) -> bytes:
    """The decoded body, `max_bytes` at most. Raises BadBodyError, and what `pieces` raises."""
    gunzip: Any = None
    if content_encoding.lower() in GZIP:
        gunzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    body, empty = bytearray(), True
    async for piece in pieces:
        empty = empty and not piece
        if gunzip is not None:
            try:
                # httpx's decoder would unpack the whole piece, to a thousand times its length
                body += gunzip.decompress(piece, max_bytes - len(body) + 1)
            except zlib.error as exc:
                raise BadBodyError("no gzip") from exc
        else:
            body += piece
        if len(body) > max_bytes:
            raise BadBodyError("the reply is too long")
    if gunzip is not None and not empty and not gunzip.eof:
        raise BadBodyError("half of a compressed body")
    return bytes(body)
