"""Servers that send much for a request, and little of a reply."""

from __future__ import annotations

import asyncio

import pytest

from adapters.contract.upstream import Fault, FaultKind, UpstreamReply
from gateway.batches.http_post import HttpWebhookPost
from gateway.upstreams.transport.aiohttp_transport import HttpTransport
from gateway.upstreams.transport.client import UpstreamLocation
from gateway.upstreams.transport.reply_bounds import HEAD_BYTES, MAX_INTERIM
from tests.fakes.http_server import OK, by_number, say, serving
from tests.gateway.upstreams.transport.test_client import EMAILABLE, REQUEST, get, sending

INTERIM = [
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n",
]


@pytest.mark.parametrize("interim", INTERIM)
async def test_a_few_interim_replies_are_skipped(interim: bytes) -> None:
    few = interim * MAX_INTERIM + OK
    async with serving(say(few)) as server, sending() as client:
        for _ in range(3):  # on one connection, where each request has its own
            reply = await get(client, server)
            assert isinstance(reply, UpstreamReply)
            assert (reply.status, reply.body) == (200, b"hi")
        assert len(server.writers) == 1


@pytest.mark.parametrize("interim", INTERIM)
@pytest.mark.parametrize("end", [b"", OK])
async def test_too_many_interim_replies_end_the_connection(interim: bytes, end: bytes) -> None:
    for count in (MAX_INTERIM + 2, 50_000):
        async with serving(say(interim * count + end)) as server, sending() as client:
            result = await get(client, server)
            assert isinstance(result, Fault)
            assert result.kind is FaultKind.GARBAGE
            await asyncio.wait_for(server.gone.wait(), 5)


async def test_a_connection_that_was_ended_is_not_used_again() -> None:
    flood = INTERIM[0] * 1_000
    async with serving(by_number(say(flood))) as server, sending() as client:
        assert isinstance(await get(client, server), Fault)
        server.does = say(OK)
        assert isinstance(await get(client, server), UpstreamReply)
        assert len(server.writers) == 2


async def test_the_receiver_of_a_webhook_is_bounded_too() -> None:
    post = HttpWebhookPost(
        HttpTransport(keep_alive_s=0), may_dial=lambda _: True, refusal="refused", timeout_s=5
    )
    async with serving(say(INTERIM[0] * (MAX_INTERIM + 1) + OK)) as server:
        assert await post(f"http://127.0.0.1:{server.port}/", b"{}") != ""
    await post.aclose()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
MUCH = HEAD_BYTES + 1_000_000


@pytest.mark.parametrize(
    "framing",
    [
        b"1;" + b"a" * 10_000 + b"\r\nx\r\n",
        b"0" * 10_000 + b"1\r\nx\r\n",
        b"1; a=" + b"b" * MUCH,
        b"0" * MUCH,
    ],
    ids=lambda each: repr(each[:10]),
)
async def test_framing_without_a_body_ends_the_connection(framing: bytes) -> None:
    flood = CHUNKED + framing * (1 + MUCH // len(framing))
    async with serving(say(flood)) as server, sending() as client:
        result = await get(client, server)
        assert isinstance(result, Fault)
        assert result.kind is FaultKind.GARBAGE
        await asyncio.wait_for(server.gone.wait(), 5)


async def test_small_chunks_are_read() -> None:
    whole = CHUNKED + b"1\r\nx\r\n" * 1_000 + b"0\r\n\r\n"
    async with serving(say(whole)) as server, sending() as client:
        for _ in range(300):  # each request has bounds of its own
            reply = await get(client, server)
            assert isinstance(reply, UpstreamReply)
            assert reply.body == b"x" * 1_000
        assert len(server.writers) == 1


async def test_a_reply_may_be_as_long_as_its_request_allows() -> None:
    size = 40 * 1024 * 1024
    reply_head = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode()
    async with serving(say(reply_head + b"x" * size)) as server, sending() as client:
        location = UpstreamLocation(EMAILABLE, f"http://127.0.0.1:{server.port}/v1")
        reply = await client.send(
            location, REQUEST, connect_timeout_s=5, timeout_s=30, max_body_bytes=size
        )
        assert isinstance(reply, UpstreamReply)
        assert len(reply.body) == size
