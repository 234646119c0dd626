"""Texts that PostgreSQL cannot store, which anybody may send."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert, select

from gateway.store import open_store
from gateway.store.postgres import ROWS_TO_COPY
from gateway.store.tables import daily_use
from tests.gateway.web.console.console_client import browser, running

pytestmark = pytest.mark.anyio

NUL = "a\0b"


def row(account_id: int) -> dict[str, Any]:
    return {"account_id": account_id, "dialect": NUL, "day": "2026-01-01", "word": "x", "count": 1}


async def test_a_text_with_nul_is_stored_and_found(database_url: str) -> None:
    """By one statement, by arrays, and by COPY."""
    async with open_store(database_url) as store:
        async with store.write() as connection:
            await connection.execute(insert(daily_use).values(row(1)))
            await store.insert_rows(connection, daily_use, [row(2), row(3)])
            many = [row(number) for number in range(4, 4 + ROWS_TO_COPY)]
            await store.insert_rows(connection, daily_use, many)
        found = await store.fetch_all(
            select(daily_use.c.account_id).where(daily_use.c.dialect == NUL)
        )
        assert len(found) == 3 + ROWS_TO_COPY


async def test_a_client_that_sends_nul_is_served(database_url: str) -> None:
    async with running(storage={"url": database_url}) as services:
        account = await services.accounts.create_account()
        key = (await services.accounts.create_key(account, "emailable")).key
        client = browser(services).client
        client.headers["Authorization"] = f"Bearer {key}"
        base = "/veriplex/v1/batches"
        for extra in ({"name": NUL}, {"name": "n", "webhook_url": "http://example.com/\0"}):
            reply = await client.post(base, json={"emails": ["ada@example.com"], **extra})
            assert reply.status_code in (202, 400), extra
        assert (await client.get(f"{base}/%00")).status_code == 404
        vendors = await client.get("/v1/batch", params={"api_key": key, "id": NUL})
        assert vendors.status_code == 404


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/console/keys/accounts", "owner"),
        ("/console/keys/accounts/1", "owner"),
        ("/console/keys/accounts/1/keys", "label"),
        ("/console/keys/accounts/1/keys/1/label", "label"),
    ],
)
async def test_a_form_with_nul_is_served(database_url: str, path: str, field: str) -> None:
    async with running(storage={"url": database_url}) as services:
        account = await services.accounts.create_account()
        await services.accounts.create_key(account, "emailable")
        visitor = browser(services)
        await visitor.log_in()
        plan = (await services.accounts.list_keys())[0].plan
        given = {"plan": plan, "dialect": "kickbox", field: NUL}
        assert (await visitor.send(path, **given)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/console/keys?q=%00",
        "/console/batches?words=%00",
        "/console/batches/1?word=%00",
        "/console/batches/1/results.csv?word=%00",
        "/console/batches/9999999999",
        "/console/keys/accounts/9999999999",
    ],
)
async def test_a_page_is_asked_for_with_what_the_database_refuses(
    database_url: str, path: str
) -> None:
    async with running(storage={"url": database_url}) as services:
        account = await services.accounts.create_account()
        key = (await services.accounts.create_key(account, "emailable")).key
        visitor = browser(services)
        await visitor.log_in()
        await visitor.client.post(
            "/veriplex/v1/batches",
            json={"emails": ["ada@example.com"]},
            headers={"Authorization": f"Bearer {key}"},
        )
        assert (await visitor.get(path)).status_code == (404 if "9999999999" in path else 200)
