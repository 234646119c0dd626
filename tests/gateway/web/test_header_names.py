"""The case of a header's name on the wire, which some vendors' clients compare to the letter."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from adapters.registry import DIALECTS
from gateway.sandbox_app import open_sandbox
from gateway.web.dispatch import create_app
from gateway.web.edge import Edge, EdgeProtocol
from tests.dialects import ALL

KEYS = {dialect.name: dialect.sandbox_key for dialect in ALL}


async def exchange(app: Any, head: str) -> bytes:
    """The head of the reply, as the server writes it."""
    config = uvicorn.Config(app, http="httptools", lifespan="off", log_config=None)
    config.load()
    state, edge = ServerState(), Edge(max_connections=10)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: EdgeProtocol(config, state, {}, edge=edge), "127.0.0.1", 0
    )
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(head.encode())
        reply = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    return reply


@pytest.mark.parametrize("query", ["", "email=ann@x.test", "email=ann%2Btimeout@x.test"])
async def test_a_dialects_headers_have_its_case_on_the_wire(query: str) -> None:
    async with open_sandbox("veriplex", url="http://veriplex.test", dialects=DIALECTS) as server:
        target = f"/kickbox/v2/verify?{query}"
        authorization = f"Authorization: token {KEYS['kickbox']}"
        head = (
            f"GET {target} HTTP/1.1\r\nHost: x\r\n{authorization}\r\nAccept-Encoding: gzip\r\n\r\n"
        )
        reply = await exchange(create_app(server), head)
    assert b"\r\nX-Kickbox-Balance: 100\r\n" in reply
    assert b"\r\nX-Kickbox-Response-Time: " in reply
    assert reply.lower().count(b"x-kickbox-balance") == 1
    assert b"\r\ncontent-type: application/json\r\n" in reply


async def test_a_limit_has_its_headers() -> None:
    async with open_sandbox("veriplex", url="http://veriplex.test", dialects=DIALECTS) as server:
        target = f"/kickbox/v2/balance?apikey={KEYS['kickbox']}-simulate-429"
        reply = await exchange(create_app(server), f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nRetry-After: 1\r\n" in reply
