"""The pages of the sandbox act through what the control API acts through."""

from __future__ import annotations

import html
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest

from adapters.registry import DIALECTS
from gateway.sandbox_app import SandboxServer, open_sandbox
from gateway.web.dispatch import create_app
from gateway.web.sandbox_control import NOT_ALONE
from tests.gateway.web.console.console_client import (
    BASE,
    VIEWER_PASSWORD,
    Browser,
    browser,
    running,
)

pytestmark = pytest.mark.anyio
KEYS = {dialect.name: dialect.sandbox_key for dialect in DIALECTS}


@pytest.fixture
async def server() -> AsyncIterator[SandboxServer]:
    async with open_sandbox("seed", url=BASE) as server:
        yield server


@pytest.fixture
async def client(server: SandboxServer) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(server))
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        yield client


async def send(visitor: Browser, path: str, **fields: str) -> httpx.Response:
    """Send a form of the page, and see the page that follows."""
    reply = await visitor.post(
        path, {"csrf": await visitor.csrf("/console/sandbox/clock"), **fields}
    )
    return await visitor.get(reply.headers["location"]) if reply.is_redirect else reply


async def verify(client: httpx.AsyncClient, email: str = "ada@example.com") -> httpx.Response:
    return await client.get(
        "/kickbox/v2/verify", params={"email": email, "apikey": KEYS["kickbox"]}
    )


async def test_requests_are_listed_filtered_and_shown_whole_without_their_keys(
    server: SandboxServer, client: httpx.AsyncClient
) -> None:
    await verify(client, "<script>alert(1)</script>@example.com")
    await client.get("/emailable/v1/account")
    visitor = browser(server)
    page = (await visitor.get("/console/sandbox")).text
    assert page.count('class="method get"') == 2
    assert "<script>alert" not in page
    assert KEYS["kickbox"] not in page
    only = (await visitor.get("/console/sandbox?status=401&dialect=emailable")).text
    assert "/v1/account" in only
    assert "/v2/verify" not in only
    whole = html.unescape((await visitor.get("/console/sandbox/requests/1")).text)
    assert '"success": true' in whole
    assert KEYS["kickbox"] not in whole
    assert (await visitor.get("/console/sandbox/requests/99")).status_code == 404
    assert (
        "No request has come yet" in (await send(visitor, "/console/sandbox/requests/clear")).text
    )


async def test_requests_of_one_key_are_shown_alone(
    server: SandboxServer, client: httpx.AsyncClient
) -> None:
    made = (await client.post("/veriplex/v1/keys")).json()
    await client.get("/kickbox/v2/balance", params={"apikey": made["keys"]["kickbox"]})
    await verify(client)
    page = (await browser(server).get(f"/console/sandbox?scope={made['scope']}")).text
    assert "/v2/balance" in page
    assert "/v2/verify" not in page
    assert "selected>test keys 1<" in page


async def test_a_fault_is_set_and_removed(server: SandboxServer, client: httpx.AsyncClient) -> None:
    visitor = browser(server)
    page = await send(
        visitor, "/console/sandbox/faults", dialect="kickbox", simulate="429", times="2"
    )
    assert "Fault 1 is set." in page.text
    assert (await verify(client)).status_code == 429
    assert "answer 429" in (await visitor.get("/console/sandbox/faults")).text
    page = await send(visitor, "/console/sandbox/faults/remove", id="1")
    assert "No fault is set" in page.text
    assert (await verify(client)).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"simulate": "no such word"},
        {"latency_ms": "soon"},
        {"simulate": "429", "percent": "900"},
        {"simulate": "429", "dialect": "kickbox", "operation": "verfy"},
        {"limit_count": "-1"},
    ],
)
async def test_a_fault_that_makes_no_sense_is_explained(
    server: SandboxServer, fields: dict[str, str]
) -> None:
    reply = await send(browser(server), "/console/sandbox/faults", **fields)
    assert reply.status_code == 400
    assert 'role="alert"' in reply.text
    assert not list(server.sandbox.faults.in_scope(None))


