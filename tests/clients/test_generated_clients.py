"""A client that is generated from our description of an API makes calls and reads the replies."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import anyio
import httpx
import pytest

from adapters.registry import DIALECTS
from gateway.sandbox_app import open_sandbox
from gateway.web.dispatch import create_app
from tests.conftest import PYTHON_CLIENTS

pytestmark = [pytest.mark.anyio, pytest.mark.generator]

URL = "http://veriplex.test"
NAMES = ("veriplex", "emailable", "kickbox", "whoisxml")
KEYS = {dialect.name: dialect.sandbox_key for dialect in DIALECTS}
KNOWN = "deliverable@example.com"


@pytest.fixture(scope="module")
async def transport() -> AsyncIterator[httpx.ASGITransport]:
    async with open_sandbox("seed", url=URL) as server:
        yield httpx.ASGITransport(create_app(server))


@pytest.fixture(scope="module")
async def clients(
    transport: httpx.ASGITransport, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[None]:
    """Has the packages `NAME_client` importable."""
    folder = tmp_path_factory.mktemp("clients")
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        for name in NAMES:
            document = (await client.get(f"/openapi/{name}.json")).json()
            (folder / f"{name}.json").write_text(json.dumps(document), "utf-8")
    found = os.pathsep.join(map(str, PYTHON_CLIENTS.glob("*==*")))
    done = await anyio.run_process(
        [sys.executable, str(PYTHON_CLIENTS / "generate.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": found},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


def operation(name: str, call: str) -> Any:
    return import_module(f"{name}_client.api.default.{call}").asyncio_detailed


def client_of(name: str, transport: httpx.ASGITransport, key: str, **httpx_args: Any) -> Any:
    """A client whose requests are answered without a network, with a bearer token if `key`."""
    module = import_module(f"{name}_client")
    base_url = URL if name == "veriplex" else f"{URL}/{name}"
    args = {"base_url": base_url, "httpx_args": {"transport": transport, **httpx_args}}
    return module.AuthenticatedClient(token=key, **args) if key else module.Client(**args)


@pytest.mark.usefixtures("clients")
@pytest.mark.parametrize(
    ("name", "call", "by_query", "parameter", "member", "word"),
    [
        ("emailable", "verify_get", "", "email", "state", "deliverable"),
        ("kickbox", "verify", "apikey", "email", "result", "deliverable"),
        ("whoisxml", "v1_get", "apiKey", "email_address", "smtp_check", "true"),
        ("veriplex", "verify", "", "email", "verdict", "deliverable"),
    ],
)
async def test_a_generated_client_verifies_an_address(
    transport: httpx.ASGITransport,
    name: str,
    call: str,
    by_query: str,
    parameter: str,
    member: str,
    word: str,
) -> None:
    key = KEYS[name if name in KEYS else "emailable"]
    query = {"params": {by_query: key}} if by_query else {}
    client = client_of(name, transport, "" if by_query else key, **query)
    reply = await operation(name, call)(client=client, **{parameter: KNOWN})
    assert reply.status_code == 200
    assert type(reply.parsed).__name__ != "Error"
    assert getattr(reply.parsed, member) == word


@pytest.mark.usefixtures("clients")
async def test_a_generated_client_submits_a_batch_and_reads_an_error(
    transport: httpx.ASGITransport,
) -> None:
    client = client_of("veriplex", transport, KEYS["emailable"])
    bodies = import_module("veriplex_client.models")
    body = bodies.SubmitBatchBody(emails=[KNOWN, "undeliverable@example.com"], name="May")
    submitted = await operation("veriplex", "submit_batch")(client=client, body=body)
    assert submitted.status_code == 202
    shown = await operation("veriplex", "show_batch")(client=client, id=submitted.parsed.id)
    assert (shown.parsed.name, shown.parsed.addresses) == ("May", 2)
    unknown = await operation("veriplex", "show_batch")(client=client, id="0" * 24)
    assert (unknown.status_code, unknown.parsed.title) == (404, "job_unknown")
    refused = await operation("veriplex", "show_usage")(
        client=client_of("veriplex", transport, "no-key")
    )
    assert (refused.status_code, refused.parsed.title) == (401, "bad_credential")
