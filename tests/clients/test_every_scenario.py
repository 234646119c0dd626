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

from adapters.contract.dialect import Dialect
from adapters.contract.upstream import (
    Fault,
    Pending,
    UpstreamQuery,
    UpstreamReply,
    UpstreamResult,
)
from adapters.registry import DIALECTS
from engine.address.syntax import parse_address
from tests.clients.conftest import Served
from tests.dialects import send
from tests.mail_testbed import SCENARIOS

pytestmark = pytest.mark.testbed

Body = dict[str, Any]
Scenario = dict[str, Any]
Parsed = UpstreamResult | Fault
AT_ONCE = 40


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


READERS: dict[str, Callable[[Body], str]] = {
    "emailable": lambda body: body["state"],
    "validto": read_validto,
    "whoisxml": read_whoisxml,
    "generic": read_generic,
    "dataoorts": lambda body: body["info"]["test_result"],
}


def read_answer(dialect: Dialect, row: Scenario, reply: httpx.Response, parsed: Parsed) -> str:
    """The verdict, read by the dialect's own upstream if there is no client's reader."""
    assert reply.status_code < 500, (row["id"], reply.text)
    if dialect.name in READERS:
        return READERS[dialect.name](reply.json())
    if isinstance(parsed, Fault) and row["reason"] == "invalid_email":
        return "undeliverable"  # some vendors refuse a malformed address as a bad request
    assert isinstance(parsed, UpstreamResult), (row["id"], parsed)
    return parsed.verdict


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
async def test_every_scenario(served: Served, dialect: Dialect) -> None:
    assert dialect.upstream is not None
    upstream = dialect.upstream
    gate = asyncio.Semaphore(AT_ONCE)
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:

        async def ask(row: Scenario) -> tuple[httpx.Response, Parsed]:
            query = UpstreamQuery(parse_address(row["address"]))
            request = upstream.verify.build(served.keys[dialect.name], query)
            while True:
                reply = await send(client, dialect, request)
                raw = UpstreamReply(reply.status_code, {}, reply.content, received_at=0.0)
                parsed = upstream.verify.parse(raw, query)
                if not isinstance(parsed, Pending):
                    return reply, parsed

        async def verdict(row: Scenario) -> str:
            async with gate:
                return read_answer(dialect, row, *await ask(row))

        rows = SCENARIOS
        assert len(rows) > 100
        verdicts = await asyncio.gather(*map(verdict, rows))
    wrong = [
        f"{row['id']}: {found}, not {row['verdict']} (or {row.get('also', [])})"
        for row, found in zip(rows, verdicts, strict=True)
        if found not in {row["verdict"], *row.get("also", [])}
    ]
    assert not wrong
