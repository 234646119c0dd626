"""Any input gets an answer in the form of its dialect: never a 500, never a traceback."""

import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.contract.credential import (
    KeyInAuthorization,
    KeyInBody,
    KeyInHeader,
    KeyInQuery,
    KeyPlace,
)
from adapters.contract.dialect import Dialect
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireRequest
from engine.address.offline import offline_evidence
from engine.model import Address, Checks, Reason, Verdict, Verification
from gateway.app import open_services
from gateway.settings import Settings
from gateway.web.dispatch import create_app
from tests.dialects import ALL, FACTS, email_member


class Answers:
    """A verifier without a network."""

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        valid = address.valid
        return Verification(
            address=address,
            verdict=Verdict.UNKNOWN if valid else Verdict.UNDELIVERABLE,
            reason=Reason.NO_CONNECT if valid else Reason.INVALID_EMAIL,
            score=0,
            evidence=offline_evidence(address),
            checks=checks,
            verified_at=datetime(2026, 1, 1, tzinfo=UTC),
        )


class Server:
    """The whole app in memory, with a live key of each dialect."""

    def __init__(self, client: httpx.AsyncClient, keys: dict[str, str]) -> None:
        self.client = client
        self.keys = keys


@pytest.fixture(scope="module")
async def server(anyio_backend: str) -> AsyncIterator[Server]:
    async with AsyncExitStack() as stack:
        in_memory = Settings.model_validate({"storage": {"url": "sqlite:///:memory:"}})
        services = await stack.enter_async_context(
            open_services(in_memory, verifier=Answers(), dialects=ALL)
        )
        made = await services.accounts.bootstrap()
        client = await stack.enter_async_context(
            httpx.AsyncClient(
                transport=httpx.ASGITransport(create_app(services)), base_url="http://veriplex.test"
            )
        )
        yield Server(client, {key.dialect: key.key for key in made if not key.test})


# -- the form of errors ------------------------------------------------------------------


def check(dialect: Dialect, reply: httpx.Response, sent: object) -> None:
    assert reply.status_code in FACTS[dialect.name].statuses, (sent, reply.text[:300])
    for header in ("x-request-id", "x-veriplex-source", "x-veriplex-attempts", "cache-status"):
        assert header in reply.headers
    assert "Traceback" not in reply.text
    if reply.request.method == "HEAD":
        assert reply.content == b""
        return
    if reply.status_code < 400 and reply.status_code != 249:
        return
    if "xml" in reply.headers.get("content-type", ""):
        ET.fromstring(reply.content)  # noqa: S314 - our own reply
        return
    if FACTS[dialect.name].has_text_errors and "json" not in reply.headers.get("content-type", ""):
        return
    error = orjson.loads(reply.content)
    assert FACTS[dialect.name].is_error_body(error), (sent, reply.text[:300])


# -- the input ---------------------------------------------------------------------------

ADDRESSES = [
    "",
    " ",
    "a",
    "@",
    "a@",
    "@b",
    "a@b",
    "a@b@c.test",
    "a b@c.test",
    "a@b.test\r\nRCPT TO:<x@y.test>",
    "a@b.test\x00",
    "=cmd|' /C calc'!A0@b.test",
    "<script>@b.test",
    "é@bücher.test",
    "\u202e@b.test",
    "a" * 65 + "@b.test",
    "a@" + "b" * 64 + ".test",
    "a@" + "b." * 200 + "test",
    "x" * 5000 + "@b.test",
    "a@[127.0.0.1]",
    "a@127.0.0.1",
    '"a b"@c.test',
    "a@xn--.test",
    "a@.test",
    "a,b@c.test",
    "%00@%ff.test",
    "{}",
    "null",
    "a+b+c@d.test",
]
VALUES: list[Any] = [None, True, 0, -1, 1e308, 2**70, [], {}, [["x"]], {"a": {"b": 1}}, "true"]
BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b"\xff\xfe\x00",
    b"[" * 5000,
    b'{"a":' * 500,
    b'{"email":"\\ud800@b.test"}',
    b"<xml/>",
    b"&&&===&",
    b"%",
    b"a" * 70_000,
    b"--x\r\n\r\n--x--",
    b'{"email": "a@b.test", "email": 5}',
]
TYPES = [
    None,
    "",
    "application/json",
    "application/json; charset=utf-16",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "text/plain",
    "image/png",
    "x",
]
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "FOO"]


EMAIL_NAMES = sorted({email_member(dialect) for dialect in ALL})


def good_headers(dialect: Dialect, key: str) -> dict[str, str]:
    """The key in every header that it may stand in."""
    headers = {}
    for place in places_of(dialect):
        if isinstance(place, KeyInAuthorization):
            headers["Authorization"] = f"{place.schemes[0]} {key}".strip()
        elif isinstance(place, KeyInHeader):
            headers[place.name] = key
    return headers


def key_in_query(dialect: Dialect, key: str) -> str:
    names = [place.name for place in places_of(dialect) if isinstance(place, KeyInQuery)]
    return "&".join(f"{name}={quote(key)}" for name in names or ["x"])


