"""Requests to a scripted server on loopback: the bytes sent, and each bound."""

import asyncio
import contextlib
import socket
import ssl
import threading
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import respx

from adapters.contract.upstream import Fault, FaultKind, UpstreamReply, UpstreamRequest
from adapters.registry import DIALECTS
from gateway.upstreams.transport.aiohttp_transport import HttpTransport
from gateway.upstreams.transport.client import UpstreamClient, UpstreamLocation
from tests.fakes.http_server import (
    CERTIFICATE,
    OK,
    Does,
    Server,
    by_number,
    drop,
    nothing,
    say,
    serving,
)
from tests.fakes.smtp import CERTIFICATE as ANOTHERS

EMAILABLE = next(dialect for dialect in DIALECTS if dialect.name == "emailable")
FOR_GOOD = b"HTTP/1.1 200 OK\r\n\r\nhi"
REQUEST = UpstreamRequest("GET", "/v1/verify", {"email": "a+b@c.test"}, {"x-key": "k"})
MOST = 1000


def head(*lines: str, status: str = "200 OK", version: str = "1.1") -> bytes:
    return "\r\n".join([f"HTTP/{version} {status}", *lines, "", ""]).encode()


LENGTH = head("Content-Length: 5")
CHUNKED = head("Transfer-Encoding: chunked")
GZIPPED = zlib.compressobj(wbits=31)
PACKED = GZIPPED.compress(b"hello" * 20) + GZIPPED.flush()
BOMB = zlib.compressobj(wbits=31)
BOMB_PACKED = BOMB.compress(b"\0" * 1_000_000) + BOMB.flush()
PACKED_HEAD = head("Content-Encoding: gzip", f"Content-Length: {len(PACKED)}")


@contextlib.asynccontextmanager
async def sending(tls: ssl.SSLContext | None = None) -> AsyncIterator[UpstreamClient]:
    transport = HttpTransport(tls=lambda: tls) if tls is not None else HttpTransport()
    client = UpstreamClient(transport, clock=lambda: 1000.0)
    try:
        yield client
    finally:
        await client.aclose()


async def get(
    client: UpstreamClient,
    server: Server | int,
    request: UpstreamRequest = REQUEST,
    *,
    host: str = "http://127.0.0.1",
    connect_timeout_s: float = 5.0,
    timeout_s: float = 5.0,
) -> UpstreamReply | Fault:
    port = server if isinstance(server, int) else server.port
    place = UpstreamLocation(EMAILABLE, f"{host}:{port}/v1")
    return await client.send(
        place,
        request,
        connect_timeout_s=connect_timeout_s,
        timeout_s=timeout_s,
        max_body_bytes=MOST,
    )


# -- what is sent ------------------------------------------------------------------------


async def test_a_connection_is_kept() -> None:
    async with serving(say(OK)) as server, sending() as client:
        for _ in range(3):
            reply = await get(client, server)
            assert reply == UpstreamReply(200, {"content-length": "2"}, b"hi", 1000.0)
        assert len(server.writers) == 1
        assert server.requests[0] == (
            b"GET /v1/verify?email=a%%2Bb@c.test HTTP/1.1\r\n"
            b"host: 127.0.0.1:%d\r\n"
            b"user-agent: veriplex\r\naccept: */*\r\naccept-encoding: gzip\r\n"
            b"x-key: k\r\n\r\n" % server.port
        )


@pytest.mark.parametrize("body", [b"", b"abc"])
async def test_a_body_is_sent_with_its_length(body: bytes) -> None:
    async with serving(say(OK)) as server, sending() as client:
        await get(client, server, replace(REQUEST, method="POST", body=body))
        assert server.bodies == [body]
        assert b"\r\ncontent-length: %d\r\n" % len(body) in server.requests[0]
        assert b"content-type" not in server.requests[0].lower()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [({}, b"Basic YUBiOmMgZA=="), ({"authorization": "Bearer k"}, b"Bearer k")],
)
async def test_a_name_and_a_password_in_a_url(headers: dict[str, str], expected: bytes) -> None:
    async with serving(say(OK)) as server, sending() as client:
        request = replace(REQUEST, headers=headers)
        await get(client, server, request, host="http://a%40b:c%20d@127.0.0.1")
        assert b"\r\nauthorization: " + expected + b"\r\n" in server.requests[0]
        assert server.requests[0].lower().count(b"authorization") == 1
        assert b"a%40b" not in server.requests[0]


