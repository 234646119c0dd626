"""One HTTP/1.1 reply as it arrives: bytes in; status, headers and decoded body out. Pure.

httptools parses (llhttp, strict: nothing is guessed where RFC 9112 is not kept to); what is here
bounds it, decodes the body, and knows where a reply ends.
"""

from __future__ import annotations

import zlib
from typing import Any

import httptools

MAX_HEAD_BYTES = 64 * 1024
"""Of all that is not body; an eighth of what the body may be is allowed for its chunks besides."""
GZIP = frozenset({"gzip", "x-gzip"})
REPLY_TOO_LONG = "the reply is too long"


class BadReply(Exception):
    """No reply that can be read; the message says why in a few words."""


class ReplyParser:
    """Reads one reply."""

    def __init__(self, max_body_bytes: int) -> None:
        """`most_bytes` of decoded body at most."""
        self.status = 0
        self.headers: dict[str, str] = {}
        """Names in lower case; of a repeated one the last."""
        self.complete = False
        self.keep_alive = False
        """Whether the connection may be used again, once it is complete."""
        self._parser = httptools.HttpResponseParser(self)
        self._max_body_bytes = max_body_bytes
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._overhead_bytes = 0
        self._in_head = True
        self._decoder: Any = None
        self._error = ""

    def feed(self, data: bytes) -> None:
        """Read on. Raises BadReply."""
        self._overhead_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            if not self.complete:
                raise BadReply(self._error or str(exc)) from exc
            self.keep_alive = False  # more came than was asked for
        if self._overhead_bytes > MAX_HEAD_BYTES + self._max_body_bytes // 8:
            raise BadReply(REPLY_TOO_LONG)

    def feed_eof(self) -> None:
        """The connection ended, which completes a body without a length (RFC 9112 section 6.3)."""
        framed = "content-length" in self.headers or "transfer-encoding" in self.headers
        self.complete = self.complete or not (self._in_head or framed or self.status < 200)
        self.keep_alive = False

    @property
    def body(self) -> bytes:
        """Raises BadReply for half of a compressed one."""
        if self._decoder is not None and self._body and not self._decoder.eof:
            raise BadReply("half of a compressed body")
        return b"".join(self._body)

    # -- what the parser calls; what is raised here it raises as its own error -----------

    def on_message_begin(self) -> None:
        if self.complete:
            raise BadReply
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else a trailer
            text = value.decode("utf-8", "surrogateescape")
            self.headers[name.decode("latin-1").lower()] = text

    def on_headers_complete(self) -> None:
        self._in_head = False
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self.headers.clear()  # any number of those may come before the reply
        elif self.headers.get("content-encoding", "").lower() in GZIP:
            self._decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)

    def on_body(self, piece: bytes) -> None:
        self._overhead_bytes -= len(piece)
        if self._decoder is not None:
            piece = self._decoder.decompress(piece, self._max_body_bytes - self._body_bytes + 1)
        self._body_bytes += len(piece)
        if self._body_bytes > self._max_body_bytes:
            self._error = REPLY_TOO_LONG
            raise BadReply
        self._body.append(piece)

    def on_message_complete(self) -> None:
        self.complete = self.status >= 200
        self.keep_alive = self._parser.should_keep_alive()
