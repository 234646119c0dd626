"""Names that do not exist are refused with the nearest one: a test that used one would be green for
another reason."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from adapters.contract.dialect import Dialect
from gateway.web.control_input import LATENCY_FORMS
from tests.dialects import ALL

API = "/veriplex/v1"
LOG_CALLS = ("requests", "requests/last", "requests/count", "requests/wait")


async def refused(reply: httpx.Response) -> str:
    assert reply.status_code == 400, reply.text
    detail = str(reply.json()["detail"])
    for word in ("Value error", "Extra inputs", "Input", "unexpected_keyword", "unable to"):
        assert word not in detail
    return detail


@pytest.mark.parametrize("call", LOG_CALLS)
@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("statuss=429", "no parameter is named 'statuss'; did you mean status?"),
        ("dialect=emailabel", "no dialect is named 'emailabel'; did you mean emailable?"),
        ("operation=verfy", "no operation is named 'verfy'; did you mean verify?"),
        (
            "dialect=emailable&operation=bach",
            "no operation of emailable is named 'bach'; did you mean batch?",
        ),
        ("method=PSOT", "no method is named 'PSOT'; did you mean POST?"),
        ("problem=to_fast", "no problem is named 'to_fast'; did you mean too_fast?"),
        ("status=many", "status should be a whole number from 0 to 4611686018427387904."),
    ],
)
async def test_filters(client: httpx.AsyncClient, call: str, query: str, detail: str) -> None:
    assert await refused(await client.get(f"{API}/{call}?{query}")) == detail


@pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
async def test_every_name_of_a_dialect_is_known(
    client: httpx.AsyncClient, dialect: Dialect
) -> None:
    for name in (dialect.name, *dialect.aliases):
        for endpoint in dialect.endpoints:
            names = {"dialect": name, "operation": endpoint.name}
            reply = await client.get(f"{API}/requests/count", params=names)
            assert reply.json() == {"count": 0}
            made = await client.post(f"{API}/faults", json={**names, "simulate": "429"})
            assert made.json()["dialect"] == dialect.name


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("POST", "reset"),
        ("POST", "keys"),
        ("GET", "sandbox"),
        ("GET", "faults"),
        ("DELETE", "faults"),
        ("GET", "clock"),
        ("DELETE", "clock"),
        ("DELETE", "requests"),
        ("GET", "requests/1"),
        *(("GET", call) for call in LOG_CALLS),
        ("GET", "webhooks"),
        ("GET", "webhooks/wait"),
    ],
)
async def test_a_misspelt_key_does_not_stand_for_all_keys(
    client: httpx.AsyncClient, method: str, call: str
) -> None:
    reply = await client.request(method, f"{API}/{call}?kye=test_sandbox")
    assert await refused(reply) == "no parameter is named 'kye'; did you mean key?"


async def test_an_operation_of_another_dialect_is_refused(client: httpx.AsyncClient) -> None:
    reply = await client.get(f"{API}/requests/count?dialect=whoisxml&operation=verify")
    assert (await refused(reply)).startswith("no operation of whoisxml is named 'verify'")


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        (
            {"operation": "verfy", "simulate": "429"},
            "no operation is named 'verfy'; did you mean verify?",
        ),
        (
            {"dialect": "emailabel", "simulate": "429"},
            "no dialect is named 'emailabel'; did you mean emailable?",
        ),
        (
            {"operation": "webhok", "simulate": "429"},
            "no operation is named 'webhok'; did you mean webhook?",
        ),
        ({"simulate": "no-credit"}, "no outcome is named no-credit; did you mean no-credits?"),
        ({"simulat": "429"}, "simulat: no member has this name; did you mean simulate?"),
        (
            {"zzz": 1},
            "zzz: no member has this name; there are dialect, operation, rate, seed, skip, times,"
            " simulate, limit, latency_ms, connection, drip",
        ),
        ({}, "set at least one of simulate, limit, latency_ms and connection"),
        ({"simulate": "429", "rate": 2}, "rate: should be at most 1"),
        ({"simulate": "429", "times": 0}, "times: should be at least 1"),
        ({"simulate": "429", "times": "x"}, "times: should be a whole number"),
        ({"simulate": 429}, "simulate: should be a text, in quotes"),
        ({"connection": "rest"}, "connection: should be 'reset', 'truncate' or 'drip'"),
        (
            {"limit": {"count": 1, "per": 60}},
            "limit: no member is named 'per'",
        ),
        ({"latency_ms": "fast"}, f"latency_ms: {LATENCY_FORMS}"),
        ({"latency_ms": [1, 2, 3]}, f"latency_ms: {LATENCY_FORMS}"),
        ({"latency_ms": {"median": -1}}, f"latency_ms: {LATENCY_FORMS}"),
        ([], "should be an object"),
    ],
)
async def test_faults(client: httpx.AsyncClient, fault: Any, detail: str | None) -> None:
    shown = await refused(await client.post(f"{API}/faults", json=fault))
    assert detail in (None, shown)
    assert (await client.get(f"{API}/faults")).json() == {"faults": []}


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"advance": 5}, "advance: no member has this name; did you mean advance_s?"),
        ({"at": "soon"}, "at: should be a time, as 2027-01-01T00:00:00Z"),
        ({"advance_s": "x"}, "advance_s: should be a number"),
        ({"frozen": "maybe"}, "frozen: should be true or false"),
    ],
)
async def test_clock(client: httpx.AsyncClient, change: Any, detail: str | None) -> None:
    shown = await refused(await client.post(f"{API}/clock", json=change))
    assert detail in (None, shown)


async def test_a_body_may_begin_with_a_byte_order_mark(client: httpx.AsyncClient) -> None:
    reply = await client.post(
        f"{API}/faults",
        content=b'\xef\xbb\xbf{"simulate": "429"}',
        headers={"Content-Type": "application/json"},
    )
    assert reply.status_code == 200


async def test_a_key_in_a_wrong_name_is_not_shown(client: httpx.AsyncClient) -> None:
    key = "live_0123456789abcdef0123"
    reply = await client.get(f"{API}/requests?{key}=x")
    assert key not in reply.text


async def test_a_body_that_is_not_json_is_refused(client: httpx.AsyncClient) -> None:
    for call in ("faults", "clock"):
        reply = await client.post(
            f"{API}/{call}", content=b"{", headers={"Content-Type": "application/json"}
        )
        assert await refused(reply) == "the body is not valid JSON"