@pytest.mark.parametrize(
    "request_",
    [
        replace(REQUEST, headers={"x-key": "k\r\nx: y"}),
        replace(REQUEST, headers={"x-key": "k\n"}),
        replace(REQUEST, path="/v1/a\r\nx: y"),
        replace(REQUEST, path="/v1/a\x00"),
    ],
)
async def test_what_would_be_another_request_is_not_sent(request_: UpstreamRequest) -> None:
    async with serving(say(OK)) as server, sending() as client:
        fault = await get(client, server, request_)
        assert isinstance(fault, Fault)
        assert fault.kind is FaultKind.GARBAGE
        assert server.requests == []


async def test_cookies_are_not_kept() -> None:
    async with serving(say(head("Set-Cookie: a=b", "Content-Length: 0"))) as server:
        async with sending() as client:
            for _ in range(2):
                await get(client, server)
        assert b"cookie" not in server.requests[1].lower()


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
async def test_no_redirect_is_followed(status: str) -> None:
    async with serving(say(OK)) as other, sending() as client:
        location = f"Location: http://127.0.0.1:{other.port}/"
        async with serving(say(head(location, "Content-Length: 0", status=status))) as server:
            reply = await get(client, server)
        assert isinstance(reply, UpstreamReply)
        assert reply.status == int(status[:3])
        assert other.requests == []


# -- what is read ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status", "body", "kept"),
    [
        (LENGTH + b"hello", 200, b"hello", True),
        (CHUNKED + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n", 200, b"hello", True),
        (CHUNKED + b"5\r\nhello\r\n0\r\nX-Trailer: x\r\n\r\n", 200, b"hello", True),
        (PACKED_HEAD + PACKED, 200, b"hello" * 20, True),
        (head("Content-Encoding: gzip", "Content-Length: 0"), 200, b"", True),
        (head("Content-Encoding: br", "Content-Length: 2") + b"\0\1", 200, b"\0\1", True),
        (head(status="204 No Content"), 204, b"", True),
        (head("Content-Length: 0", status="249 Try Again"), 249, b"", True),
        (head(status="100 Continue") + LENGTH + b"hello", 200, b"hello", True),
        (head("A: b", status="103 Early Hints") * 3 + LENGTH + b"hello", 200, b"hello", True),
        (head("Content-Length: 5", "Connection: close") + b"hello", 200, b"hello", False),
        (head("Content-Length: 5", version="1.0") + b"hello", 200, b"hello", False),
        # more than was asked for
        (LENGTH + b"hello" + LENGTH + b"world", 200, b"hello", False),
    ],
)
async def test_a_reply(data: bytes, status: int, body: bytes, kept: bool) -> None:
    async with serving(say(data)) as server, sending() as client:
        for _ in range(2):
            reply = await get(client, server)
            assert isinstance(reply, UpstreamReply)
            assert (reply.status, reply.body) == (status, body)
        assert len(server.writers) == (1 if kept else 2)


async def test_headers_are_lower_case_and_the_last_of_a_name_counts() -> None:
    data = head("Retry-After: 1", "RETRY-AFTER: 2", "X: \N{SNOWMAN}", "Content-Length: 0")
    async with serving(say(data)) as server, sending() as client:
        reply = await get(client, server)
        assert isinstance(reply, UpstreamReply)
        assert reply.headers == {"retry-after": "2", "x": "\N{SNOWMAN}", "content-length": "0"}


async def test_neither_early_hints_nor_trailers_are_the_replys_headers() -> None:
    hints = head("Retry-After: 1", status="103 Early Hints")
    data = hints + CHUNKED + b"0\r\nRetry-After: 2\r\n\r\n"
    async with serving(say(data)) as server, sending() as client:
        reply = await get(client, server)
    assert isinstance(reply, UpstreamReply)
    assert reply.headers == {"transfer-encoding": "chunked"}


