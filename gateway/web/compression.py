"""Replies compressed with gzip for clients that accept it (RFC 9110, sections 8.4.1.3 and 12.5.3).

A list of 50,000 results is 20 MB of JSON, and a tenth of that compressed.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

from starlette.types import Message, Send

MIN_BYTES = 1_024
"""A shorter body is sent as it is: it fits into one packet either way."""
LEVEL = 4
"""Of zlib: a chunk of 64 kB takes the event loop 1 ms, and a higher level saves little."""
GZIP_WBITS = 31
"""For zlib: the largest window, with the header and trailer of gzip."""

COMPRESSED_TYPES = frozenset(
    {
        "application/json",
        "application/problem+json",
        "application/xml",
        "text/css",
        "text/csv",
        "text/javascript",
        "text/plain",
    }
)
"""Media types of texts; an archive would only grow, and a stream of events must not wait. No HTML:
pages may hold a secret beside what a stranger put into their address (BREACH; docs/security.md)."""

VARY_HEADER = (b"vary", b"Accept-Encoding")


@lru_cache(256)
def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a client with this header takes gzip: not with the weight 0."""
    weights: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        coding, _, parameter = part.partition(";")
        name, _, value = parameter.partition("=")
        try:
            weights[coding.strip()] = float(value) if name.strip() == "q" else 1.0
        except ValueError:
            weights[coding.strip()] = 0.0
    weight = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return weight > 0


def compressing(send: Send, accept_encoding: str) -> Send:
    """`send`, which compresses a reply that is long enough if the client accepts that."""
    return _CompressingSend(send, accepted=accepts_gzip(accept_encoding))


class _CompressingSend:
    def __init__(self, send: Send, *, accepted: bool) -> None:
        self._send = send
        self._accepted = accepted
        self._start: Message | None = None
        """The head, until it is known whether the body is long."""
        self._held = b""
        """The start of the body until then."""
        self._compressor: zlib._Compress | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if _is_text(message):
                self._start = message
            else:
                await self._send(message)
            return
        if self._start is not None:
            self._held += message.get("body", b"")
            if message.get("more_body", False) and len(self._held) < MIN_BYTES:
                return
            message = {**message, "body": self._held}
            start, self._start = self._start, None
            await self._send(self._chosen_head(start, message))
        if self._compressor is None:
            await self._send(message)
            return
        more = message.get("more_body", False)
        body = self._compressor.compress(message.get("body", b""))
        if not more:
            body += self._compressor.flush()
        if body or not more:
            await self._send({**message, "body": body})

    def _chosen_head(self, start: Message, first: Message) -> Message:
        """The head with the encoding of the body, which begins with `first`."""
        body, more = first["body"], first.get("more_body", False)
        if len(body) < MIN_BYTES:
            return start
        headers = [*start["headers"], VARY_HEADER]
        if self._accepted:
            self._compressor = zlib.compressobj(LEVEL, wbits=GZIP_WBITS)
            headers = [pair for pair in headers if pair[0].lower() != b"content-length"]
            headers.append((b"content-encoding", b"gzip"))
            if not more:
                # in one piece, so that its length can be told
                compressed = self._compressor.compress(body) + self._compressor.flush()
                headers.append((b"content-length", b"%d" % len(compressed)))
                first["body"] = compressed
                self._compressor = None
        return {**start, "headers": headers}


def _is_text(start: Message) -> bool:
    found = {name.lower(): value for name, value in start["headers"]}
    media_type = found.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip()
    return media_type.lower() in COMPRESSED_TYPES and b"content-encoding" not in found
