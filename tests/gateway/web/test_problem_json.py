"""Errors on Veriplex's own paths are problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.sandbox_app import open_sandbox
from gateway.web.dispatch import create_app

KEY = {"Authorization": "Bearer test_7aff7fc0142c65f86a00"}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with (
        open_sandbox("veriplex", url="http://veriplex.test") as server,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(server)), base_url="http://veriplex.test"
        ) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "title"),
    [
        ("GET", "/nothing", {}, 404, "Not Found"),
        ("POST", "/livez", {}, 405, "Method Not Allowed"),
        ("GET", "/veriplex/v1/verify?email=a@b.org", {}, 401, "no_credential"),
        ("GET", "/veriplex/v1/verify", KEY, 400, "missing"),
        ("GET", "/veriplex/v1/verify?email=a%2Bsimulate-no-credits@b.org", KEY, 402, "no_credits"),
        ("GET", "/veriplex/v1/verify?email=a%2Bsimulate-503@b.org", KEY, 503, "simulated"),
        ("GET", "/veriplex/v1/requests/7", {}, 404, "Not Found"),
        ("GET", "/veriplex/v1/requests?key=unknown", {}, 401, "Unauthorized"),
        ("GET", "/veriplex/v1/requests?limit=0", {}, 400, "Bad Request"),
    ],
)
async def test_every_error_has_one_form(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    headers: dict[str, str],
    status: int,
    title: str,
) -> None:
    reply = await client.request(method, path, headers=headers)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    body = reply.json()
    assert list(body)[:3] == ["type", "title", "status"]
    assert (body["type"], body["title"], body["status"]) == ("about:blank", title, status)
    assert body.get("detail") != ""