async def test_the_end_of_the_connection_ends_a_body_without_a_length() -> None:
    async with serving(say(FOR_GOOD, close=True)) as server, sending() as client:
        assert await get(client, server) == UpstreamReply(200, {}, b"hi", 1000.0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nA: b\r\n",
        head(status="100 Continue"),
        LENGTH + b"hell",
        CHUNKED + b"5\r\nhello\r\n",
    ],
)
async def test_a_connection_that_ends_in_the_middle(data: bytes) -> None:
    async with serving(say(data, close=True)) as server, sending() as client:
        assert await get(client, server) == Fault(FaultKind.BROKEN, "closed")
        await get(client, server)
        assert [len(server.writers), len(server.requests)] == [2, 2]


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"<html>maintenance</html>\r\n",
        head("Content-Length: 1", "Content-Length: 2"),
        head("Content-Length: 1", "Transfer-Encoding: chunked"),
        head("Content-Length: -1"),
        head("Content Length: 1"),
        head("A: b\0"),
        CHUNKED + b"x\r\n",
    ],
)
async def test_no_http(data: bytes) -> None:
    async with serving(say(data)) as server, sending() as client:
        assert await get(client, server) == Fault(FaultKind.GARBAGE, "no HTTP")
        await get(client, server)
        assert len(server.writers) == 2


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (head(f"Content-Length: {MOST + 1}") + b"x" * (MOST + 1), "the reply is too long"),
        (head(f"Content-Length: {MOST * 1000}") + b"x" * (MOST + 1), "the reply is too long"),
        (head("A: b") + b"x" * (MOST + 1), "the reply is too long"),
        (CHUNKED + (b"64\r\n" + b"x" * 100 + b"\r\n") * 11, "the reply is too long"),
        (
            head("Content-Encoding: gzip", f"Content-Length: {len(BOMB_PACKED)}") + BOMB_PACKED,
            "the reply is too long",
        ),
        (
            head("Content-Encoding: gzip", "Content-Length: 2") + b"\x1f\x8b",
            "half of a compressed body",
        ),
        (head("Content-Encoding: gzip", "Content-Length: 5") + b"hello", "no gzip"),
    ],
)
async def test_a_body_that_cannot_be_used(data: bytes, why: str) -> None:
    async with serving(say(data)) as server, sending() as client:
        assert await get(client, server) == Fault(FaultKind.GARBAGE, why, 200)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 " + b"O" * 9000,
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 9000,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200,
        CHUNKED + b"0\r\n" + b"A: b\r\n" * 200,
    ],
)
async def test_other_parts_that_are_too_long(data: bytes) -> None:
    async with serving(say(data)) as server, sending() as client:
        fault = await get(client, server)
        assert isinstance(fault, Fault)
        assert fault.kind is FaultKind.GARBAGE


# -- what is kept, and never sent twice ----------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("does", [drop, say(b"", close=True)])
async def test_a_request_is_sent_once_and_never_again(does: Does, method: str) -> None:
    async with serving(does) as server, sending() as client:
        fault = await get(client, server, replace(REQUEST, method=method))
        assert isinstance(fault, Fault)
        assert fault.kind is FaultKind.BROKEN
        assert [len(server.writers), len(server.requests)] == [1, 1]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("does", [drop, say(b"", close=True)])
async def test_nor_is_one_that_a_kept_connection_was_closed_upon(does: Does, method: str) -> None:
    """It may have been read before the connection was closed."""
    async with serving(by_number(say(OK), does)) as server, sending() as client:
        request = replace(REQUEST, method=method)
        assert isinstance(await get(client, server, request), UpstreamReply)
        fault = await get(client, server, request)
        assert isinstance(fault, Fault)
        assert fault.kind is FaultKind.BROKEN
        assert [len(server.writers), len(server.requests)] == [1, 2]


async def test_a_kept_connection_that_was_closed_is_sent_nothing() -> None:
    async with serving(say(OK)) as server, sending() as client:
        await get(client, server)
        server.writers[0].close()
        await server.gone.wait()
        assert isinstance(await get(client, server), UpstreamReply)
        assert [len(server.writers), len(server.requests)] == [2, 2]


async def test_what_comes_unasked_is_no_answer_to_the_next_request() -> None:
    async with serving(say(OK)) as server, sending() as client:
        await get(client, server)
        server.writers[0].write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        for _ in range(10):  # turns of the loop, until it has arrived
            await asyncio.sleep(0)
        for _ in range(3):
            assert isinstance(reply := await get(client, server), UpstreamReply)
            assert reply.status == 200
        assert len(server.writers) == 2


# -- time --------------------------------------------------------------------------------


