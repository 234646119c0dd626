"""Every call of our own, with every kind of key: who may do what."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest

from gateway.accounts.caller import AccountStatus
from gateway.web.dispatch import create_app
from gateway.web.native_description import describe_native
from gateway.web.sandbox_control import ControlApi
from tests.dialects import BY_NAME
from tests.gateway.web.console.console_client import (
    PASSWORD,
    VIEWER_PASSWORD,
    browser,
    running,
)

pytestmark = pytest.mark.anyio

V1 = "/veriplex/v1"
BATCH = {"emails": ["ada@example.com"]}
OUTCOMES = [{"email": "ada@example.com", "outcome": "delivered"}]

NOBODY = ("nothing", "empty", "basic", "wrong", "query", "revoked", "operator", "viewer", "session")
"""Kinds of credentials that are no key; `query` is a good key in the wrong place."""
KEYS = ("own", "other_dialect", "another", "test")
"""Keys of the account that made the batch, of another account, and for tests."""
KINDS = (*NOBODY, *KEYS, "suspended", "unconfirmed")


@dataclass(frozen=True, slots=True)
class Call:
    """A call, and the status that each kind of key gets for it."""

    method: str
    path: str
    """As it is described; `{id}` is that of a batch, `{name}` of a source."""
    body: object = None
    expected: dict[str, int] = field(default_factory=dict)
    """Beside 401 for who has no key and 403 for accounts that are not active."""


def all_keys(status: int) -> dict[str, int]:
    return dict.fromkeys(KEYS, status)


OWNERS = all_keys(404) | {"own": 200}
"""A batch is of its account and of its dialect."""
OPERATORS = (
    dict.fromkeys(KINDS, 403) | dict.fromkeys(("nothing", "empty", "basic", "query"), 401)
) | {"session": 401, "operator": 404}
"""404, since this server has no source of that name."""
TEST_KEYS = all_keys(403) | {"test": 200, "suspended": 401, "unconfirmed": 401}
"""The control API of the sandbox, which takes test keys."""
CHECKED = TEST_KEYS | {"query": 400}
"""Of a call that refuses a parameter that it does not know before it looks at the key."""

NATIVE = [
    Call("GET", "/verify?email=ada@example.com", expected=all_keys(200)),
    Call("POST", "/batches", BATCH, all_keys(202)),
    Call("GET", "/batches", expected=all_keys(200)),
    Call("GET", "/batches/{id}", expected=OWNERS),
    Call("GET", "/batches/{id}/results", expected=OWNERS),
    Call("POST", "/batches/{id}/cancel", expected=OWNERS),
    Call("DELETE", "/batches/{id}", expected=OWNERS),
    Call("GET", "/usage", expected=all_keys(200)),
    Call("GET", "/standing", expected=all_keys(200)),
    Call("GET", "/sources", expected=all_keys(200)),
    Call("GET", "/sources/report", expected=all_keys(200)),
    Call("GET", "/sources/report/candidates", expected=all_keys(200)),
    Call("POST", "/sources/{name}/pause", expected=OPERATORS),
    Call("POST", "/sources/{name}/resume", expected=OPERATORS),
    Call("POST", "/sources/{name}/try", expected=OPERATORS),
    Call("POST", "/outcomes", OUTCOMES, all_keys(200)),
]
CONTROL = [
    Call("GET", "/sandbox", expected=CHECKED),
    Call("POST", "/keys", expected=dict.fromkeys(KINDS, 403) | {"query": 400}),
    Call("GET", "/requests", expected=TEST_KEYS),
    Call("DELETE", "/requests", expected=CHECKED),
    Call("GET", "/requests/last", expected=TEST_KEYS | {"test": 404}),
    Call("GET", "/requests/count", expected=TEST_KEYS),
    Call("GET", "/requests/wait?timeout_s=0", expected=TEST_KEYS | {"test": 408}),
    Call("GET", "/requests/{id:number}", expected=CHECKED | {"test": 404}),
    Call("GET", "/faults", expected=CHECKED),
    Call("POST", "/faults", {"latency_ms": 1}, CHECKED),
    Call("DELETE", "/faults", expected=CHECKED),
    Call("DELETE", "/faults/{id:number}", expected=CHECKED | {"test": 404}),
    Call("GET", "/webhooks", expected=TEST_KEYS),
    Call("GET", "/webhooks/wait?timeout_s=0", expected=TEST_KEYS | {"test": 408}),
    Call("GET", "/clock", expected=CHECKED),
    Call("POST", "/clock", {"frozen": False}, CHECKED),
    Call("DELETE", "/clock", expected=CHECKED),
    Call("POST", "/reset", expected=CHECKED),
]


@pytest.fixture
async def callers() -> AsyncIterator[tuple[httpx.AsyncClient, dict[str, dict[str, str]]]]:
    """A client, and the headers of each kind of credential."""
    async with running() as services:
        accounts = services.accounts

        async def key(
            account: int | None = None, dialect: str = "emailable", *, test: bool = False
        ) -> str:
            owner = account if account is not None else await accounts.create_account()
            return (await accounts.create_key(owner, dialect, test=test)).key

        first = await accounts.create_account()
        suspended, unconfirmed = await accounts.create_account(), await accounts.create_account()
        own, revoked = await key(first), await key(first)
        tokens = {
            "own": own,
            "other_dialect": await key(first, "kickbox"),
            "another": await key(),
            "test": await key(first, test=True),
            "suspended": await key(suspended),
            "unconfirmed": await key(unconfirmed),
            "revoked": revoked,
            "wrong": "live_00000000000000000000",
            "operator": PASSWORD,
            "viewer": VIEWER_PASSWORD,
        }
        await accounts.revoke_key(revoked)
        await accounts.set_status(suspended, AccountStatus.SUSPENDED)
        await accounts.set_status(unconfirmed, AccountStatus.UNCONFIRMED)
        visitor = browser(services)
        await visitor.log_in()
        session = "; ".join(f"{name}={value}" for name, value in visitor.client.cookies.items())
        headers = {kind: {"Authorization": f"Bearer {token}"} for kind, token in tokens.items()}
        headers |= {
            "nothing": {},
            "empty": {"Authorization": "Bearer "},
            "basic": {"Authorization": f"Basic {own}"},
            "query": {"X-Query": own},
            "session": {"Cookie": session},
        }
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield client, headers


@pytest.mark.parametrize("call", NATIVE + CONTROL, ids=lambda each: f"{each.method}{each.path}")
async def test_who_may_call_what(
    callers: tuple[httpx.AsyncClient, dict[str, dict[str, str]]], call: Call
) -> None:
    client, headers = callers
    found = {}
    for kind in KINDS:
        # made anew, since some calls end it
        made = await client.post(f"{V1}/batches", json=BATCH, headers=headers["own"])
        batch_id = made.json()["id"]
        if call.method == "DELETE":
            await client.post(f"{V1}/batches/{batch_id}/cancel", headers=headers["own"])
        path = call.path.replace("{id}", batch_id).replace("{name}", "nobody")
        path = path.replace("{id:number}", "1")
        given = dict(headers[kind])
        if key := given.pop("X-Query", ""):
            path += f"{'&' if '?' in path else '?'}api_key={key}"
        content = None if call.body is None else json.dumps(call.body)
        if content is not None:
            given["Content-Type"] = "application/json"
        reply = await client.request(call.method, f"{V1}{path}", content=content, headers=given)
        found[kind] = reply.status_code
    expected = dict.fromkeys(NOBODY, 401) | {"suspended": 403, "unconfirmed": 403}
    assert found == expected | call.expected


async def test_every_call_is_in_the_matrix() -> None:
    described = {
        (method.upper(), path.removeprefix(V1))
        for path, methods in describe_native(BY_NAME["emailable"], version="1")["paths"].items()
        for method in methods
    }
    assert described == {(each.method, each.path.partition("?")[0]) for each in NATIVE}
    async with running() as services:
        control = ControlApi(
            services.sandbox, services.native, services.browser_guard, tuple(BY_NAME.values())
        )
        routes = {
            (method, route.path)
            for route in control.routes()
            for method in (route.methods or set()) - {"HEAD"}
        }
    assert routes == {(each.method, each.path.partition("?")[0]) for each in CONTROL}
