"""`/` for browsers and for programs, `/veriplex/v1`, and what `/metrics` has of the process."""

from __future__ import annotations

import re
import shlex
import tomllib
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from html import unescape
from pathlib import Path

import httpx
import pytest

from adapters.registry import DIALECTS
from gateway.app import open_services
from gateway.cli import announce
from gateway.sandbox_app import open_sandbox
from gateway.settings import Settings
from gateway.web import start_page
from gateway.web.dispatch import create_app

URL = "http://127.0.0.1:8025"
OTHER_NAME = "http://sandbox.example:8025"
"""By which the console does not answer."""
BROWSER = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with (
        open_sandbox("seed", url=URL) as server,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(server)), base_url=URL
        ) as opened,
    ):
        yield opened


async def test_a_browser_is_led_to_the_console(client: httpx.AsyncClient) -> None:
    reply = await client.get("/", headers=BROWSER)
    assert (reply.status_code, reply.headers["location"]) == (303, "/console")
    assert "accept" in reply.headers["vary"].lower()
    page = unescape((await client.get("/console", headers=BROWSER)).text)
    for dialect in DIALECTS:
        assert f"<code>{URL}/{dialect.name}{dialect.base_path}</code>" in page
        assert dialect.sandbox_key in page


async def test_without_a_console_a_browser_gets_a_page_that_loads_nothing(
    client: httpx.AsyncClient,
) -> None:
    reply = await client.get(OTHER_NAME, headers=BROWSER)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    page = reply.text
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert b64encode(sha256(style.encode()).digest()).decode() in policy
    assert not re.search(r"<script|<img|src=|@import|url\(| style=| on\w+=", page)
    for dialect in DIALECTS:
        assert f"<code>{OTHER_NAME}{dialect.base_path}</code>" in page
        assert dialect.title in unescape(page)


async def test_the_calls_of_the_page_work(client: httpx.AsyncClient) -> None:
    page = (await client.get(OTHER_NAME, headers=BROWSER)).text
    calls = [unescape(call) for call in re.findall(r"<pre>(.*?)</pre>", page)]
    assert len(calls) == sum(dialect.example is not None for dialect in DIALECTS)
    for call in calls:
        words = iter(shlex.split(call)[1:])
        url, headers, body = "", {}, None
        for word in words:
            if word == "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            elif word == "-d":
                body = next(words)
            else:
                url = word
        reply = await client.request("POST" if body else "GET", url, headers=headers, content=body)
        assert reply.status_code == 200, (call, reply.text)


async def test_a_host_cannot_write_into_the_page(client: httpx.AsyncClient) -> None:
    page = (await client.get("/", headers={**BROWSER, "Host": 'x"><script>alert(1)</script>'})).text
    assert "<script" not in page


async def test_a_program_gets_json(client: httpx.AsyncClient) -> None:
    for accept in ("*/*", "application/json"):
        reply = await client.get("/", headers={"Accept": accept})
        body = reply.json()
        assert [each["name"] for each in body["dialects"]] == [d.name for d in DIALECTS]
        assert (body["name"], body["calls"]) == ("veriplex", f"{URL}/veriplex/v1")
        assert (await client.get(body["openapi"])).status_code == 200


async def test_the_calls_are_listed(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/veriplex/v1")).json()["calls"]
    assert all(call["about"].endswith(".") for call in listed), listed
    assert {"method": "GET", "path": "/veriplex/v1/requests"}.items() <= next(
        call for call in listed if call["path"].endswith("/requests")
    ).items()
    for call in listed:
        reply = await client.request("OPTIONS", call["path"].replace("{id:number}", "1"))
        assert reply.status_code == 405, call  # the path exists


async def test_live_servers_show_no_published_key() -> None:
    tree = {"storage": {"url": "sqlite:///:memory:"}, "console": {"enabled": False}}
    settings = Settings.model_validate(tree)
    async with open_services(settings, run_workers=False) as services:
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            page = unescape((await client.get("/", headers=BROWSER)).text)
            metrics = (await client.get("/metrics")).text
    assert all(dialect.sandbox_key not in page for dialect in DIALECTS)
    assert '-H "Authorization: Bearer $KEY"' in page
    for line in (
        'veriplex_batches{state="waiting"} 0.0',
        'veriplex_batches{state="running"} 0.0',
        "veriplex_batch_rows_left 0.0",
    ):
        assert f"\n{line}\n" in metrics
    assert re.search(
        r'veriplex_build_info\{python="3\.\d+\.\d+",version="\d+\.\d+\.\d+"\} 1\.0', metrics
    )
    assert "\nprocess_resident_memory_bytes " in metrics
    assert "_created" not in metrics


def test_there_is_one_address_of_the_documentation() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["urls"]["Documentation"] == start_page.DOCS_URL == announce.DOCS_URL
