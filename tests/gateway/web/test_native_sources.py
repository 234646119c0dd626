"""Pausing, resuming and trying a source by the native API, which operators alone may do."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.accounts.console_access import MAX_FAILED_LOGINS
from gateway.app import open_services
from gateway.settings import Settings
from gateway.web.dispatch import create_app
from tests.dialects import BY_NAME
from tests.fakes.vendor import GOOD_KEY, Vendor, vendor
from tests.gateway.upstreams.conftest import Local

pytestmark = pytest.mark.anyio

PASSWORD, VIEWER = "correct horse battery", "only looking around"
PATH = "/veriplex/v1/sources"


@pytest.fixture
async def acme() -> AsyncIterator[Vendor]:
    async with vendor(BY_NAME["kickbox"]) as opened:
        yield opened


def settings_with(acme: Vendor, **console: object) -> Settings:
    return Settings.model_validate(
        {
            "storage": {"url": "sqlite:///:memory:"},
            "console": console,
            "routing": {"order": ["acme"], "complete": "none"},
            "upstreams": [
                {
                    "name": "acme",
                    "dialect": "kickbox",
                    "base_url": acme.base_url,
                    "api_key": "env:KEY",
                    "balance_every_s": 0,
                }
            ],
        },
        context={"environ": {"KEY": GOOD_KEY, "PASSWORD": PASSWORD, "VIEWER": VIEWER}},
    )


@pytest.fixture
async def client(acme: Vendor) -> AsyncIterator[httpx.AsyncClient]:
    settings = settings_with(acme, password="env:PASSWORD", viewer_password="env:VIEWER")
    async with open_services(settings, verifier=Local(), run_workers=False) as services:
        account = await services.accounts.create_account()
        key = await services.accounts.create_key(account, "kickbox")
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(transport=transport, base_url="http://v.test") as opened:
            opened.params = {"apikey": key.key}
            yield opened


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_an_operator_pauses_resumes_and_tries_a_source(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    operator = bearer(PASSWORD)
    paused = await client.post(f"{PATH}/acme/pause", headers=operator)
    assert (paused.status_code, paused.json()) == (200, {"name": "acme", "paused": True})
    key = client.params["apikey"]
    (shown,) = (await client.get(PATH, headers=bearer(key))).json()["sources"]
    assert shown["paused_at"].endswith("+00:00")
    refused = await client.get("/kickbox/v2/verify", params={"email": "a@b.test"})
    assert refused.status_code == 503
    resumed = await client.post(f"{PATH}/acme/resume", headers=operator)
    assert resumed.json() == {"name": "acme", "paused": False}
    verified = await client.get("/kickbox/v2/verify", params={"email": "a@b.test"})
    assert verified.json()["result"] == "deliverable"
    tried = (await client.post(f"{PATH}/acme/try", headers=operator)).json()
    assert (tried["works"], "1,000 credits" in tried["text"]) == (True, True)
    changes = [vars(each) for each in caplog.records if each.message == "console.changed"]
    assert [(each["action"], each["by"], each["source"]) for each in changes] == [
        (f"source.{action}", "operator", "acme") for action in ("pause", "resume", "try")
    ]
    assert PASSWORD not in str(changes)


async def test_nobody_else_does(client: httpx.AsyncClient) -> None:
    key = client.params["apikey"]
    without = await client.post(f"{PATH}/acme/pause")
    assert (without.status_code, without.json()["title"]) == (401, "no_credential")
    for token in (key, VIEWER, "wrong"):
        refused = await client.post(f"{PATH}/acme/pause", headers=bearer(token))
        assert (refused.status_code, refused.json()["title"]) == (403, "operators_only")
    assert (await client.get(f"{PATH}/acme/pause", headers=bearer(PASSWORD))).status_code == 405
    unknown = await client.post(f"{PATH}/nobody/pause", headers=bearer(PASSWORD))
    assert (unknown.status_code, unknown.json()["title"]) == (404, "source_unknown")
    (shown,) = (await client.get(PATH, headers=bearer(key))).json()["sources"]
    assert shown["paused_at"] is None


async def test_guesses_of_the_password_are_limited(client: httpx.AsyncClient) -> None:
    for _ in range(MAX_FAILED_LOGINS):
        await client.post(f"{PATH}/acme/pause", headers=bearer("wrong"))
    blocked = await client.post(f"{PATH}/acme/pause", headers=bearer(PASSWORD))
    assert (blocked.status_code, blocked.json()["title"]) == (429, "too_fast")
    assert int(blocked.headers["retry-after"]) > 0


@pytest.mark.parametrize("console", [{}, {"enabled": False}])
async def test_without_a_password_nobody_is_an_operator(
    acme: Vendor, console: dict[str, object]
) -> None:
    settings = settings_with(acme, **console)
    async with open_services(settings, verifier=Local(), run_workers=False) as services:
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(transport=transport, base_url="http://v.test") as client:
            for token in ("", " ", "x"):
                refused = await client.post(f"{PATH}/acme/pause", headers=bearer(token))
                assert refused.status_code in (401, 403), token
