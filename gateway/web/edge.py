"""The edge: what a connection may cost before anything is known of its request.

uvicorn's protocol reads a request head of any size for any time, and keeps a silent connection as
long as its client likes. Here a head has a size and a deadline, a body has a deadline, silent
connections give way to new ones before the process runs out of descriptors, and an answer given
before the request was read to its end reaches the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from gateway.web.faulty_send import CONNECTION_EXTENSION
from gateway.web.methods import replace_unknown_method

MAX_HEAD_BYTES = 64 * 1024
"""Of a request line and its headers; a longer head is answered with 431 (RFC 6585 section 5)."""
MAX_HEADERS = 100
HEAD_TIMEOUT_S = 10.0
"""From the connection, or from the first byte of a further request, to the end of the head."""
BODY_TIMEOUT_S = 35.0
"""From the head to the end of the body: longer than a dialect waits (`gateway.web.bodies`), so
that its own error comes first."""
LINGER_S = 10.0
"""How long a connection that is to be closed is still read from, if its request is not read to the
end: closed at once, the client's system would throw the unread answer away (RFC 9112 section 9.6).
"""
MAX_LINGER_BYTES = 32 * 1024 * 1024
"""How much is read from it meanwhile: more than the largest body that a dialect takes."""
MAX_LINGER_BYTES_AFTER_HEAD = 512 * 1024
"""The same if it was the head that was refused."""
SLICE_BYTES = 16 * 1024
"""Of a body, parsed in one turn of the event loop. What is received at a time, a quarter of a
megabyte, can be 50,000 chunks: 100 ms of other clients' time."""
HEAD_SLICE_BYTES = 1024
"""The same of heads, of which a kilobyte has 50 at most. No further one is parsed until all of them
are answered."""
CONNECTION_SHARE = 0.5
"""Of the descriptors of the process; the others are kept for DNS, SMTP, upstreams and storage."""
MAX_DESCRIPTORS = 65_536
"""The limit of descriptors is raised to this if the system allows as many."""
MAX_CONNECTIONS = 16_384


def connection_limit() -> int:
    """How many clients may be connected, by the limit of descriptors, which is raised first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(MAX_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, int(soft * CONNECTION_SHARE)))


@dataclass(slots=True, kw_only=True)
class Edge:
    """The limits of one server, and its idle connections."""

    max_connections: int = MAX_CONNECTIONS
    max_head_bytes: int = MAX_HEAD_BYTES
    max_headers: int = MAX_HEADERS
    head_timeout_s: float = HEAD_TIMEOUT_S
    body_timeout_s: float = BODY_TIMEOUT_S
    linger_s: float = LINGER_S
    on_refusal: Callable[[str], None] = lambda _: None
    """Counts a connection that was refused or ended, by the reason."""
    is_closing: bool = False
    """Whether each connection ends with its next answer, because the server takes no more."""
    idle: dict[EdgeProtocol, None] = field(default_factory=dict)
    """Connections without a request under way, the one that is idle for longest first."""


class _Reading(Enum):
    """Which part of a request is being read."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class _HeadTooLarge(Exception):
    """Ends the parsing of a request head."""


