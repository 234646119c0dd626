"""What a request took is free when it is answered."""

from __future__ import annotations

import gc

import httpx
import pytest

from gateway.sandbox_app import open_sandbox
from gateway.web.dispatch import create_app
from gateway.web.exchange import RequestState

KEY = "test_7aff7fc0142c65f86a00"
BATCH = f"/emailable/v1/batch?api_key={KEY}"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (BATCH, b'{"emails": ["a@b.org"]}', 200),
        (BATCH, b"{", 400),
        (BATCH, b'{"emails": []}', 400),
        (BATCH, b'{"emails": ["a+simulate-500@b.org"]}', 500),
        ("/emailable/v1/batch?api_key=wrong", b"{}", 403),
        ("/emailable/v1/nothing", b"{}", 404),
    ],
)
async def test_no_request_waits_for_the_garbage_collector(
    path: str, body: bytes, status: int
) -> None:
    async with open_sandbox("veriplex") as server:
        transport = httpx.ASGITransport(create_app(server))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            gc.collect()
            gc.disable()
            try:
                reply = await client.post(path, content=body)
                assert reply.status_code == status
                left = [found for found in gc.get_objects() if isinstance(found, RequestState)]
                assert left == []
            finally:
                gc.enable()
