"""Every reply says that no cache may store it, and that its type is as it says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from adapters.registry import DIALECTS
from gateway.sandbox_app import open_sandbox
from gateway.web.dispatch import create_app

KEY = {"Authorization": "Bearer test_7aff7fc0142c65f86a00"}

OWN_PATHS = ("livez", "readyz", "metrics", "nothing", "veriplex/v1/nothing", "veriplex/v1/requests")
NATIVE = "veriplex/v1/verify?email="
DIALECT_PATHS = [
    f"{dialect.name}{endpoint.path}" for dialect in DIALECTS for endpoint in dialect.endpoints
]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with (
        open_sandbox("veriplex") as server,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(server)), base_url="http://veriplex.test"
        ) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "path",
    [
        *OWN_PATHS,
        *(f"{NATIVE}{email}" for email in ("", "a@b.org", "a%2Bsimulate-503@b.org")),
        *DIALECT_PATHS,
        *(f"{dialect.name}/nothing" for dialect in DIALECTS),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_reply_may_be_stored(client: httpx.AsyncClient, path: str, method: str) -> None:
    for headers in ({}, KEY):
        reply = await client.request(method, f"/{path}", headers=headers)
        assert reply.headers.get_list("cache-control") == ["no-store"]
        assert reply.headers.get_list("x-content-type-options") == ["nosniff"]