class EdgeProtocol(HttpToolsProtocol):
    """HTTP/1.1 within the limits of an `Edge`."""

    def __init__(self, *args: Any, edge: Edge, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._edge = edge
        self._timer: asyncio.TimerHandle | None = None
        """Until the head, or else the body, is there."""
        self._reading = _Reading.NOTHING
        self._unknown_method = ""
        """Of the request whose head is being read, if the parser does not know it."""
        self._head_bytes = 0
        self._framing_bytes = 0
        """Since the last byte of a body: trailers and chunk extensions."""
        self._unparsed = bytearray()
        """What was received and has to wait for the next turn of the event loop."""
        self._next_slice: asyncio.Handle | None = None
        self._lingering = False
        self._linger_bytes = MAX_LINGER_BYTES
        self._refusal = 400
        """Status of the answer to a request that cannot be parsed."""
        self._cycle_transport = cast(asyncio.Transport, _CycleTransport(self))

    # -- the connection ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline, self._resume_reading)
        self._cycle_transport.write = transport.write  # type: ignore[method-assign]
        edge = self._edge
        if len(self.connections) > edge.max_connections and not self._make_room():
            edge.on_refusal("too_many_connections")
            self._answer_and_close(503, "Too many connections.")
            return
        edge.idle[self] = None
        self._start_timer(edge.head_timeout_s, self._on_head_timeout)

    def _make_room(self) -> bool:
        """Close the connection that has been idle for longest; False if all are in use."""
        oldest = next(iter(self._edge.idle), None)
        if oldest is None:
            return False
        self._edge.on_refusal("idle_evicted")
        oldest._abort()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._edge.idle.pop(self, None)
        self._stop_timer()
        self._unparsed.clear()
        super().connection_lost(exc)
        # Protocol and transport refer to each other: they wait for the garbage collector, without
        # what a client may send much of.
        self.cycle = self.scope = None  # type: ignore[assignment]
        self.headers = []

    def _abort(self) -> None:
        self._edge.idle.pop(self, None)
        self.connections.discard(self)
        self.transport.abort()

    # -- reading -------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            self._linger_bytes -= len(data)
            if self._linger_bytes < 0:
                self._abort()
            return
        if self._unparsed:
            self._unparsed += data
        elif len(data) <= self._slice_bytes:
            self._parse(data)
        else:
            self._unparsed += data
            self.transport.pause_reading()
            self._parse_slice()

    def _parse_slice(self) -> None:
        """Parse the next piece of what was received, and see to the rest."""
        self._next_slice = None
        if not self._lingering:
            size = self._slice_bytes
            piece = bytes(self._unparsed[:size])
            del self._unparsed[:size]
            self._parse(piece)
        if self._lingering or self.transport.is_closing():
            self._unparsed.clear()
        if not self.flow.read_paused:
            self._resume_reading()

    def _resume_reading(self) -> None:
        """Parse what was received, then receive more."""
        if not self._unparsed:
            self.transport.resume_reading()
        elif self._next_slice is None:
            self._next_slice = self.loop.call_soon(self._parse_slice)

    def _parse(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._reading is _Reading.NOTHING:
            data, self._unknown_method = replace_unknown_method(data)
        super().data_received(data)
        if self._lingering or self.transport.is_closing():
            return
        if self._reading is _Reading.HEAD:
            self._head_bytes += len(data)
            if self._head_bytes > self._edge.max_head_bytes:
                self._refuse_head()
                return
        if self._reading is _Reading.BODY:
            self._framing_bytes += len(data)
            if self._framing_bytes > self._edge.max_head_bytes + SLICE_BYTES:
                self._edge.on_refusal("unreadable")
                self._abort()
                return
        if self._timer is not None:
            return
        if self._reading is _Reading.BODY:
            self._start_timer(self._edge.body_timeout_s, self._on_body_timeout)
        elif self._reading is _Reading.HEAD or not self._is_answering:
            self._start_timer(self._edge.head_timeout_s, self._on_head_timeout)

    @property
    def _slice_bytes(self) -> int:
        return SLICE_BYTES if self._reading is _Reading.BODY else HEAD_SLICE_BYTES

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading = _Reading.HEAD
        self._head_bytes = 0
        self.scope["extensions"] = {CONNECTION_EXTENSION: {"transport": self.transport}}

    def on_header(self, name: bytes, value: bytes) -> None:
        # also of trailers, which are none of the application's
        if len(self.headers) >= self._edge.max_headers:
            self._refusal = 431
            raise _HeadTooLarge
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._framing_bytes = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        # A head in one piece is measured here, one in several in `data_received`.
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self._edge.max_head_bytes:
            self._refusal = 431
            raise _HeadTooLarge
        self._reading = _Reading.BODY
        self._framing_bytes = 0
        self._stop_timer()
        self._edge.idle.pop(self, None)
        super().on_headers_complete()
        if self._unknown_method:
            self.scope["method"], self._unknown_method = self._unknown_method, ""
        self.cycle.__class__ = _Cycle  # uvicorn has no setting for it
        self.cycle.transport = self._cycle_transport
        if self._edge.is_closing:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        self._reading = _Reading.NOTHING
        self._stop_timer()
        super().on_message_complete()

    # -- the end of a request ------------------------------------------------------------

    def on_response_complete(self) -> None:
        if self._lingering:
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        if not self.transport.is_closing() and not self._is_answering:
            self._edge.idle[self] = None

    def close_after_reply(self) -> None:
        """Close, but not before the client could read the answer to a request that it is sending
        still."""
        if self._reading is _Reading.NOTHING:
            self.transport.close()
            return
        self._lingering = True
        self._edge.idle[self] = None
        self.pipeline.clear()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._start_timer(self._edge.linger_s, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        if self._refusal == 431:
            self._refuse_head()
        else:
            self._edge.on_refusal("unreadable")
            self._answer_and_close(400, msg)

    def _refuse_head(self) -> None:
        self._edge.on_refusal("head_too_large")
        self._answer_and_close(431, "The request head is too large.")

    def _on_head_timeout(self) -> None:
        self._timer = None
        if self._is_answering:
            # the request before it is being answered: its client may take its time with the next
            self._start_timer(self._edge.head_timeout_s, self._on_head_timeout)
        elif self._reading is _Reading.HEAD:
            self._edge.on_refusal("head_timeout")
            self._answer_and_close(408, "The request head did not arrive in time.")
        else:
            self._edge.on_refusal("silent")
            self.transport.close()

    def _on_body_timeout(self) -> None:
        self._edge.on_refusal("body_timeout")
        self._abort()

    def _answer_and_close(self, status: int, text: str) -> None:
        body = text.encode("ascii")
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: text/plain; charset=utf-8\r\n"
            + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            + body
        )
        self._reading = _Reading.HEAD
        self._linger_bytes = MAX_LINGER_BYTES_AFTER_HEAD
        self.close_after_reply()

    def _start_timer(self, delay_s: float, callback: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(delay_s, callback)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _ExactName(bytes):
    """The name of a header in its own case: uvicorn writes what `lower` returns."""

    __slots__ = ()

    def lower(self) -> _ExactName:
        return self


class _Cycle(RequestResponseCycle):
    """A request and its response, as uvicorn's but for the names of headers and for HTTP/1.0.

    It overrides a method, rather than be given another `send`, which would refer to it: then
    requests would be left to the garbage collector, which takes 30 ms for a few hundred with many
    headers.
    """

    is_cut_off = False
    """Whether the connection's end is that of the response."""

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ())]
            if self.scope["http_version"] == "1.0" and not _has_length(headers):
                # such a client knows no chunks (RFC 9112, sections 6.1 and 6.3)
                self.is_cut_off = True
                self.chunked_encoding = False
            # some vendors' clients compare the case of names
            exact = [
                (name if name.islower() else _ExactName(name), value) for name, value in headers
            ]
            message = {**message, "headers": exact}
        elif self.is_cut_off and message["type"] == "http.response.body":
            # uvicorn compares what is sent with what was promised
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


def _has_length(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name.lower() == b"content-length" for name, _ in headers)


class _Flow(FlowControl):
    """Reading goes on with what was received and not yet parsed, once no parsed request waits for
    those before it: uvicorn would parse more of them after each answer, without an end."""

    def __init__(
        self, transport: asyncio.Transport, waiting: Sized, resume: Callable[[], None]
    ) -> None:
        super().__init__(transport)
        self._waiting = waiting
        self._resume = resume

    def resume_reading(self) -> None:
        if self.read_paused and not self._waiting:
            self.read_paused = False
            self._resume()


class _CycleTransport:
    """The transport as uvicorn's request cycle sees it: it writes, and closes in good order."""

    def __init__(self, protocol: EdgeProtocol) -> None:
        self._protocol = protocol
        self.close = protocol.close_after_reply
        self.write: Callable[[bytes], None] = lambda _: None

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()