async def test_a_batch_is_shown_in_any_state(
    server: SandboxServer, client: httpx.AsyncClient
) -> None:
    key = {"Authorization": f"Bearer {KEYS['emailable']}"}
    batch = await client.post("/emailable/v1/batch", json={"emails": "a@example.com"}, headers=key)
    job_id = batch.json()["id"]
    visitor = browser(server)
    page = await send(
        visitor, "/console/sandbox/batches", dialect="emailable", id=job_id, word="running"
    )
    assert f"Batch {job_id} is running from now on." in page.text
    status = (await client.get(f"/emailable/v1/batch?id={job_id}", headers=key)).json()
    assert status["message"] == "Your batch is being processed."
    await send(visitor, "/console/sandbox/batches", dialect="emailable", id=job_id, word="")
    status = (await client.get(f"/emailable/v1/batch?id={job_id}", headers=key)).json()
    assert status["message"] == "Batch verification completed."
    reply = await send(
        visitor, "/console/sandbox/batches", dialect="emailable", id=job_id, word="x"
    )
    assert reply.status_code == 404


async def test_the_clock_is_moved_set_stopped_and_reset(server: SandboxServer) -> None:
    visitor, now = browser(server), server.sandbox.clocks.now
    began = now(None)
    await send(visitor, "/console/sandbox/clock", action="advance", count="2", unit="days")
    assert now(None) - began >= 2 * 86_400
    page = await send(visitor, "/console/sandbox/clock", action="set", at="2030-01-02T03:04:05")
    assert "2030-01-02 03:04" in page.text
    await send(visitor, "/console/sandbox/clock", action="freeze")
    assert server.sandbox.clocks.is_frozen(None)
    await send(visitor, "/console/sandbox/clock", action="reset")
    assert not server.sandbox.clocks.is_moved(None)
    for fields in ({"count": "x", "unit": "days"}, {"count": "1e9", "unit": "days"}, {"unit": "?"}):
        reply = await send(visitor, "/console/sandbox/clock", action="advance", **fields)
        assert reply.status_code == 400
    assert abs(now(None) - datetime.now(UTC).timestamp()) < 60


async def test_webhooks_are_shown(server: SandboxServer, client: httpx.AsyncClient) -> None:
    await client.post(
        "/emailable/v1/batch",
        json={"emails": "a@example.com", "url": "http://127.0.0.1:9/<hook>"},
        headers={"Authorization": f"Bearer {KEYS['emailable']}"},
    )
    page = (await browser(server).get("/console/sandbox/webhooks")).text
    assert "http://127.0.0.1:9/" in page
    assert "<hook>" not in page


async def test_a_server_keeps_the_real_time_and_viewers_change_nothing() -> None:
    async with running(sandbox={"published": True}) as services:
        operator = browser(services)
        await operator.log_in()
        page = await operator.get("/console/sandbox/clock")
        assert "This server keeps the real time" in page.text
        reply = await operator.post(
            "/console/sandbox/clock", {"csrf": await operator.csrf(), "action": "freeze"}
        )
        assert reply.status_code == 400
        viewer = browser(services)
        await viewer.log_in(VIEWER_PASSWORD)
        assert "Set a fault" not in (await viewer.get("/console/sandbox/faults")).text
        csrf = await viewer.csrf()
        for path in ("faults", "faults/remove", "batches", "clock", "reset", "requests/clear"):
            reply = await viewer.post(f"/console/sandbox/{path}", {"csrf": csrf})
            assert reply.status_code == 403, path


async def test_where_processes_share_a_port_the_page_says_why_it_is_empty() -> None:
    async with running() as services:
        services.sandbox.is_alone = False
        visitor = browser(services)
        await visitor.log_in()
        page = await visitor.get("/console/sandbox")
        assert NOT_ALONE in html.unescape(page.text)
        assert (await visitor.get("/console/sandbox/faults")).status_code == 404


async def test_beside_another_server_its_part_of_the_log_is_not_taken_for_all_of_it() -> None:
    async with running() as services:
        visitor = browser(services)
        await visitor.log_in()
        assert NOT_ALONE not in html.unescape((await visitor.get("/console/sandbox")).text)
        services.sandbox.has_other_servers = lambda: True
        for path in ("sandbox", "sandbox/faults", "sandbox/clock"):
            page = await visitor.get(f"/console/{path}")
            assert NOT_ALONE in html.unescape(page.text), path
