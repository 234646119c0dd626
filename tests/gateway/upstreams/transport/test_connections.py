"""Connections to a server that does what it is told, on loopback."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from adapters.contract.upstream import Fault, FaultKind, UpstreamReply
from gateway.upstreams.transport.connections import (
    ConnectionPool,
    ReplyOrFault,
    parse_origin,
    serialize_request,
)
from tests.fakes.smtp import CERTIFICATE as ANOTHERS

CERTIFICATE = Path(__file__).parents[3] / "fakes" / "vendor.pem"
"""For `localhost`, signed by itself."""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
FOR_GOOD = b"HTTP/1.1 200 OK\r\n\r\nhi"

Does = Callable[[asyncio.StreamWriter, int], None]
"""What is done about the request with a number, counted from 1 on each connection."""


def say(data: bytes, *, close: bool = False) -> Does:
    def does(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(data)
        if close:
            writer.close()

    return does


def drop(writer: asyncio.StreamWriter, _: int) -> None:
    writer.transport.abort()


def nothing(_: asyncio.StreamWriter, __: int) -> None:
    pass


class Server:
    """Reads requests without a body, and does as it is told."""

    def __init__(self, does: Does) -> None:
        self.does = does
        self.port = 0
        self.requests: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.asked = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()
        self.gone = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.writers.append(writer)
        number = 0
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                number += 1
                self.asked.set()
                self.does(writer, number)
        writer.close()
        self.gone.set()


@contextlib.asynccontextmanager
async def serving(does: Does, tls: Path | None = None) -> AsyncIterator[Server]:
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
    server = Server(does)
    async with await asyncio.start_server(
        server.serve, "127.0.0.1", 0, ssl=context, ssl_handshake_timeout=5 if context else None
    ) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        try:
            yield server
        finally:
            listening.close()
            for writer in server.writers:
                writer.transport.abort()
            if server.tasks:
                await asyncio.wait(server.tasks)


@contextlib.asynccontextmanager
async def connections(
    most: int = 10, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ConnectionPool]:
    opened = ConnectionPool(most, clock=lambda: 1000.0, tls=tls)
    try:
        yield opened
    finally:
        await opened.aclose()


async def get(
    here: ConnectionPool,
    port: int,
    *,
    host: str = "http://127.0.0.1",
    connect_s: float = 5.0,
    timeout_s: float = 5.0,
) -> ReplyOrFault:
    return await here.request(
        "GET",
        f"{host}:{port}/a?b=c",
        {"x-key": "k"},
        b"",
        connect_timeout_s=connect_s,
        timeout_s=timeout_s,
        max_body_bytes=100,
    )


async def test_a_connection_is_kept() -> None:
    async with serving(say(OK)) as server, connections() as here:
        for _ in range(3):
            answer = await get(here, server.port)
            assert answer == UpstreamReply(200, {"content-length": "2"}, b"hi", 1000.0)
        assert len(server.writers) == 1
        assert server.requests[0] == (
            b"GET /a?b=c HTTP/1.1\r\n"
            b"host: 127.0.0.1:%d\r\n"
            b"user-agent: veriplex\r\naccept: */*\r\naccept-encoding: gzip\r\n"
            b"x-key: k\r\n\r\n" % server.port
        )


@pytest.mark.parametrize(
    ("does", "expected"),
    [
        (say(FOR_GOOD, close=True), UpstreamReply(200, {}, b"hi", 1000.0)),
        (
            say(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")),
            UpstreamReply(200, {"content-length": "2", "connection": "close"}, b"hi", 1000.0),
        ),
        (say(OK + OK), UpstreamReply(200, {"content-length": "2"}, b"hi", 1000.0)),
        (say(OK[:-1], close=True), Fault(FaultKind.BROKEN, "closed")),
        (say(b"", close=True), Fault(FaultKind.BROKEN, "closed")),
        (say(b"hello\r\n"), Fault(FaultKind.GARBAGE, "Expected HTTP/, RTSP/ or ICE/")),
        (
            say(b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101),
            Fault(FaultKind.GARBAGE, "the reply is too long", 200),
        ),
        (
            say(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b"),
            Fault(FaultKind.GARBAGE, "half of a compressed body", 200),
        ),
    ],
)
async def test_a_connection_that_is_not_kept(does: Does, expected: ReplyOrFault) -> None:
    async with serving(does) as server, connections() as here:
        assert await get(here, server.port) == expected
        await get(here, server.port)
        assert len(server.writers) == 2


async def test_a_request_is_sent_once_and_never_again() -> None:
    async with serving(drop) as server, connections() as here:
        answer = await get(here, server.port)
        assert isinstance(answer, Fault)
        assert answer.kind is FaultKind.BROKEN
        assert len(server.requests) == 1


async def test_a_kept_connection_that_was_closed_is_sent_nothing() -> None:
    async with serving(say(OK)) as server, connections() as here:
        await get(here, server.port)
        server.writers[0].close()
        await server.gone.wait()
        await get(here, server.port)
        assert [len(server.writers), len(server.requests)] == [2, 2]


async def test_what_comes_unasked_ends_a_kept_connection() -> None:
    async with serving(say(OK)) as server, connections() as here:
        await get(here, server.port)
        server.writers[0].write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await server.gone.wait()
        assert isinstance(await get(here, server.port), UpstreamReply)
        assert len(server.writers) == 2


async def test_no_answer_in_time() -> None:
    async with serving(nothing) as server, connections() as here:
        answer = await get(here, server.port, timeout_s=0.05)
        assert answer == Fault(FaultKind.TIMED_OUT, "TimeoutError")
        await server.gone.wait()
        assert len(server.requests) == 1


async def test_half_an_answer_in_time() -> None:
    async with serving(say(OK[:-1])) as server, connections() as here:
        answer = await get(here, server.port, timeout_s=0.05)
        assert answer == Fault(FaultKind.TIMED_OUT, "TimeoutError")


async def test_nobody_there() -> None:
    async with serving(nothing) as server:
        port = server.port
    async with connections() as here:
        assert await get(here, port) == Fault(FaultKind.UNREACHABLE, "ConnectionRefusedError")


async def test_no_such_host() -> None:
    async with connections() as here:
        answer = await get(here, 1, host="http://nowhere.invalid")
        assert answer == Fault(FaultKind.UNREACHABLE, "gaierror")


async def test_who_stops_waiting_takes_the_connection_with_it() -> None:
    async with serving(nothing) as server, connections() as here:
        asking = asyncio.create_task(get(here, server.port))
        await server.asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await server.gone.wait()


async def test_closing_ends_what_is_asked() -> None:
    async with serving(nothing) as server, connections() as here:
        asking = asyncio.create_task(get(here, server.port))
        await server.asked.wait()
        await here.aclose()
        assert await asking == Fault(FaultKind.BROKEN, "closed")


async def test_no_more_requests_at_a_time_than_allowed() -> None:
    async with serving(nothing) as server, connections(most=1) as here:
        first = asyncio.create_task(get(here, server.port))
        await server.asked.wait()
        answer = await get(here, server.port, timeout_s=0.02)
        assert answer == Fault(FaultKind.BUSY, "no free connection in time")
        second = asyncio.create_task(get(here, server.port))
        server.does = say(OK)
        server.writers[0].write(OK)
        assert isinstance(await first, UpstreamReply)
        assert isinstance(await second, UpstreamReply)
        assert [len(server.writers), len(server.requests)] == [1, 2]


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


async def test_tls() -> None:
    async with (
        serving(say(OK), CERTIFICATE) as server,
        connections(tls=trusting(CERTIFICATE)) as here,
    ):
        for _ in range(2):
            answer = await get(here, server.port, host="https://localhost")
            assert isinstance(answer, UpstreamReply)
        assert len(server.writers) == 1


@pytest.mark.parametrize(
    ("certificate", "trusted", "host"),
    [
        (CERTIFICATE, ANOTHERS, "https://localhost"),
        (CERTIFICATE, None, "https://localhost"),
        (CERTIFICATE, CERTIFICATE, "https://127.0.0.1"),
    ],
)
async def test_a_certificate_of_somebody_else(
    certificate: Path, trusted: Path | None, host: str
) -> None:
    tls = None if trusted is None else trusting(trusted)
    async with serving(say(OK), certificate) as server, connections(tls=tls) as here:
        answer = await get(here, server.port, host=host)
        assert answer == Fault(FaultKind.UNREACHABLE, "SSLCertVerificationError")
        assert server.requests == []


async def test_no_tls_in_time() -> None:
    async with serving(nothing) as server, connections() as here:
        answer = await get(here, server.port, host="https://localhost", connect_s=0.05)
        assert answer == Fault(FaultKind.UNREACHABLE, "TimeoutError")


@pytest.mark.parametrize(
    ("url", "secure", "host", "port", "host_line"),
    [
        ("http://a.test", False, "a.test", 80, "host: a.test"),
        ("https://A.test", True, "a.test", 443, "host: a.test"),
        ("https://a.test:80", True, "a.test", 80, "host: a.test:80"),
        ("http://[::1]:81", False, "::1", 81, "host: [::1]:81"),
        ("http://bücher.test", False, "xn--bcher-kva.test", 80, "host: xn--bcher-kva.test"),
    ],
)
def test_an_origin(url: str, secure: bool, host: str, port: int, host_line: str) -> None:
    found = parse_origin(url)
    assert (found.uses_tls, found.host, found.port) == (secure, host, port)
    assert found.header_lines.split("\r\n")[0] == host_line


def test_a_name_and_a_password_in_a_url() -> None:
    server = parse_origin("http://a%40b:c%20d@x.test")
    assert b"\r\nauthorization: Basic YUBiOmMgZA==\r\n" in serialize_request(
        "GET", server, "/", {}, b""
    )
    own = serialize_request("GET", server, "/", {"authorization": "Bearer k"}, b"")
    assert own.count(b"authorization") == 1


def test_a_body_is_sent_with_its_length() -> None:
    server = parse_origin("http://x.test")
    assert serialize_request("POST", server, "/", {}, b"abc").endswith(
        b"\r\ncontent-length: 3\r\n\r\nabc"
    )
    assert serialize_request("POST", server, "/", {}, b"").endswith(
        b"\r\ncontent-length: 0\r\n\r\n"
    )
    assert b"content-length" not in serialize_request("GET", server, "/", {}, b"")


@pytest.mark.parametrize(
    ("target", "value"),
    [("/a b", "k"), ("/a\r\nx: y", "k"), ("/é", "k"), ("/", "k\r\nx: y"), ("/", "k\n")],
)
async def test_what_would_be_another_request_is_not_sent(target: str, value: str) -> None:
    async with serving(say(OK)) as server, connections() as here:
        answer = await here.request(
            "GET",
            f"http://127.0.0.1:{server.port}{target}",
            {"x-key": value},
            b"",
            connect_timeout_s=5,
            timeout_s=5,
            max_body_bytes=100,
        )
        assert answer == Fault(FaultKind.GARBAGE, "ValueError")
        assert server.requests == []
