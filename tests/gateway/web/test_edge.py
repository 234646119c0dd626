"""What a connection may cost before its request is known, tried with raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from gateway.web import edge as edge_module
from gateway.web.edge import (
    CONNECTION_SHARE,
    HEAD_SLICE_BYTES,
    Edge,
    EdgeProtocol,
    connection_limit,
)
from gateway.web.faulty_send import CONNECTION_EXTENSION

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
PIECES = (b"first,", b"", b"second")
"""Of the body at `/stream`, whose length is not declared."""
SOON_S = 0.05
"""A limit that a test waits for."""
LATE_S = 5.0
"""A limit that a test must not run into."""


class App:
    """Answers 200, at `/stream` in pieces; of a body it reads nothing unless it is asked at
    `/read`."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.methods: list[str] = []
        self.waiting: list[int] = []
        """For each request, how many parsed ones wait for it on its connection."""
        self.hold = asyncio.Event()
        self.hold.set()
        self.started = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        self.methods.append(scope["method"])
        transport = scope["extensions"][CONNECTION_EXTENSION]["transport"]
        self.waiting.append(len(transport.get_protocol().pipeline))
        self.started.set()
        await self.hold.wait()
        if scope["path"] == "/read":
            body = b""
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body += message.get("body", b"")
                if not message.get("more_body"):
                    break
            self.bodies.append(body)
        if scope["path"] == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for piece in PIECES:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


class Server:
    """An edge on a port of its own."""

    def __init__(self, port: int, app: App, edge: Edge, refusals: Counter[str]) -> None:
        self.port = port
        self.app = app
        self.edge = edge
        self.refusals = refusals
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


@contextlib.asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[Server]:
    refusals: Counter[str] = Counter()

    def count(reason: str) -> None:
        refusals[reason] += 1

    app = App()
    edge = Edge(on_refusal=count, **{"head_timeout_s": LATE_S, "linger_s": LATE_S, **limits})
    config = uvicorn.Config(app, log_config=None, lifespan="off")
    state = ServerState()
    factory: Callable[[], EdgeProtocol] = partial(
        EdgeProtocol, config=config, server_state=state, app_state={}, edge=edge
    )
    listener = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    server = Server(listener.sockets[0].getsockname()[1], app, edge, refusals)
    try:
        yield server
    finally:
        server.close()
        listener.close()
        for protocol in list(state.connections):
            protocol.transport.abort()
        await asyncio.gather(*state.tasks, return_exceptions=True)


async def everything(reader: asyncio.StreamReader) -> bytes:
    """Until the server closes."""
    async with asyncio.timeout(LATE_S):
        return await reader.read()


async def reply(reader: asyncio.StreamReader) -> bytes:
    """One 200 of the application."""
    async with asyncio.timeout(LATE_S):
        return await reader.readuntil(b"\r\n\r\nok")


async def send_without_end(writer: asyncio.StreamWriter, piece: bytes = b"x") -> None:
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param([b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n"], id="a long target"),
        pytest.param([b"GET /" + b"a" * 9_000] + [b"a" * 9_000] * 9, id="a target in pieces"),
        pytest.param([GET + b"A: " + b"a" * 70_000 + b"\r\n\r\n"], id="a long header"),
        pytest.param([GET + b"A: "] + [b"a" * 9_000] * 9, id="a header in pieces"),
        pytest.param([GET + b"A: b\r\n" * 101 + b"\r\n"], id="many headers"),
        pytest.param([GET] + [b"A: b\r\n"] * 101, id="many headers in pieces"),
        pytest.param([GET + (b"A: " + b"a" * 900 + b"\r\n") * 80 + b"\r\n"], id="80 long ones"),
    ],
)
async def test_a_head_that_is_too_large_is_answered_with_431(head: list[bytes]) -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        for piece in head:
            writer.write(piece)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        writer.write_eof()
        answer = await everything(reader)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b"connection: close" in answer
        assert server.app.paths == []
        assert server.refusals == {"head_too_large": 1}


async def test_a_large_head_within_the_limits_is_served() -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(GET + (b"A: " + b"a" * 600 + b"\r\n") * 99 + b"\r\n")
        assert (await reply(reader)).startswith(b"HTTP/1.1 200 ")
        assert not server.refusals


async def test_a_request_after_another_has_a_limit_of_its_own() -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        for _ in range(4):
            writer.write(GET + b"A: " + b"a" * 40_000 + b"\r\n\r\n")
            assert (await reply(reader)).startswith(b"HTTP/1.1 200 ")
        assert not server.refusals


async def test_a_silent_connection_is_closed() -> None:
    async with serving(head_timeout_s=SOON_S) as server:
        reader, _ = await server.connect()
        assert await everything(reader) == b""
        assert server.refusals == {"silent": 1}


