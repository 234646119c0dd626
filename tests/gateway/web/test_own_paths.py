"""Our own paths, asked for in ways that no page and no client of ours would."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from starlette.convertors import FloatConvertor, IntegerConvertor
from starlette.routing import Route

from gateway.web.console.opening import create_console
from gateway.web.sandbox_control import ControlApi
from tests.dialects import BY_NAME
from tests.gateway.web.console.console_client import browser, running

pytestmark = pytest.mark.anyio

TOO_LONG = "9" * 5_000
"""More digits than Python reads."""
EVIL = "evil.example"


@pytest.mark.parametrize(
    "path",
    [
        "/console/batches/{}",
        "/console/batches/{}/results.csv",
        "/console/keys/accounts/{}",
        "/console/keys/accounts/1/keys/{}/revoke",
        "/veriplex/v1/requests/{}",
        "/veriplex/v1/faults/{}",
    ],
)
async def test_a_long_number_in_a_path_is_no_fault_of_ours(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as services:
        reply = await browser(services).get(path.format(TOO_LONG))
        assert reply.status_code == 404
        assert "request.failed" not in [record.message for record in caplog.records]


async def test_every_number_in_a_path_has_a_limit() -> None:
    async with running() as services:
        assert services.console is not None
        console = create_console(services.console)
        control = ControlApi(
            services.sandbox, services.native, services.browser_guard, tuple(BY_NAME.values())
        )
        routes = [*console.routes, *control.routes()]
        with_numbers = [route for route in routes if ":number}" in route.path]
        assert len(with_numbers) > 10
        for route in routes:
            for convertor in route.param_convertors.values():
                assert not isinstance(convertor, IntegerConvertor | FloatConvertor), route.path


@pytest.mark.parametrize("path", ["/healthz/", "/console/", "/console/login/", "/openapi//"])
async def test_no_path_leads_to_the_host_that_a_request_names(path: str) -> None:
    """A cache or a proxy on the way may keep a redirect for others."""
    async with running() as services:
        reply = await browser(services).get(path, host=EVIL)
        assert EVIL not in reply.headers.get("location", "")


async def test_a_slash_at_the_end_of_a_path_changes_nothing() -> None:
    async with running() as services:
        visitor = browser(services)
        assert (await visitor.get("/healthz/")).json()["status"] == "ok"
        assert (await visitor.get("/console/login/")).status_code == 200
        assert (await visitor.get("/console/")).headers["location"].endswith("next=/console")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/healthz", "GET, HEAD"),
        ("/veriplex/v1/batches", "GET, HEAD, POST"),
        ("/veriplex/v1/batches/1", "DELETE, GET, HEAD"),
        ("/veriplex/v1/faults", "DELETE, GET, HEAD, POST"),
        ("/console/login", "GET, HEAD, POST"),
        ("/console/batches/new", "GET, HEAD, POST"),
        ("/console/keys/accounts/1", "GET, HEAD, POST"),
        ("/console/logout", "POST"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "OPTIONS"])
async def test_another_method_gets_all_that_a_path_has(
    path: str, methods: str, method: str
) -> None:
    async with running() as services:
        reply = await browser(services).client.request(method, path)
        assert reply.status_code == 405
        assert reply.headers["allow"] == methods


async def test_head_is_answered_as_get_is() -> None:
    async with running() as services:
        assert services.console is not None
        console = create_console(services.console)
        paths = [path for route in console.routes for path in _examples(route)]
        assert len(paths) > 15
        for has_session in (False, True):
            visitor = browser(services)
            if has_session:
                await visitor.log_in()
            for path in paths:
                got, head = await visitor.get(path), await visitor.client.head(path)
                assert head.status_code == got.status_code, path
                assert head.headers.get("location") == got.headers.get("location"), path
                assert head.content == b""


def _examples(route: Route) -> Iterator[str]:
    if "GET" in (route.methods or ()):
        yield re.sub(r"\{[^}]*\}", "1", route.path)


async def test_a_link_is_not_used_up_by_head() -> None:
    """With which programs look at links before people do."""
    async with running(console={}) as services:
        assert services.console is not None
        link = f"/console/login?token={await services.console.access.create_link_token()}"
        visitor = browser(services)
        assert (await visitor.client.head(link)).status_code == 200
        assert "set-cookie" not in (await visitor.client.head(link)).headers
        assert (await visitor.get(link)).headers["location"] == "/console"


@pytest.mark.parametrize("credits", [TOO_LONG, "-1", "1e3", "٣", "x"])
async def test_credits_that_are_no_number_are_refused_in_words(credits: str) -> None:
    async with running() as services:
        visitor = browser(services)
        await visitor.log_in()
        reply = await visitor.send("/console/keys/accounts", credits=credits)
        assert reply.status_code == 400
        assert "Credits should be a whole number" in reply.text
