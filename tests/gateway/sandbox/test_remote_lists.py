"""Lists that a client names by a URL: fetched by the sandbox from private addresses alone."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from adapters.neverbounce import DIALECT
from engine.dns.targets import is_global
from gateway.app import open_services
from gateway.sandbox.fetching import NOTHING_FETCHED
from gateway.sandbox_app import open_fetch
from gateway.settings import Settings
from gateway.web.dispatch import create_app
from tests.fakes.http_server import say, serving

KEY = DIALECT.sandbox_key
LIST = b"""id,email,name
12345,support@neverbounce.com,"Fred, McValid"
12346,invalid@neverbounce.com,Bob
"""


def reply(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
        len(body),
        body,
    )


async def post(client: httpx.AsyncClient, path: str, **params: object) -> dict[str, Any]:
    found = await client.post(f"/v4.2/jobs/{path}", json={**params, "key": KEY})
    assert found.status_code == 200
    body: dict[str, Any] = found.json()
    return body


async def status_of(client: httpx.AsyncClient, url: object) -> dict[str, Any]:
    """That of a new job."""
    made = await post(client, "create", input_location="remote_url", input=url, auto_start=1)
    assert made["status"] == "success"
    return await post(client, "status", job_id=made["job_id"])


@pytest.mark.parametrize("in_a_list", [False, True])
async def test_a_list_on_loopback_is_verified(client: httpx.AsyncClient, in_a_list: bool) -> None:
    async with serving(say(reply(LIST))) as server:
        url = f"http://127.0.0.1:{server.port}/l.csv"
        status = await status_of(client, [url] if in_a_list else url)
    assert (status["job_status"], status["failure_reason"]) == ("complete", None)
    assert (status["total"]["valid"], status["total"]["invalid"]) == (1, 1)
    found = await post(client, "results", job_id=status["id"])
    assert [row["data"] for row in found["results"]] == [
        {"id": "12345", "email": "support@neverbounce.com", "name": "Fred, McValid"},
        {"id": "12346", "email": "invalid@neverbounce.com", "name": "Bob"},
    ]


async def test_a_list_of_addresses_alone(client: httpx.AsyncClient) -> None:
    async with serving(say(reply(b"a@example.org\nb@example.org\n"))) as server:
        status = await status_of(client, f"http://127.0.0.1:{server.port}/l.txt")
    assert status["total"]["records"] == 2
    found = await post(client, "results", job_id=status["id"])
    assert [row["data"] for row in found["results"]] == [
        {"email": "a@example.org"},
        {"email": "b@example.org"},
    ]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "The list is empty."),
        (b"\n\n \n", "The list is empty."),
        (b"<html><table></table></html>", "The list is a web page; save the table as CSV."),
        (b"a@b.test," * 501 + b"\nx", "The list "),
        (b"\x00\x01\x02\xff" * 100, "The list "),
        (b"x" * 2_000 + b"@b.test\n", "An address in the list is too long."),
    ],
)
async def test_a_list_that_cannot_be_read_makes_a_failed_job(
    client: httpx.AsyncClient, body: bytes, reason: str
) -> None:
    async with serving(say(reply(body))) as server:
        status = await status_of(client, f"http://127.0.0.1:{server.port}/l.csv")
    assert status["job_status"] == "failed"
    assert status["failure_reason"].startswith(reason)
    assert status["failure_reason"].endswith(".")
    assert status["total"]["processed"] is None


async def test_nothing_leaves_a_build_machine(client: httpx.AsyncClient) -> None:
    status = await status_of(client, "https://93.184.215.14/l.csv")
    assert status["failure_reason"] == "The sandbox fetches lists from private addresses only."
    assert is_global("93.184.215.14")
    await open_fetch().aclose()


async def test_a_test_key_on_a_server_has_nothing_fetched() -> None:
    """Published keys would have anybody make us call other servers."""
    settings = {"storage": {"url": "sqlite:///:memory:"}, "sandbox": {"published": True}}
    async with open_services(Settings.model_validate(settings)) as services:
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(transport=transport, base_url="http://v.test") as client:
            status = await status_of(client, "http://127.0.0.1:9/l.csv")
    assert (status["job_status"], status["failure_reason"]) == ("failed", NOTHING_FETCHED)


@pytest.mark.parametrize(
    ("email", "result", "is_confirmed"),
    [
        ("support@neverbounce.com", "valid", True),
        ("support@neverbounce.com", "invalid", False),
        ("invalid@neverbounce.com", "invalid", True),
        ("support@neverbounce.com", "", False),
    ],
)
async def test_a_token_stands_for_the_sandboxs_answer(
    client: httpx.AsyncClient, email: str, result: str, is_confirmed: bool
) -> None:
    token = {"transaction_id": "NBPOE-TXN-1", "confirmation_token": "e3173fdbbdce"}
    params = {"email": email, "result": result, **token, "key": KEY}
    found = await client.post("/v4.2/poe/confirm", json=params)
    assert found.json()["token_confirmed"] is is_confirmed
