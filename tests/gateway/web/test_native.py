"""Our own API: it counts towards the rates of the key's plan, and leaves a trace as vendors' do."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import httpx
import pytest

from adapters.generic.account import RATE_BUCKET
from adapters.registry import DIALECTS
from gateway.app import Services, open_services
from gateway.settings import Settings
from gateway.web.dispatch import create_app
from tests.gateway.upstreams.conftest import Local

PATH = "/veriplex/v1/verify?email=ada@example.com"


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    settings = Settings.model_validate({"storage": {"url": "sqlite:///:memory:"}})
    async with open_services(settings, verifier=Local(), run_workers=False) as services:
        yield services


def client_of(services: Services) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(services))
    return httpx.AsyncClient(transport=transport, base_url="http://x")


async def key_of(services: Services, dialect: str, plan: str = "unlimited") -> dict[str, str]:
    account = await services.accounts.create_account(plan=plan)
    key = (await services.accounts.create_key(account, dialect)).key
    return {"Authorization": f"Bearer {key}"}


async def test_a_limited_plan_limits_it(services: Services) -> None:
    generic = next(dialect for dialect in DIALECTS if dialect.name == "generic")
    rate = next(plan for plan in generic.plans if plan.name == "free").rates[RATE_BUCKET]
    key = await key_of(services, "generic", "free")
    async with client_of(services) as client:
        statuses = [(await client.get(PATH, headers=key)).status_code for _ in range(rate.count)]
        assert statuses == [200] * rate.count
        refused = await client.get(PATH, headers=key)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        body = {"email": "ada@example.com"}
        vendor = await client.post("/generic/api/v1/verify", headers=key, json=body)
        assert vendor.status_code == 429


def test_the_first_endpoint_with_a_rate_is_the_single_verification() -> None:
    for dialect in DIALECTS:
        first = next((e for e in dialect.endpoints if e.bucket), None)
        # no vendor takes a batch where it takes a single address
        assert first is None or not first.accepts_body_file, dialect.name


async def test_every_call_leaves_a_line_and_a_count(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    key = await key_of(services, "emailable")
    caplog.set_level(logging.DEBUG, "veriplex.request")
    async with client_of(services) as client:
        await client.get(PATH, headers=key)
        await client.get(PATH, headers={"Authorization": "Bearer wrong"})
        await client.get("/veriplex/v1/standing", headers=key)
        await client.get("/livez")
        await client.get("/nowhere/at/all")
        metrics = (await client.get("/metrics")).text
    async with services.metrics.writing_access_log():
        pass
    lines = [record.fields for record in caplog.records]  # type: ignore[attr-defined]
    assert [(line.get("endpoint"), line["status"]) for line in lines] == [
        ("verify", 200),
        ("verify", 401),
        ("reputation", 200),
        ("alive", 200),
        ("unmatched", 404),
        ("metrics", 200),
    ]
    assert lines[0]["domain"] == "example.com"
    assert lines[0]["key"]
    assert lines[1]["problem"] == "bad_credential"
    assert "ada@" not in caplog.text
    counted = 'veriplex_requests_total{dialect="veriplex",endpoint="verify",source="local",'
    assert counted in metrics


@pytest.mark.parametrize("path", ["batches", "batches/1", "usage"])
async def test_a_database_that_fails_is_no_bug(
    services: Services, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = await key_of(services, "emailable")
    async with services.store.write() as connection:
        for table in ("batches", "usage"):
            await connection.exec_driver_sql(f"DROP TABLE {table}")
    async with client_of(services) as client:
        reply = await client.get(f"/veriplex/v1/{path}", headers=key)
    assert (reply.status_code, reply.json()["title"]) == (503, "unavailable")
    assert int(reply.headers["retry-after"]) > 0
    events = [record.message for record in caplog.records]
    assert "request.storage_unavailable" in events
    assert "request.failed" not in events
