"""Every form of the console, sent by whom it is not for."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from gateway.sandbox_app import open_sandbox
from gateway.web.console.opening import create_console
from gateway.web.console.services import ConsoleServices
from tests.gateway.web.console.console_client import (
    BASE,
    VIEWER_PASSWORD,
    browser,
    running,
)

pytestmark = pytest.mark.anyio

FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:9999"},
    {"origin": "https://127.0.0.1:8025.evil.example"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"host": "evil.example"},
]
"""Another port of the same machine is another site, though it gets the same cookies."""


def forms_of(services: ConsoleServices | None) -> list[str]:
    """The paths to which forms are sent, but for those that a viewer needs."""
    assert services is not None
    paths = [
        re.sub(r"\{[^}]*\}", "1", route.path)
        for route in create_console(services).routes
        if "POST" in (route.methods or ())
    ]
    own = ("/console/login", "/console/logout")
    assert set(own) < set(paths)
    return [path for path in paths if path not in own]


async def test_a_viewer_sends_none_of_an_operators_forms() -> None:
    async with running() as services:
        visitor = browser(services)
        await visitor.log_in(VIEWER_PASSWORD)
        csrf = await visitor.csrf()
        forms = forms_of(services.console)
        assert len(forms) >= 15
        for path in forms:
            reply = await visitor.post(path, {"csrf": csrf})
            assert (reply.status_code, "Viewers can change nothing" in reply.text) == (403, True)


async def test_a_form_without_a_session_is_refused_before_it_is_read() -> None:
    async with running() as services:
        client = browser(services).client
        for path in forms_of(services.console):
            reply = await client.post(path, content=unread(), headers={"origin": BASE})
            assert (reply.status_code, "session has ended" in reply.text) == (403, True), path


async def unread() -> AsyncIterator[bytes]:
    yield pytest.fail("the body was read")


@pytest.mark.parametrize("csrf", [None, "", "0" * 64, "é"])
async def test_a_form_without_its_token_is_refused(csrf: str | None) -> None:
    async with running() as services:
        visitor = browser(services)
        await visitor.log_in()
        for path in forms_of(services.console):
            reply = await visitor.post(path, {} if csrf is None else {"csrf": csrf})
            assert (reply.status_code, "of another session" in reply.text) == (403, True), path
            files = {"csrf": ("csrf", await visitor.csrf())}
            reply = await visitor.client.post(path, files=files, headers={"origin": BASE})
            assert reply.status_code == 403, path


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_a_page_of_another_site_sends_no_form(headers: dict[str, str]) -> None:
    async with running() as services:
        visitor = browser(services)
        await visitor.log_in()
        csrf = await visitor.csrf()
        for path in [*forms_of(services.console), "/console/login", "/console/logout"]:
            reply = await visitor.post(path, {"csrf": csrf}, **headers)
            assert reply.status_code == 403, path
        assert (await visitor.get("/console")).status_code == 200


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_an_open_sandbox_takes_no_form_of_another_site(headers: dict[str, str]) -> None:
    """It needs no login, so that any page could send one."""
    async with open_sandbox("seed", url=BASE) as server:
        visitor = browser(server)
        for path in forms_of(server.console):
            reply = await visitor.post(path, {"csrf": "0" * 64}, **headers)
            assert reply.status_code == 403, path
        assert (await visitor.post("/console/sandbox/reset", {})).status_code == 403
