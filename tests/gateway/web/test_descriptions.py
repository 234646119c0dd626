"""The descriptions as they are served, and the server against them: whatever a generator of
requests sends, it gets a status and a body that are described."""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from openapi_spec_validator import validate
from schemathesis.core.transport import Response
from schemathesis.specs.openapi import checks

from adapters.contract.dialect import Dialect
from adapters.registry import DIALECTS
from gateway.sandbox_app import open_sandbox
from gateway.web.dispatch import create_app
from tests.adapters.kit.test_openapi import closed
from tests.dialects import key_parts

HELD = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
SETTINGS = hypothesis.settings(
    max_examples=6,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""The same few requests to each endpoint in each run."""
URL = "http://veriplex.test"


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def client(runner: asyncio.Runner) -> Iterator[httpx.AsyncClient]:
    """Of a sandbox that lives in the runner's loop, while the test itself is synchronous."""
    with contextlib.ExitStack() as stack:

        async def open_client() -> tuple[contextlib.AsyncExitStack, httpx.AsyncClient]:
            resources = contextlib.AsyncExitStack()
            server = await resources.enter_async_context(open_sandbox("", url=URL))
            transport = httpx.ASGITransport(create_app(server))
            client = httpx.AsyncClient(transport=transport, base_url=URL)
            return resources, await resources.enter_async_context(client)

        resources, client = runner.run(open_client())
        stack.callback(lambda: runner.run(resources.aclose()))
        yield client


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_nothing_undocumented_is_answered(
    dialect: Dialect, runner: asyncio.Runner, client: httpx.AsyncClient
) -> None:
    document = runner.run(client.get(f"/openapi/{dialect.name}.json")).json()
    document["components"] = closed(document["components"])
    schema = schemathesis.openapi.from_dict(document)
    statuses: set[int] = set()
    calls = itertools.count()

    def call(case: schemathesis.Case[Any]) -> None:
        # one to each endpoint goes without a key, or with one that was made up
        if next(calls) % SETTINGS.max_examples:
            _put_key(case, dialect)
        sent = requests.Request(**case.as_transport_kwargs(base_url=URL)).prepare()
        reply = runner.run(
            client.request(
                str(sent.method),
                f"/{dialect.name}{sent.path_url}",
                headers=sent.headers,  # type: ignore[arg-type]
                content=sent.body or b"",  # type: ignore[arg-type]
            )
        )
        statuses.add(reply.status_code)
        case.validate_response(Response.from_httpx(reply, verify=True), checks=HELD)

    known = set()
    for found in schema.get_all_operations():
        operation = found.ok()  # type: ignore[union-attr]
        endpoint = next(e for e in dialect.endpoints if e.path == operation.path)
        # older versions of an API are mostly the newest one under other paths
        code = (endpoint.read, endpoint.write, operation.method)
        if code not in known:
            known.add(code)
            SETTINGS(hypothesis.given(case=operation.as_strategy())(call))()
    assert statuses & {200, 201, 202}


def test_the_native_api_answers_nothing_undocumented(
    runner: asyncio.Runner, client: httpx.AsyncClient
) -> None:
    document = runner.run(client.get("/openapi/veriplex.json")).json()
    validate(document)
    document["components"] = closed(document["components"])
    statuses: set[int] = set()

    def call(case: schemathesis.Case[Any]) -> None:
        case.headers["Authorization"] = f"Bearer {DIALECTS[0].sandbox_key}"
        sent = requests.Request(**case.as_transport_kwargs(base_url=URL)).prepare()
        reply = runner.run(
            client.request(
                str(sent.method),
                sent.path_url,
                headers=sent.headers,  # type: ignore[arg-type]
                content=sent.body or b"",  # type: ignore[arg-type]
            )
        )
        statuses.add(reply.status_code)
        case.validate_response(Response.from_httpx(reply, verify=True), checks=HELD)

    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()  # type: ignore[union-attr]
        SETTINGS(hypothesis.given(case=operation.as_strategy())(call))()
    assert statuses >= {200, 400, 404}


def _put_key(case: schemathesis.Case[Any], dialect: Dialect) -> None:
    """The sandbox's key in the place of one that was made up."""
    endpoint = next(e for e in dialect.endpoints if e.path == case.operation.path)
    if not endpoint.needs_key:
        return
    parts = key_parts(dialect, endpoint, case.method, dialect.sandbox_key)
    case.headers.update(parts.headers)
    case.query.update(parts.query)
    if isinstance(case.body, dict):
        case.body.update(parts.body)


def test_descriptions_name_the_server_and_are_listed(
    runner: asyncio.Runner, client: httpx.AsyncClient
) -> None:
    listed = runner.run(client.get("/openapi")).json()
    assert listed.keys() == {"veriplex", *(dialect.name for dialect in DIALECTS)}
    reply = runner.run(client.get(listed["validto"], headers={"Host": "verify.example:8080"}))
    document = reply.json()
    assert document["servers"][0]["url"] == "http://verify.example:8080/validto"
    assert reply.headers["content-type"] == "application/json"
    assert runner.run(client.get("/openapi/bouncify.json")).json()["paths"] == document["paths"]
    unknown = runner.run(client.get("/openapi/nobody.json"))
    assert (unknown.status_code, unknown.json()["title"]) == (404, "Not Found")
