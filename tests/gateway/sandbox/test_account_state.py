"""Use by day and filters of test keys: in memory, and apart for each scope."""

from __future__ import annotations

from typing import Any

import httpx

from adapters.zerobounce import DIALECT
from gateway.sandbox.account_state import MAX_DAYS, SandboxUse
from gateway.sandbox.clock import Clocks

API = "/veriplex/v1"
KEY = DIALECT.sandbox_key


async def total(client: httpx.AsyncClient, day: str, key: str = KEY) -> dict[str, Any]:
    params = {"start_date": day, "end_date": day, "api_key": key}
    found: dict[str, Any] = (await client.get("/v2/getapiusage", params=params)).json()
    return {name: n for name, n in found.items() if n and not name.endswith("_date")}


async def validate(client: httpx.AsyncClient, email: str, key: str = KEY) -> tuple[str, str]:
    params = {"email": email, "ip_address": "", "api_key": key}
    found = (await client.get("/v2/validate", params=params)).json()
    return found["status"], found["sub_status"]


async def new_keys(client: httpx.AsyncClient) -> list[str]:
    made = [(await client.post(f"{API}/keys")).json()["keys"] for _ in range(2)]
    return [keys["zerobounce"] for keys in made]


async def test_repeated_requests_count(client: httpx.AsyncClient) -> None:
    one, other = await new_keys(client)
    own = {"key": one}
    await client.post(
        f"{API}/clock", params=own, json={"at": "2026-05-15T23:59:00Z", "frozen": True}
    )
    for _ in range(3):
        await validate(client, "valid@example.com", one)
    await validate(client, "toxic@example.com", one)
    counts = {"total": 4, "status_valid": 3, "status_do_not_mail": 1, "sub_status_toxic": 1}
    assert await total(client, "2026-05-15", one) == counts
    assert await total(client, "2026-05-15", other) == {}
    await client.post(f"{API}/clock", params=own, json={"advance_s": 120})
    await validate(client, "valid@example.com", one)
    assert await total(client, "2026-05-16", one) == {"total": 1, "status_valid": 1}
    await client.post(f"{API}/reset", params={"key": one})
    assert await total(client, "2026-05-15", one) == {}


async def test_a_filter_changes_the_next_reply(client: httpx.AsyncClient) -> None:
    one, other = await new_keys(client)
    rule = {"rule": "block", "target": "domain", "value": "example.com"}
    for added, wanted in ((True, ("do_not_mail", "blocked")), (False, ("valid", ""))):
        assert await validate(client, "valid@example.com", one) != wanted
        path = "/v2/filters/add" if added else "/v2/filters/delete"
        reply = await client.post(path, data={**rule, "api_key": one})
        assert "successfully" in reply.json()["Message"]
        assert await validate(client, "valid@example.com", one) == wanted
        assert await validate(client, "valid@example.com", other) == ("valid", "")


async def test_a_file_keeps_the_filters_of_its_time(client: httpx.AsyncClient) -> None:
    (key, _) = await new_keys(client)
    rule = {"rule": "block", "target": "email", "value": "invalid@example.com", "api_key": key}
    await client.post("/v2/filters/add", data=rule)
    fields = {"email_address_column": "1", "api_key": key}
    emails = b"valid@example.com\ninvalid@example.com\n"
    sent = await client.post("/v2/sendfile", data=fields, files={"file": ("l.csv", emails)})
    await client.post("/v2/filters/delete", data=rule)
    params = {"file_id": sent.json()["file_id"], "api_key": key}
    rows = (await client.get("/v2/getfile", params=params)).text.splitlines()[1:]
    assert [row.split(",")[1:3] for row in rows] == [
        ['"valid"', '""'],
        ['"do_not_mail"', '"blocked"'],
    ]


async def test_use_is_bounded() -> None:
    now = 0.0
    use = SandboxUse(Clocks(lambda: now))
    for day in range(MAX_DAYS + 10):
        now = day * 86_400.0
        use.count(1, "zerobounce", ("total",))
    assert len(use) == MAX_DAYS
