"""The pages that call the server: Try and the API viewer."""

from __future__ import annotations

import html
import re
from typing import Any

import httpx
import pytest

from adapters.registry import DIALECTS
from engine.model import Verification
from gateway.app import open_services
from gateway.sandbox_app import open_sandbox
from gateway.web.console.templates import prose
from gateway.web.dispatch import create_app
from tests.gateway.upstreams.conftest import Local
from tests.gateway.web.console.console_client import (
    BASE,
    VIEWER_PASSWORD,
    WITH_PASSWORDS,
    Browser,
    browser,
    console_settings,
    running,
)

pytestmark = pytest.mark.anyio
SCRIPT = "<script>alert(1)</script>@example.com"


async def tried(visitor: Browser, **fields: str) -> httpx.Response:
    """The page that a person sees who has an address verified."""
    csrf = await visitor.csrf("/console/try")
    return await visitor.post("/console/try", {"csrf": csrf, **fields})


# -- Try -----------------------------------------------------------------------------------


async def test_an_address_is_answered_in_every_dialect() -> None:
    async with open_sandbox("seed", url=BASE) as server:
        page = (await tried(browser(server), email="accept-all@example.com")).text
        assert 'class="badge verdict risky"' in page
        for dialect in DIALECTS:
            assert f"Reply of {dialect.title}" in page
        text = html.unescape(page)
        assert '"reason": "low_deliverability"' in text
        assert f"curl '{BASE}/emailable/v1/verify?email=accept-all@example.com'" in text


async def test_the_answer_that_is_shown_is_the_one_that_clients_get() -> None:
    async with open_sandbox("seed", url=BASE) as server:
        visitor = browser(server)
        page = html.unescape((await tried(visitor, email="role@example.com")).text)
        key = next(d.sandbox_key for d in DIALECTS if d.name == "kickbox")
        transport = httpx.ASGITransport(create_app(server))
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            reply = await client.get(
                "/kickbox/v2/verify", params={"email": "role@example.com", "apikey": key}
            )
        for name, value in reply.json().items():
            shown = {True: "true", False: "false", None: "null"}.get(value, repr(value))
            assert f'"{name}": {shown}'.replace("'", '"') in page


@pytest.mark.parametrize("email", ["anyone+simulate-429@example.org", "no address", "a@b@c"])
async def test_errors_and_malformed_addresses_are_answers(email: str) -> None:
    async with open_sandbox("seed", url=BASE) as server:
        reply = await tried(browser(server), email=email)
        assert reply.status_code == 200
        assert "Reply of Kickbox" in reply.text
        assert ("429 Too Many Requests" in reply.text) == ("429" in email)


async def test_what_a_stranger_wrote_is_text() -> None:
    async with open_sandbox("seed", url=BASE) as server, running() as services:
        live = browser(services)
        await live.log_in()
        for visitor in (browser(server), live):
            reply = await tried(visitor, email=SCRIPT)
            assert reply.status_code == 200
            assert "alert(1)" in reply.text
            assert "<script>alert" not in reply.text


async def test_a_server_verifies_free_of_charge_and_says_why() -> None:
    async with running() as services:
        visitor = browser(services)
        await visitor.log_in()
        reply = await tried(visitor, email="ada@example.com", smtp="1", refresh="1")
        assert 'class="badge verdict unknown"' in reply.text
        assert "No connect. From local" in reply.text
        assert reply.text.rstrip().endswith("</html>")
        assert "<!-- live -->" not in reply.text


async def test_a_fault_of_ours_ends_in_words_and_not_in_half_a_page(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Local):
        async def verify(self, *_: Any, **__: Any) -> Verification:
            raise RuntimeError("a bug, on purpose")

    settings = console_settings(console=WITH_PASSWORDS)
    async with open_services(settings, verifier=Broken(), run_workers=False) as services:
        visitor = browser(services)
        await visitor.log_in()
        reply = await tried(visitor, email="ada@example.com", smtp="1", refresh="1")
        assert "There is no result" in reply.text
        assert reply.text.rstrip().endswith("</html>")


async def test_viewers_verify_nothing() -> None:
    async with running() as services:
        visitor = browser(services)
        await visitor.log_in(VIEWER_PASSWORD)
        assert "Viewers cannot verify" in (await visitor.get("/console/try")).text
        reply = await visitor.post(
            "/console/try", {"csrf": await visitor.csrf(), "email": "ada@example.com"}
        )
        assert reply.status_code == 403


# -- the API viewer ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["veriplex", *(dialect.name for dialect in DIALECTS)])
async def test_every_call_has_a_page(name: str) -> None:
    async with open_sandbox("seed", url=BASE) as server:
        visitor = browser(server)
        document = (await visitor.get(f"/openapi/{name}.json")).json()
        operations = [
            (path, call) for path, calls in document["paths"].items() for call in calls.values()
        ]
        for path, call in operations[:12]:
            page = await visitor.get(f"/console/api/{name}/{call['operationId']}")
            assert page.status_code == 200
            text = html.unescape(page.text)
            assert call["summary"] in re.sub("</?code>", "`", text)
            assert path in text
            assert all(f">{status}</span>" in text for status in call["responses"])


async def test_unknown_calls_and_apis_have_no_page() -> None:
    async with open_sandbox("seed", url=BASE) as server:
        for path in ("/console/api/nobody", "/console/api/kickbox/nothing"):
            assert (await browser(server).get(path)).status_code == 404
        assert (await browser(server).get("/console/api")).headers["location"] == (
            "/console/api/veriplex"
        )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("`a` and `<b>`", "<code>a</code> and <code>&lt;b&gt;</code>"),
        ("one ` alone <i>", "one ` alone &lt;i&gt;"),
        ("", ""),
    ],
)
def test_code_in_our_own_words_is_marked(text: str, shown: str) -> None:
    assert str(prose(text)) == shown