@pytest.mark.parametrize("first", [b"GET /", GET, b"\r\n"])
async def test_a_head_that_does_not_end_is_given_up(first: bytes) -> None:
    async with serving(head_timeout_s=SOON_S) as server:
        reader, writer = await server.connect()
        writer.write(first)
        answer = await everything(reader) if first == b"\r\n" else await reader.read(100)
        assert answer.startswith(b"HTTP/1.1 408 ") if first != b"\r\n" else answer == b""


async def test_the_head_of_a_further_request_has_a_deadline_too() -> None:
    async with serving(head_timeout_s=SOON_S) as server:
        reader, writer = await server.connect()
        writer.write(GET + b"\r\n")
        await reply(reader)
        writer.write(b"GET /livez")
        assert (await reader.read(100)).startswith(b"HTTP/1.1 408 ")


async def test_a_slow_answer_is_not_cut_off_by_the_next_head() -> None:
    async with serving(head_timeout_s=SOON_S) as server:
        server.app.hold.clear()
        reader, writer = await server.connect()
        writer.write(GET + b"\r\n" + b"GET /li")
        await server.app.started.wait()
        expired = asyncio.Event()
        asyncio.get_running_loop().call_later(3 * SOON_S, expired.set)
        await expired.wait()
        server.app.hold.set()
        assert (await reply(reader)).startswith(b"HTTP/1.1 200 ")


