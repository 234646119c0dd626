"""The published test keys on a server with live keys: refused unless its settings say otherwise."""

from __future__ import annotations

import httpx
import pytest

from adapters.registry import DIALECTS
from gateway.app import open_services
from gateway.settings import Settings
from gateway.web.dispatch import create_app


@pytest.mark.parametrize("published", [False, True])
async def test_published_keys_work_only_if_the_settings_say_so(published: bool) -> None:
    settings = Settings.model_validate(
        {"storage": {"url": "sqlite:///:memory:"}, "sandbox": {"published": published}}
    )
    async with open_services(settings, run_workers=False) as services:
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            for dialect in DIALECTS:
                caller = await services.accounts.authenticate(dialect.name, dialect.sandbox_key)
                assert (caller is not None) is published
                key = {"Authorization": f"Bearer {dialect.sandbox_key}"}
                reply = await client.get("/veriplex/v1/verify?email=a@example.com", headers=key)
                assert reply.status_code == (200 if published else 401)
                for path in ("requests", "clock", "faults"):
                    reply = await client.get(f"/veriplex/v1/{path}", headers=key)
                    assert reply.status_code == (200 if published else 401), path


def test_they_are_refused_by_default() -> None:
    assert Settings().sandbox.published is False
