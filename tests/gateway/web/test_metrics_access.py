"""`/metrics` may want a token, or be closed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import open_services
from gateway.settings import Settings, SettingsError, load
from gateway.web.dispatch import create_app
from tests.gateway.upstreams.conftest import Local

TOKEN = "a-token-of-the-operator"


@contextlib.asynccontextmanager
async def server(**metrics: Any) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings.model_validate(
        {"storage": {"url": "sqlite:///:memory:"}, "metrics": metrics},
        context={"environ": {"TOKEN": TOKEN}},
    )
    async with (
        open_services(settings, verifier=Local()) as services,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(services)), base_url="http://veriplex.test"
        ) as client,
    ):
        yield client


async def test_anybody_reads_the_metrics_by_default() -> None:
    async with server() as client:
        assert "veriplex_requests_total" in (await client.get("/metrics")).text


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
        (None, 401),
        ("", 401),
        ("Bearer ", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Bearer {TOKEN}x", 401),
        ("Bearer ü", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
    ],
)
async def test_a_token_is_wanted_if_there_is_one(authorization: str | None, status: int) -> None:
    headers = {} if authorization is None else {b"Authorization": authorization.encode()}
    async with server(token="env:TOKEN") as client:
        reply = await client.get("/metrics", headers=headers)
        assert reply.status_code == status
        assert ("veriplex_requests" in reply.text) == (status == 200)
        if status == 401:
            assert reply.headers["www-authenticate"] == "Bearer"
            assert TOKEN not in reply.text
        assert (await client.get("/livez")).status_code == 200


async def test_the_metrics_can_be_closed() -> None:
    async with server(enabled=False, token="env:TOKEN") as client:
        reply = await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert reply.status_code == 404
        assert "veriplex_requests" not in reply.text


async def test_a_token_that_was_not_looked_up_opens_nothing() -> None:
    settings = Settings.model_validate(
        {"storage": {"url": "sqlite:///:memory:"}, "metrics": {"token": "env:TOKEN"}}
    )
    async with (
        open_services(settings, verifier=Local()) as services,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(services)), base_url="http://veriplex.test"
        ) as client,
    ):
        for headers in ({}, {"Authorization": "Bearer "}):
            assert (await client.get("/metrics", headers=headers)).status_code == 401


def test_the_token_is_a_reference(tmp_path: Path) -> None:
    file = tmp_path / "veriplex.toml"
    file.write_text(f'[metrics]\ntoken = "{TOKEN}"\n')
    with pytest.raises(SettingsError, match=r"metrics\.token: should be a reference") as caught:
        load(file, {})
    assert TOKEN not in str(caught.value)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    file.write_text(f'[metrics]\ntoken = "file:{tmp_path}/token"\n')
    assert load(file, {}).metrics.token.value == TOKEN
    assert load(file, {"VERIPLEX_METRICS__TOKEN": ""}).metrics.token.value == ""
    assert TOKEN not in repr(load(file, {}))
