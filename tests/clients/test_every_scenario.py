"""Every scenario of the mail testbed through single verify in each dialect.

Each dialect's answer is read as a careful client of that vendor would read it; the verdict
must be the scenario's own, or one that it calls defensible where the vendor has no word for
the best one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.clients.conftest import Served
from tests.mail_testbed import SCENARIOS

pytestmark = pytest.mark.testbed

Body = dict[str, Any]
AT_ONCE = 40


# -- asking ------------------------------------------------------------------------------


async def ask_emailable(client: httpx.AsyncClient, key: str, email: str) -> httpx.Response:
    params = {"email": email, "accept_all": "true", "timeout": "10"}
    while True:
        reply = await client.get(
            "/v1/verify", params=params, headers={"Authorization": f"Bearer {key}"}
        )
        if reply.status_code != 249:
            return reply


async def ask_validto(client: httpx.AsyncClient, key: str, email: str) -> httpx.Response:
    return await client.get("/v1/verify", params={"apikey": key, "email": email})


async def ask_whoisxml(client: httpx.AsyncClient, key: str, email: str) -> httpx.Response:
    return await client.get("/api/v3", params={"apiKey": key, "emailAddress": email})


async def ask_generic(client: httpx.AsyncClient, key: str, email: str) -> httpx.Response:
    return await client.post("/api/v1/verify", json={"email": email}, headers={"X-API-Key": key})


async def ask_dataoorts(client: httpx.AsyncClient, key: str, email: str) -> httpx.Response:
    return await client.post(
        "/ai_mails_api/v1", json={"email": email}, headers={"Authorization": f"Bearer {key}"}
    )


# -- reading the answer ------------------------------------------------------------------


def read_validto(body: Body) -> str:
    if body.get("success") is not True:
        assert body == {"result": "Invalid request. Required email.", "success": False}
        return "undeliverable"
    result: str = body["result"]
    return "risky" if result == "accept-all" else result


def read_whoisxml(body: Body) -> str:
    if body["formatCheck"] == "false" or body.get("dnsCheck") == "false":
        return "undeliverable"
    if body.get("smtpCheck") == "true":
        warned = body.get("catchAllCheck") == "true" or body.get("disposableCheck") == "true"
        return "risky" if warned else "deliverable"
    return "undeliverable" if body.get("smtpCheck") == "false" else "unknown"


def read_generic(body: Body) -> str:
    if "error" in body:
        assert body["error"] == "invalid_request"
        return "undeliverable"
    tier: str = body["tier"]
    return tier


DIALECTS: dict[str, tuple[Callable[..., Any], Callable[[Body], str]]] = {
    "emailable": (ask_emailable, lambda body: body["state"]),
    "validto": (ask_validto, read_validto),
    "whoisxml": (ask_whoisxml, read_whoisxml),
    "generic": (ask_generic, read_generic),
    "dataoorts": (ask_dataoorts, lambda body: body["info"]["test_result"]),
}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_scenario(served: Served, dialect: str) -> None:
    ask, read = DIALECTS[dialect]
    gate = asyncio.Semaphore(AT_ONCE)
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:

        async def verdict(row: dict[str, Any]) -> str:
            async with gate:
                reply = await ask(client, served.keys[dialect], row["address"])
            assert reply.status_code < 500, (row["id"], reply.text)
            return read(reply.json())

        rows = SCENARIOS
        assert len(rows) > 100
        verdicts = await asyncio.gather(*map(verdict, rows))
    wrong = [
        f"{row['id']}: {found}, not {row['verdict']} (or {row.get('also', [])})"
        for row, found in zip(rows, verdicts, strict=True)
        if found not in {row["verdict"], *row.get("also", [])}
    ]
    assert not wrong