async def test_no_answer_in_time() -> None:
    async with serving(nothing) as server, sending() as client:
        fault = await get(client, server, timeout_s=0.5)
        assert fault == Fault(FaultKind.TIMED_OUT, "TimeoutError")
        await server.gone.wait()
        assert len(server.requests) == 1


@pytest.mark.parametrize("data", [OK[:-1], CHUNKED + b"1;" + b"x" * 9000])
async def test_half_an_answer_in_time(data: bytes) -> None:
    async with serving(say(data)) as server, sending() as client:
        fault = await get(client, server, timeout_s=0.5)
        assert fault == Fault(FaultKind.TIMED_OUT, "TimeoutError")
        await server.gone.wait()


async def test_no_server_listens() -> None:
    async with serving(nothing) as server:
        port = server.port
    async with sending() as client:
        fault = await get(client, port)
        assert fault == Fault(FaultKind.UNREACHABLE, "ConnectionRefusedError")


async def test_no_such_host() -> None:
    async with sending() as client:
        fault = await get(client, 1, host="http://nowhere.invalid")
        assert fault == Fault(FaultKind.UNREACHABLE, "gaierror")


@pytest.mark.parametrize(("connect_timeout_s", "timeout_s"), [(0.05, 5.0), (5.0, 0.05)])
async def test_no_connection_in_time(connect_timeout_s: float, timeout_s: float) -> None:
    """A server that does not shake hands: nothing was sent, however short the time."""
    async with serving(nothing) as server, sending() as client:
        fault = await get(
            client,
            server,
            host="https://localhost",
            connect_timeout_s=connect_timeout_s,
            timeout_s=timeout_s,
        )
        assert fault == Fault(FaultKind.UNREACHABLE, "TimeoutError")


async def test_who_stops_waiting_takes_the_connection_with_it() -> None:
    async with serving(nothing) as server, sending() as client:
        asking = asyncio.create_task(get(client, server))
        await server.asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await server.gone.wait()


async def test_closing_ends_what_is_asked() -> None:
    async with serving(nothing) as server, sending() as client:
        asking = asyncio.create_task(get(client, server))
        await server.asked.wait()
        await client.aclose()
        fault = await asking
        assert isinstance(fault, Fault)
        assert fault.kind is FaultKind.BROKEN


# -- TLS ---------------------------------------------------------------------------------


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


async def test_tls() -> None:
    async with serving(say(OK), CERTIFICATE) as server, sending(trusting(CERTIFICATE)) as client:
        for _ in range(2):
            assert isinstance(await get(client, server, host="https://localhost"), UpstreamReply)
        assert len(server.writers) == 1


@pytest.mark.parametrize(
    ("trusted", "host"),
    [
        (ANOTHERS, "https://localhost"),
        (None, "https://localhost"),
        (CERTIFICATE, "https://127.0.0.1"),
    ],
)
async def test_a_certificate_for_another_host(trusted: Path | None, host: str) -> None:
    tls = None if trusted is None else trusting(trusted)
    async with serving(say(OK), CERTIFICATE) as server, sending(tls) as client:
        fault = await get(client, server, host=host)
        assert fault == Fault(FaultKind.UNREACHABLE, "SSLCertVerificationError")
        assert server.requests == []


async def test_a_certificate_of_ours() -> None:
    wants = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    wants.load_cert_chain(CERTIFICATE)
    wants.load_verify_locations(CERTIFICATE)
    wants.verify_mode = ssl.CERT_REQUIRED
    ours = trusting(CERTIFICATE)
    ours.load_cert_chain(CERTIFICATE)
    async with serving(say(OK), wants) as server:
        async with sending(ours) as client:
            assert isinstance(await get(client, server, host="https://localhost"), UpstreamReply)
        async with sending(trusting(CERTIFICATE)) as client:
            assert isinstance(await get(client, server, host="https://localhost"), Fault)