async def test_a_body_that_does_not_end_is_given_up() -> None:
    async with serving(body_timeout_s=SOON_S) as server:
        reader, writer = await server.connect()
        writer.write(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        with contextlib.suppress(ConnectionError):
            assert await everything(reader) == b""
        assert server.app.bodies == []
        assert server.refusals == {"body_timeout": 1}


async def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(b"POST /read HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n")
        writer.write(b"Content-Length: 4\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert server.app.bodies == [b"body"]


async def test_the_connection_idle_for_longest_gives_way() -> None:
    async with serving(max_connections=3) as server:
        idle = [await server.connect() for _ in range(3)]
        for idle_reader, idle_writer in idle:
            idle_writer.write(GET + b"\r\n")
            await reply(idle_reader)
        reader, writer = await server.connect()
        writer.write(GET + b"\r\n")
        assert (await reply(reader)).startswith(b"HTTP/1.1 200 ")
        with contextlib.suppress(ConnectionError):
            assert await everything(idle[0][0]) == b""
        assert server.refusals == {"idle_evicted": 1}
        idle[1][1].write(GET + b"\r\n")
        assert (await reply(idle[1][0])).startswith(b"HTTP/1.1 200 ")


async def test_connections_in_use_are_not_closed_for_a_new_one() -> None:
    async with serving(max_connections=1) as server:
        server.app.hold.clear()
        reader, writer = await server.connect()
        writer.write(GET + b"\r\n")
        await server.app.started.wait()
        other, _ = await server.connect()
        assert (await other.read(100)).startswith(b"HTTP/1.1 503 ")
        server.app.hold.set()
        assert (await reply(reader)).startswith(b"HTTP/1.1 200 ")
        assert server.refusals == {"too_many_connections": 1}


@pytest.mark.parametrize("size", [240_000, 3_000_000])
async def test_the_answer_to_a_refused_body_reaches_a_client_that_closes(size: int) -> None:
    async with serving() as server:
        for _ in range(5):
            reader, writer = await server.connect()
            head = b"POST /refuse HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            writer.write(head + b"Content-Length: %d\r\n\r\n" % size)
            for _ in range(size // 10_000):
                writer.write(b"x" * 10_000)
                await writer.drain()
            assert (await everything(reader)).endswith(b"ok")
            writer.close()


async def test_a_connection_that_goes_on_sending_is_closed_in_the_end() -> None:
    async with serving(linger_s=SOON_S) as server:
        reader, writer = await server.connect()
        head = b"POST /refuse HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        writer.write(head + b"Content-Length: 1000000\r\n\r\nx")
        assert (await everything(reader)).endswith(b"ok")
        async with asyncio.timeout(LATE_S):
            with pytest.raises(ConnectionError):
                await send_without_end(writer)


async def test_a_head_without_end_costs_no_more_reading() -> None:
    async with serving() as server:
        _, writer = await server.connect()
        writer.write(GET + b"A: ")
        async with asyncio.timeout(LATE_S):
            with pytest.raises(ConnectionError):
                await send_without_end(writer, b"a" * 65_536)
        assert server.refusals == {"head_too_large": 1}


@pytest.mark.parametrize("head", [b"", b"Connection: keep-alive\r\n", b"Connection: close\r\n"])
async def test_a_client_of_http_1_0_gets_no_chunks(head: bytes) -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(b"GET /stream HTTP/1.0\r\n" + head + b"\r\n")
        head, _, body = (await everything(reader)).partition(b"\r\n\r\n")
    assert body == b"".join(PIECES)
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()


async def test_a_reply_of_known_length_to_http_1_0_is_as_ever() -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(b"GET /livez HTTP/1.0\r\n\r\n")
        answer = await everything(reader)
    assert answer.endswith(b"\r\n\r\nok")
    assert b"content-length: 2" in answer


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_head_request_for_a_stream_gets_no_body(version: bytes) -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        request = b"HEAD /stream HTTP/" + version + b"\r\nHost: x\r\nConnection: close\r\n\r\n"
        writer.write(request)
        answer = await everything(reader)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n")


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(20)))
        for _ in range(20):
            await reply(reader)
        assert server.app.paths == [f"/{n}" for n in range(20)]


@pytest.mark.parametrize("end", ["keep-alive", "close"])
async def test_a_request_is_freed_without_the_garbage_collector(end: str) -> None:
    """Which would hold the event loop for as long as it takes to free hundreds of them at once."""
    request = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: %b\r\n\r\n" % end.encode()
    gc.collect()
    gc.disable()
    try:
        async with serving() as server:
            reader, writer = await server.connect()
            for _ in range(20):
                writer.write(request)
                await reply(reader)
                if end == "close":
                    assert await everything(reader) == b""
                    reader, writer = await server.connect()
            known = sum(isinstance(each, RequestResponseCycle) for each in gc.get_objects())
    finally:
        gc.enable()
    assert known <= 1  # the last one of a connection that is open


@pytest.mark.parametrize("method", ["FOO", "get", "X-A.b_c", "M-SEARCH", "UNLINK"])
async def test_any_method_reaches_the_application(method: str) -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        for _ in range(2):
            writer.write(method.encode() + b" /x HTTP/1.1\r\nHost: x\r\n\r\n")
            await reply(reader)
            writer.write(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nFOO /x HT")
            await reply(reader)
        assert server.app.methods == [method, "POST"] * 2
        assert server.app.bodies == [b"FOO /x HT"] * 2


@pytest.mark.parametrize("line", [b"FOO(1) /x HTTP/1.1", b"A" * 31 + b" /x HTTP/1.1", b"FOO x"])
async def test_what_is_no_request_line_is_refused(line: bytes) -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(line + b"\r\nHost: x\r\n\r\n")
        assert (await everything(reader)).startswith(b"HTTP/1.1 400 ")
        assert server.app.methods == []


def test_the_limit_of_connections_leaves_descriptors_for_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = {"now": (256, 256)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.update(now=new))
    assert connection_limit() == int(256 * CONNECTION_SHARE)
    limits["now"] = (1024, 524_288)
    assert connection_limit() == edge_module.MAX_CONNECTIONS
    assert limits["now"] == (edge_module.MAX_DESCRIPTORS, 524_288)
    limits["now"] = (1024, resource.RLIM_INFINITY)
    assert connection_limit() == edge_module.MAX_CONNECTIONS
    limits["now"] = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert connection_limit() == edge_module.MAX_CONNECTIONS


# -- much in one piece -------------------------------------------------------------------

CHUNKED = b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_body_of_tiny_chunks_is_read_to_its_end() -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(CHUNKED + b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n")
        await reply(reader)
        assert server.app.bodies == [b"a" * 50_000]


async def test_thousands_of_pipelined_requests_are_answered_in_order() -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(5_000)))
        for _ in range(5_000):
            await reply(reader)
        assert server.app.paths == [f"/{n}" for n in range(5_000)]


@pytest.mark.parametrize(
    "before", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 900 + b"\r\n\r\n"]
)
async def test_few_pipelined_requests_are_parsed_before_they_are_answered(before: bytes) -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(before + b"GET / HTTP/1.1\r\n\r\n" * 10_000)
        for _ in range(10_000):
            await reply(reader)
        assert max(server.app.waiting) <= HEAD_SLICE_BYTES / len(b"GET / HTTP/1.1\r\n\r\n") + 1


async def test_the_body_of_a_pipelined_request_may_come_later() -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        server.app.hold.clear()
        writer.write(GET + b"\r\nPOST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        await server.app.started.wait()
        writer.write(b"a" * 50_000)
        server.app.hold.set()
        await reply(reader)
        writer.write(b"b" * 50_000 + GET + b"\r\n")
        await reply(reader)
        await reply(reader)
        assert server.app.bodies == [b"a" * 50_000 + b"b" * 50_000]


@pytest.mark.parametrize(
    "framing",
    [b"1;" + b"e" * 65_536, b"0\r\nX-Trailer: " + b"v" * 65_536],
    ids=["chunk extension", "trailer"],
)
async def test_what_frames_a_body_has_a_size(framing: bytes) -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        with contextlib.suppress(ConnectionError):
            writer.write(CHUNKED + framing)
            for _ in range(20):
                await writer.drain()
                writer.write(b"x" * 65_536)
            await everything(reader)
        assert sum(server.refusals.values()) == 1
        assert server.app.bodies == []


async def test_trailers_are_counted_as_headers_are() -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(CHUNKED + b"1\r\na\r\n0\r\n" + b"a: b\r\n" * 1_000)
        assert (await everything(reader)).startswith(b"HTTP/1.1 431 ")
