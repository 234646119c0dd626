"""A reply that cannot be finished: its connection is closed, and one line is logged."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest
from sqlalchemy import delete

from gateway.app import open_services
from gateway.settings import Settings
from gateway.store.tables import batch_results
from gateway.web.dispatch import create_app
from tests.gateway.upstreams.conftest import Local

ROWS = 6_000


class Transport:
    """Of the client's connection."""

    closed = False

    def close(self) -> None:
        self.closed = True


async def test_a_batch_that_is_deleted_while_it_is_read(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings.model_validate({"storage": {"url": "sqlite:///:memory:"}})
    async with open_services(settings, verifier=Local(), run_workers=False) as services:
        account = await services.accounts.create_account()
        key = (await services.accounts.create_key(account, "generic")).key
        app = create_app(services)
        headers = {"Authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            emails = [f"user{n}@example.com" for n in range(ROWS)]
            url = "/generic/api/v1/verify/bulk"
            reply = await client.post(url, headers=headers, json={"emails": emails})
            job_id = reply.json()["jobId"]
        await services.batch_services.drain()
        connection = Transport()
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and len(sent) == 2:
                async with services.store.write() as database:
                    await database.execute(delete(batch_results))

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect" if connection.closed else "http.request"}

        scope = {
            "type": "http",
            "method": "GET",
            "path": f"/generic/api/v1/jobs/{job_id}/download",
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {key}".encode())],
            "client": ("127.0.0.1", 1),
            "extensions": {"veriplex.connection": {"transport": connection}},
        }
        caplog.set_level(logging.WARNING)
        await app(scope, receive, send)  # type: ignore[arg-type]
        assert sent[0]["status"] == 200
        assert connection.closed
        assert sent[-1].get("more_body", False)
        warnings = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
        assert warnings == ["reply.cut_off"]
