"""Requests whose path no dialect has: a client's base URL is mostly wrong then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from adapters.registry import DIALECTS
from gateway.app import open_services
from gateway.sandbox_app import SandboxServer, open_sandbox
from gateway.settings import Settings
from gateway.web.dispatch import create_app

EMAILABLE = next(d for d in DIALECTS if d.name == "emailable")
KEY = {"Authorization": f"Bearer {EMAILABLE.sandbox_key}"}
VERIFY = "?email=deliverable@example.com"


@pytest.fixture
async def served() -> AsyncIterator[tuple[SandboxServer, httpx.AsyncClient]]:
    async with (
        open_sandbox("seed", url="http://127.0.0.1:8025") as server,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(server)), base_url="http://127.0.0.1:8025"
        ) as client,
    ):
        yield server, client


Served = tuple[SandboxServer, httpx.AsyncClient]


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("/v1verify", "/v1/verify"),
        ("/verify", "/v1/verify"),
        ("/api", "/api/v1"),
        ("/api/v1verify", "/api/v1/verify"),
        ("/ai_mails_apiv1", "/ai_mails_api/v1"),
        ("/veriplex/v1/request", "/veriplex/v1/requests"),
        ("/health", "/healthz"),
    ],
)
async def test_the_nearest_path_is_named(served: Served, path: str, nearest: str) -> None:
    _, client = served
    reply = await client.get(path + VERIFY, headers=KEY)
    body = reply.json()
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"
    assert body["nearest"] == nearest
    assert f"did you mean {nearest}?" in body["detail"]
    assert body["message"] == body["detail"]  # some clients show nothing else


async def test_a_path_like_no_other_gets_the_list_of_dialects(served: Served) -> None:
    _, client = served
    body = (await client.get("/x")).json()
    assert "nearest" not in body
    for dialect in DIALECTS:
        assert f"/{dialect.name}{dialect.base_path}" in body["message"]


async def test_it_is_in_the_request_log_of_its_key(served: Served) -> None:
    _, client = served
    await client.get("/v1/verify" + VERIFY, headers=KEY)
    await client.get("/v1verify" + VERIFY, headers=KEY)
    for headers in (KEY, {}):
        last = (await client.get("/veriplex/v1/requests/last", headers=headers)).json()
        assert (last["dialect"], last["path"], last["status"]) == (None, "/v1verify", 404)
        assert (last["problem"], last["reason"]) == ("unknown_path", "did you mean /v1/verify?")
        assert EMAILABLE.sandbox_key not in str(last)


def logged(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.__dict__["fields"] for record in caplog.records if record.msg == "request"]


async def test_it_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "veriplex.request")
    async with open_sandbox("seed") as server:
        transport = httpx.ASGITransport(create_app(server))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            await client.get("/v1verify" + VERIFY)
            await client.get("/emailable/v1/verfy" + VERIFY)
        counted = server.metrics.render().decode()
    assert 'dialect="veriplex",endpoint="unmatched",source="local",status="404"} 1.0' in counted
    lines = logged(caplog)
    assert [line["path"] for line in lines] == ["/v1verify", "/emailable/v1/verfy"]
    for line in lines:
        assert (line["status"], line["problem"]) == (404, "unknown_path")
        assert line["hint"] == "did you mean /v1/verify?"


async def test_slashes_are_folded(served: Served) -> None:
    _, client = served
    plain = await client.get("/v1/verify" + VERIFY, headers=KEY)
    for path in (
        "//v1/verify",
        "/v1//verify",
        "/v1/verify/",
        "//v1//verify//",
        "//emailable/v1/verify",
    ):
        reply = await client.get(f"http://127.0.0.1:8025{path}{VERIFY}", headers=KEY)
        assert (reply.status_code, reply.content) == (200, plain.content), path
    assert (await client.get("http://127.0.0.1:8025//livez")).status_code == 200


async def test_a_key_of_another_dialect_is_explained_to_the_operator(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "veriplex.request")
    settings = Settings.model_validate({"storage": {"url": "sqlite:///:memory:"}})
    async with open_services(settings, run_workers=False) as services:
        keys = {key.dialect: key.key for key in await services.accounts.bootstrap() if key.test}
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            for key in (keys["generic"], keys["generic"], "live_0000"):
                headers = {"Authorization": f"Bearer {key}"}
                reply = await client.get("/v1/verify" + VERIFY, headers=headers)
                assert reply.json() == {"message": "API key is invalid"}
    url = "http://127.0.0.1:8025/generic/api/v1"
    hint = f"this is a key of generic; its base URL is {url}"
    assert [line.get("hint") for line in logged(caplog)] == [hint, hint, None]
    assert all(key not in str(logged(caplog)) for key in keys.values())


@pytest.mark.parametrize("published", ["test_7aff7fc0142c65f86a00", "ev_test_sandbox"])
async def test_a_published_test_key_is_explained_to_the_operator_of_a_server(
    published: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "veriplex.request")
    settings = Settings.model_validate({"storage": {"url": "sqlite:///:memory:"}})
    async with open_services(settings, run_workers=False) as services:
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            headers = {"Authorization": f"Bearer {published}"}
            reply = await client.get("/v1/verify" + VERIFY, headers=headers)
    assert reply.json() == {"message": "API key is invalid"}
    (line,) = logged(caplog)
    assert "published test key, for veriplex sandbox" in line["hint"]
