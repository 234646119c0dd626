"""Web pages of other sites drive neither the sandbox nor its webhooks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.app import open_services
from gateway.sandbox_app import SandboxServer, open_sandbox
from gateway.settings import Settings
from gateway.web.browsers import BrowserGuard
from gateway.web.dispatch import create_app

API = "/veriplex/v1"
KEY = "test_7aff7fc0142c65f86a00"
PUBLIC_URL = "https://veriplex.example.org/base"
CALLS = [
    ("GET", "/sandbox", None),
    ("POST", "/keys", None),
    ("GET", "/requests", None),
    ("GET", "/requests/last", None),
    ("GET", "/requests/count", None),
    ("GET", "/requests/wait", None),
    ("DELETE", "/requests", None),
    ("GET", "/faults", None),
    ("POST", "/faults", {"simulate": "500"}),
    ("DELETE", "/faults", None),
    ("GET", "/clock", None),
    ("POST", "/clock", {"frozen": True}),
    ("DELETE", "/clock", None),
    ("POST", "/reset", None),
]

GUARD = BrowserGuard(lambda: PUBLIC_URL, ["sandbox", "10.0.0.7", "::9"])


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8025",
        "LOCALHOST.:8025",
        "app.localhost",
        "127.0.0.1:8025",
        "127.9.9.9",
        "[::1]:8025",
        "veriplex.example.org",
        "Veriplex.Example.org:443",
        "sandbox:8025",
        "10.0.0.7:8025",
        "[::9]:8025",
    ],
)
def test_hosts_of_our_own_are_allowed(host: str) -> None:
    assert GUARD.refusal({"host": host}) == ""
    assert GUARD.refusal({"host": host, "origin": f"http://{host}"}) == ""
    assert GUARD.refusal({"host": host, "sec-fetch-site": "same-origin"}) == ""


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8025",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example#localhost",
        "evil.example/localhost",
        "localhost@evil.example",
        "evil@localhost",
        "localhost:port",
        "localhost:99999",
        "[::1",
        "0.0.0.0:8025",
        "192.168.0.9",
        "169.254.169.254",
        "notsandbox",
        "sandbox.evil.example",
        "xn--localhost",
    ],
)
def test_other_hosts_are_not(host: str) -> None:
    assert "allowed_hosts" in GUARD.refusal({"host": host})
    assert GUARD.is_foreign({"host": host, "origin": f"http://{host}"})


FOREIGN: list[dict[str, str]] = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "http://localhost:3000"},
    {"origin": "http://127.0.0.1:9999"},
    {"origin": "file://"},
    {"origin": "chrome-extension://veriplex.test"},
    {"origin": "http://veriplex.test.evil.example"},
    {"origin": "http://evil.example", "sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "Cross-Site"},
    {"sec-fetch-site": "anything"},
]


@pytest.fixture
async def server() -> AsyncIterator[SandboxServer]:
    async with open_sandbox("veriplex", url="http://veriplex.test") as server:
        yield server


@pytest.fixture
async def client(server: SandboxServer) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(server))
    async with httpx.AsyncClient(transport=transport, base_url="http://veriplex.test") as client:
        yield client


async def state_of(client: httpx.AsyncClient) -> list[Any]:
    shown = [(await client.get(f"{API}/{path}")).json() for path in ("faults", "requests", "clock")]
    return [*shown[:2], shown[2]["moved"]]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_a_page_of_another_site_controls_nothing(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    await client.get(f"/emailable/v1/verify?email=a@b.org&api_key={KEY}")
    before = await state_of(client)
    for method, path, body in CALLS:
        reply = await client.request(method, f"{API}{path}", headers=headers, json=body)
        assert reply.status_code == 403, (method, path)
        assert reply.headers["content-type"] == "application/problem+json"
    assert await state_of(client) == before


async def test_a_name_that_leads_here_controls_and_sees_nothing(client: httpx.AsyncClient) -> None:
    for method, path, body in CALLS:
        for more in ({}, {"origin": "http://evil.example:8025"}):
            headers = {"host": "evil.example:8025", **more}
            reply = await client.request(method, f"{API}{path}", headers=headers, json=body)
            assert reply.status_code == 403, (method, path)


async def test_our_own_pages_and_clients_without_a_browser_are_served(
    client: httpx.AsyncClient,
) -> None:
    for headers in (
        {},
        {"origin": "http://veriplex.test", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ):
        reply = await client.post(f"{API}/clock", headers=headers, json={"frozen": True})
        assert reply.status_code == 200


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json"],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [(method, path) for method, path, _ in CALLS if method != "GET"] + [("DELETE", "/faults/1")],
)
async def test_a_body_that_is_not_json_is_refused(
    client: httpx.AsyncClient, method: str, path: str, content_type: str
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    content = b'{"simulate": "500", "frozen": true}'

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    for body in (content, chunks()):
        reply = await client.request(method, f"{API}{path}", headers=headers, content=body)
        assert reply.status_code == 415
    assert await state_of(client) == [{"faults": []}, {"requests": [], "more": False}, False]


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
async def test_json_is_taken(client: httpx.AsyncClient, content_type: str) -> None:
    reply = await client.post(
        f"{API}/clock", headers={"content-type": content_type}, content=b'{"frozen": true}'
    )
    assert reply.status_code == 200


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_a_form_of_another_site_has_no_webhook_sent(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    called = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        writer.close()

    receiver = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with receiver:
        url = f"http://127.0.0.1:{receiver.sockets[0].getsockname()[1]}/"
        form = {"emails": "a@b.org", "api_key": KEY, "url": url}
        reply = await client.post("/v1/batch", headers=headers, data=form)
        assert reply.status_code == 403
        assert not called.is_set()
        reply = await client.post("/v1/batch", data=form)
        assert reply.status_code == 200
        async with asyncio.timeout(5):
            await called.wait()


async def test_endpoints_that_the_vendor_opens_to_browsers_stay_open(
    client: httpx.AsyncClient,
) -> None:
    reply = await client.get(
        f"/emailable/v1/verify?email=a@b.org&api_key={KEY}",
        headers={"origin": "http://localhost:3000", "sec-fetch-site": "same-site"},
    )
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        ([], "sandbox:8025", 403),
        (["sandbox"], "sandbox:8025", 200),
        (["Sandbox."], "sandbox", 200),
        (["sandbox"], "other", 403),
        (["*"], "anything.example", 200),
        (["[::9]"], "[::9]:8025", 200),
    ],
)
async def test_the_settings_allow_further_hosts(allowed: list[str], host: str, status: int) -> None:
    settings = Settings.model_validate(
        {
            "storage": {"url": "sqlite:///:memory:"},
            "sandbox": {"published": True},
            "server": {"allowed_hosts": allowed},
        }
    )
    async with (
        open_services(settings, run_workers=False) as services,
        open_sandbox("s", allowed_hosts=settings.server.allowed_hosts) as sandbox,
    ):
        for server in (services, sandbox):
            transport = httpx.ASGITransport(create_app(server))
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
                reply = await client.get(f"{API}/clock", params={"key": KEY})
                assert reply.status_code == status


@pytest.mark.parametrize("wrong", ["a b", "http://sandbox", "sandbox:8025", "", "a/b", "*.example"])
def test_an_allowed_host_is_a_name_or_an_address(wrong: str) -> None:
    with pytest.raises(ValueError, match="should be a host name"):
        Settings.model_validate({"server": {"allowed_hosts": [wrong]}})