# -- any httpx transport -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (httpx.ConnectError, FaultKind.UNREACHABLE),
        (httpx.ConnectTimeout, FaultKind.UNREACHABLE),
        (httpx.PoolTimeout, FaultKind.UNREACHABLE),
        (httpx.ProxyError, FaultKind.UNREACHABLE),
        (httpx.UnsupportedProtocol, FaultKind.GARBAGE),
        (httpx.LocalProtocolError, FaultKind.GARBAGE),
        (httpx.RemoteProtocolError, FaultKind.GARBAGE),
        (httpx.ReadTimeout, FaultKind.TIMED_OUT),
        (httpx.WriteTimeout, FaultKind.TIMED_OUT),
        (httpx.ReadError, FaultKind.BROKEN),
        (httpx.WriteError, FaultKind.BROKEN),
        (httpx.CloseError, FaultKind.BROKEN),
    ],
)
async def test_each_of_httpxs_errors_is_a_fault(
    raised: type[httpx.TransportError], kind: FaultKind
) -> None:
    net = respx.Router()
    net.get("http://vendor.test:80/v1/verify").mock(side_effect=raised)
    client = UpstreamClient(httpx.MockTransport(net.async_handler), clock=lambda: 1000.0)
    fault = await get(client, 80, host="http://vendor.test")
    assert isinstance(fault, Fault)
    assert fault.kind is kind


@pytest.mark.parametrize(
    ("base_url", "path", "query", "url"),
    [
        ("http://a.test/v1", "/v1/verify", {}, "http://a.test/v1/verify"),
        ("https://A.test/v1", "/v1/verify", {"a": "b c"}, "https://a.test/v1/verify?a=b+c"),
        ("https://a.test:80/x/v1", "/v1/verify", {}, "https://a.test:80/x/v1/verify"),
        ("http://[::1]:81/v1", "/v1/verify", {}, "http://[::1]:81/v1/verify"),
        ("http://bücher.test/v1", "/v1/verify", {}, "http://xn--bcher-kva.test/v1/verify"),
        ("http://u:p@a.test:81/v1", "/v1/verify", {}, "http://a.test:81/v1/verify"),
        ("http://a.test/v1", "/v0/verify", {}, "http://a.test/v0/verify"),
    ],
)
async def test_where_a_request_goes(
    base_url: str, path: str, query: Mapping[str, str], url: str
) -> None:
    net = respx.Router()
    taken = net.route().respond(200)
    client = UpstreamClient(httpx.MockTransport(net.async_handler), clock=lambda: 1000.0)
    request = UpstreamRequest("GET", path, query)
    reply = await client.send(
        UpstreamLocation(EMAILABLE, base_url), request, connect_timeout_s=1, timeout_s=5
    )
    assert isinstance(reply, UpstreamReply)
    assert str(taken.calls.last.request.url) == url


async def test_only_the_vendors_base_url_leads_to_its_other_host() -> None:
    """WhoisXML's balance lives on another host, but for a server that speaks its API itself."""
    whoisxml = next(dialect for dialect in DIALECTS if dialect.name == "whoisxml")
    assert whoisxml.upstream is not None
    assert whoisxml.upstream.balance is not None
    request = whoisxml.upstream.balance.build("at_key")
    net = respx.Router()
    at_vendor = net.get("https://user.whoisxmlapi.com/user-service/account-balance").respond(200)
    elsewhere = net.get("http://veriplex.test:8025/user-service/account-balance").respond(200)
    client = UpstreamClient(httpx.MockTransport(net.async_handler), clock=lambda: 1000.0)
    for base_url, route in (
        ("https://emailverification.whoisxmlapi.com/api", at_vendor),
        ("http://veriplex.test:8025/api", elsewhere),
    ):
        location = UpstreamLocation(whoisxml, base_url)
        reply = await client.send(location, request, connect_timeout_s=1, timeout_s=5)
        assert isinstance(reply, UpstreamReply)
        assert route.calls.last.request.url.params["apiKey"] == "at_key"


@pytest.mark.parametrize("half", [True, False])
async def test_no_request_is_sent_on_a_connection_that_the_server_has_just_closed(
    half: bool,
) -> None:
    """The event loop has had no time to notice: this test does not let it run meanwhile."""
    closed, done = threading.Event(), threading.Event()
    requests: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listening.accept()
            requests.append(connection.recv(65_536))
            connection.sendall(OK)
            if half:
                connection.shutdown(socket.SHUT_WR)
            else:
                connection.close()
            closed.set()
            kept.append(connection)
        done.wait(10)

    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        port = listening.getsockname()[1]
        async with sending() as client:
            assert isinstance(await get(client, port), UpstreamReply)
            closed.wait(10)  # and keeps the event loop from running
            assert isinstance(await get(client, port), UpstreamReply)
        done.set()
        thread.join(10)
    for connection in kept:
        connection.close()
    assert len(requests) == 2