def key_in_body(dialect: Dialect, key: str) -> dict[str, str]:
    return {place.name: key for place in places_of(dialect) if isinstance(place, KeyInBody)}


def places_of(dialect: Dialect) -> set[KeyPlace]:
    """Wherever any endpoint of a dialect has its key."""
    return {
        place
        for endpoint in (None, *dialect.endpoints)
        for place in dialect.credential_for(endpoint).places
    }


@pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("address", ADDRESSES)
async def test_odd_addresses_get_the_dialects_answer(
    server: Server, dialect: Dialect, address: str
) -> None:
    key = server.keys[dialect.name]
    names = "&".join(f"{name}={quote(address)}" for name in EMAIL_NAMES)
    body = {**dict.fromkeys(EMAIL_NAMES, address), **key_in_body(dialect, key)}
    for endpoint in dialect.endpoints:
        path = endpoint.path.replace("{", "").replace("}", "")
        for method in endpoint.methods:
            reply = await server.client.request(
                method,
                f"/{dialect.name}{path}?{key_in_query(dialect, key)}&{names}",
                headers={**good_headers(dialect, key), "Content-Type": "application/json"},
                content=orjson.dumps(body) if method == "POST" else b"",
            )
            check(dialect, reply, (method, path, address))


@pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("content_type", TYPES)
async def test_odd_bodies_get_the_dialects_answer(
    server: Server, dialect: Dialect, content_type: str | None
) -> None:
    key = server.keys[dialect.name]
    headers = good_headers(dialect, key)
    if content_type is not None:
        headers["Content-Type"] = content_type
    bodies = BODIES + [
        orjson.dumps(
            {
                **dict.fromkeys([*EMAIL_NAMES, "refresh", "info"], v),
                **key_in_body(dialect, key),
            }
        )
        for v in VALUES
        if v != 2**70
    ]
    for endpoint in dialect.endpoints:
        path = endpoint.path.replace("{", "").replace("}", "")
        for body in bodies:
            reply = await server.client.request(
                "POST",
                f"/{dialect.name}{path}?{key_in_query(dialect, key)}",
                headers=headers,
                content=body,
            )
            check(dialect, reply, (path, content_type, body[:80]))


@pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("method", METHODS)
async def test_odd_methods_and_paths_get_the_dialects_answer(
    server: Server, dialect: Dialect, method: str
) -> None:
    paths = [endpoint.path for endpoint in dialect.endpoints]
    paths += [f"{path}/" for path in paths] + [f"{path}/x" for path in paths]
    paths += ["", "/", "//", "/%00", "/é", "/%2e%2e/x", "/v1", "/v1/verify%2f", "/api", "/a" * 2000]
    for path in paths:
        reply = await server.client.request(method, f"/{dialect.name}{path}")
        if reply.status_code != 204:
            check(dialect, reply, (method, path))


@pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
@pytest.mark.parametrize(
    "credential",
    [
        "",
        " ",
        "Bearer",
        "x" * 10_000,
        "\x7f",
        "é".encode().decode("latin-1"),
        "' OR 1=1 --",
        "null",
    ],
)
async def test_odd_credentials_get_the_dialects_error(
    server: Server, dialect: Dialect, credential: str
) -> None:
    for endpoint in dialect.endpoints:
        if not endpoint.needs_key:
            continue
        path = endpoint.path.replace("{", "").replace("}", "")
        reply = await server.client.request(
            endpoint.methods[0],
            f"/{dialect.name}{path}?{key_in_query(dialect, credential)}",
            headers=[
                (name.encode(), value.encode("latin-1"))
                for name, value in good_headers(dialect, credential).items()
            ],
        )
        check(dialect, reply, (path, credential[:20]))
        request = WireRequest(endpoint.methods[0], path)
        refusals = {
            dialect.write_problem(request, Problem(kind), endpoint).status
            for kind in (
                ProblemKind.NO_CREDENTIAL,
                ProblemKind.BAD_CREDENTIAL,
                ProblemKind.UNREADABLE,
            )
        }
        assert reply.status_code in refusals, (path, credential[:20])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    which=st.integers(0, 1000),
    method=st.sampled_from(METHODS),
    query=st.text(max_size=40),
    content_type=st.sampled_from([t for t in TYPES if t]),
    body=st.one_of(
        st.binary(max_size=100),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=10),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from([*EMAIL_NAMES, "apiKey", "info"]), inner, max_size=4
                )
            ),
            max_leaves=8,
        ).map(lambda value: orjson.dumps(value)),
    ),
)
async def test_random_requests_get_the_dialects_answer(
    server: Server, which: int, method: str, query: str, content_type: str, body: bytes
) -> None:
    endpoints = [(d, e) for d in ALL for e in d.endpoints]
    dialect, endpoint = endpoints[which % len(endpoints)]
    key = server.keys[dialect.name]
    path = endpoint.path.replace("{", "").replace("}", "")
    reply = await server.client.request(
        method,
        f"/{dialect.name}{path}?{key_in_query(dialect, key)}&{quote(query, safe='=&%+')}",
        headers={**good_headers(dialect, key), "Content-Type": content_type},
        content=body,
    )
    if reply.status_code != 204:
        check(dialect, reply, (method, path, query, content_type, body))
