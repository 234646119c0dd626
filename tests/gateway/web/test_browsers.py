"""Web pages cannot use the sandbox's control API."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.sandbox_app import open_sandbox
from gateway.web.dispatch import create_app

API = "/veriplex/v1"
OWN = "http://veriplex.test:8025"
FAULT = b'{"simulate":"500"}'


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with (
        open_sandbox("veriplex", url=OWN) as server,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(server)), base_url="http://127.0.0.1:8025"
        ) as client,
    ):
        yield client


async def faults(client: httpx.AsyncClient) -> int:
    return len((await client.get(f"{API}/faults")).json()["faults"])


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "http://127.0.0.1:8025.evil.example"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example:8025"},
        {"Host": "evil.example:8025", "Origin": "http://evil.example:8025"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost.evil.example"},
        {"Host": "veriplex.test.evil.example"},
        {"Host": ""},
        {"Host": "["},
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "faults"), ("GET", "requests")])
async def test_requests_of_other_sites_are_refused(
    client: httpx.AsyncClient, headers: dict[str, str], method: str, path: str
) -> None:
    body = FAULT if method == "POST" else None
    headers = {"Content-Type": "application/json", **headers}
    reply = await client.request(method, f"{API}/{path}", content=body, headers=headers)
    assert reply.status_code == 403
    assert reply.headers["content-type"] == "application/problem+json"
    assert await faults(client) == 0


@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_bodies_that_a_page_may_send_unasked_are_refused(
    client: httpx.AsyncClient, media_type: str
) -> None:
    headers = {"Content-Type": media_type}
    reply = await client.post(f"{API}/faults", content=FAULT, headers=headers)
    assert reply.status_code == 415
    assert await faults(client) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost:8025"},
        {"Host": "app.localhost:8025"},
        {"Host": "[::1]:8025"},
        {"Host": "sandbox:8025"},
        {"Host": "veriplex.test"},
        {"Host": "localhost:8025", "Origin": "http://localhost:8025"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Content-Type": "application/json; charset=utf-8"},
    ],
)
async def test_programs_and_own_pages_are_served(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    headers = {"Content-Type": "application/json", **headers}
    reply = await client.post(f"{API}/faults", content=FAULT, headers=headers)
    assert reply.status_code == 200
    assert await faults(client) == 1


async def test_vendors_paths_are_served_under_any_host(client: httpx.AsyncClient) -> None:
    reply = await client.get(
        "/emailable/v1/verify?email=deliverable@example.com",
        headers={
            "Authorization": "Bearer test_7aff7fc0142c65f86a00",
            "Host": "mail.example.com",
            "Origin": "http://other.example",
        },
    )
    assert reply.status_code == 200
