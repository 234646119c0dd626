"""Batches, usage and sources of the native API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from engine.model import Verdict
from gateway.app import Services, open_services
from gateway.settings import Settings
from gateway.web.dispatch import create_app
from tests.gateway.upstreams.conftest import Local
from tests.gateway.web.test_native import client_of

PATH = "/veriplex/v1/batches"
EMAILS = ["ada@example.com", "bob@example.com", "carl@example.com"]


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    settings = Settings.model_validate({"storage": {"url": "sqlite:///:memory:"}})
    verifier = Local(Verdict.DELIVERABLE)
    async with open_services(settings, verifier=verifier, run_workers=False) as services:
        yield services


@pytest.fixture
async def client(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """Of an account with ten credits and a key of the dialect generic."""
    account = await services.accounts.create_account(credits=10)
    key = (await services.accounts.create_key(account, "generic")).key
    async with client_of(services) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


async def submit(client: httpx.AsyncClient, **members: Any) -> dict[str, Any]:
    reply = await client.post(PATH, json={"emails": EMAILS, **members})
    assert reply.status_code == 202, reply.text
    batch: dict[str, Any] = reply.json()
    return batch


async def credits_left(client: httpx.AsyncClient) -> int:
    left: int = (await client.get("/veriplex/v1/usage")).json()["credits"]
    return left


async def test_a_batch_is_submitted_shown_and_read(
    services: Services, client: httpx.AsyncClient
) -> None:
    batch = await submit(client, name="list of May")
    assert (batch["state"], batch["name"], batch["rows"]) == ("queued", "list of May", 3)
    await services.batch_services.drain()
    shown = (await client.get(f"{PATH}/{batch['id']}")).json()
    assert (shown["state"], shown["done"]) == ("completed", 3)
    page = (await client.get(f"{PATH}/{batch['id']}/results?offset=1&limit=1")).json()
    assert (page["total"], page["batch"]["id"]) == (3, batch["id"])
    (row,) = page["results"]
    assert (row["email"], row["address"], row["verdict"]) == (EMAILS[1], EMAILS[1], "deliverable")
    single = await client.get(f"/veriplex/v1/verify?email={EMAILS[1]}")
    assert row.keys() - {"email"} == single.json().keys()
    listed = (await client.get(f"{PATH}?per_page=5")).json()
    assert (listed["total"], listed["batches"]) == (1, [shown])


async def test_the_vendors_own_calls_find_the_batch(
    services: Services, client: httpx.AsyncClient
) -> None:
    batch = await submit(client)
    await services.batch_services.drain()
    vendors = await client.get(f"/generic/api/v1/jobs/{batch['id']}/download")
    assert vendors.status_code == 200
    assert EMAILS[2] in vendors.text


async def test_a_cancelled_batch_keeps_its_results_and_refunds_the_rest(
    services: Services, client: httpx.AsyncClient
) -> None:
    batch = await submit(client)
    assert await credits_left(client) == 7
    cancelled = await client.post(f"{PATH}/{batch['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert await credits_left(client) == 10
    await services.batch_services.drain()
    assert (await client.get(f"{PATH}/{batch['id']}")).json()["done"] == 0
    again = await client.post(f"{PATH}/{batch['id']}/cancel")
    assert (again.status_code, again.json()["title"]) == (409, "job_state")
    assert await credits_left(client) == 10
    deleted = await client.delete(f"{PATH}/{batch['id']}")
    assert deleted.status_code == 200
    assert (await client.get(f"{PATH}/{batch['id']}")).status_code == 404


async def test_a_batch_of_another_account_is_unknown(
    services: Services, client: httpx.AsyncClient
) -> None:
    batch = await submit(client)
    other = await services.accounts.create_account()
    key = (await services.accounts.create_key(other, "generic")).key
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/results")):
        reply = await client.request(
            method, f"{PATH}/{batch['id']}{path}", headers={"Authorization": f"Bearer {key}"}
        )
        assert reply.status_code == 404, path


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{",
        '{"emails": "a@example.com"}',
        '{"emails": []}',
        '{"emails": [" "]}',
        '{"emails": [7]}',
        '{"emails": ["a@example.com"], "retries": true}',
        '{"emails": ["a@example.com"], "retry_greylisted": "no"}',
        '{"emails": ["a@example.com"], "checks": {"dns": false}}',
        '{"emails": ["a@example.com"], "webhook_url": "ftp://example.com"}',
        '{"emails": ["a@example.com"], "name": 7}',
        '{"emails": [' + ",".join(["{}"] * 300_000) + "]}",
    ],
)
async def test_a_bad_submission_is_refused_in_words(client: httpx.AsyncClient, body: str) -> None:
    reply = await client.post(PATH, content=body)
    assert reply.status_code == 400
    assert reply.headers["content-type"] == "application/problem+json"
    assert len(reply.json()["detail"]) > 10
    assert await credits_left(client) == 10


async def test_too_many_credits_and_a_missing_key_are_refused(client: httpx.AsyncClient) -> None:
    reply = await client.post(PATH, json={"emails": [f"a{i}@example.com" for i in range(11)]})
    assert (reply.status_code, reply.json()["title"]) == (402, "no_credits")
    for method, path in (("GET", "usage"), ("GET", "sources"), ("POST", "batches")):
        reply = await client.request(method, f"/veriplex/v1/{path}", headers={"Authorization": ""})
        assert (reply.status_code, reply.json()["title"]) == (401, "no_credential")


async def test_sources_are_shown_to_live_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIN_KEY", "k")
    settings = Settings.model_validate(
        {
            "storage": {"url": "sqlite:///:memory:"},
            "sandbox": {"published": True},
            "routing": {"order": ["main", "local"]},
            "upstreams": [
                {
                    "name": "main",
                    "dialect": "kickbox",
                    "api_key": "env:MAIN_KEY",
                    "base_url": "http://x.test",
                }
            ],
        }
    )
    async with open_services(settings, verifier=Local(), run_workers=False) as served:
        account = await served.accounts.create_account()
        key = (await served.accounts.create_key(account, "generic")).key
        transport = httpx.ASGITransport(create_app(served))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            path = "/veriplex/v1/sources"
            shown = await client.get(path, headers={"Authorization": f"Bearer {key}"})
            main, local = shown.json()["sources"]
            assert (main["name"], main["kind"], main["state"]) == ("main", "kickbox", "closed")
            assert main["keys"] == [{"number": 1, "refused": False, "credits": None}]
            assert local == {"name": "local", "kind": "local", "paused_at": None}
            test = await client.get(path, headers={"Authorization": "Bearer ev_test_sandbox"})
            assert test.json() == {"sources": []}
