"""The request log within its bounds: bytes, scopes, waiting calls, keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from gateway.sandbox.requests import (
    MAX_BODY_BYTES,
    MAX_EXCHANGES,
    MAX_HEADER_CHARACTERS,
    MAX_LOG_BYTES,
    MAX_PAGE_BYTES,
    MAX_PATH_CHARACTERS,
    MAX_QUERY_CHARACTERS,
    MAX_WAITERS_OF_SCOPE,
    Exchange,
    ExchangeFilter,
    RequestLog,
    TooManyWaiters,
)
from gateway.sandbox_app import SandboxServer
from gateway.tasks import TimeSlices

KEY = "test_7aff7fc0142c65f86a00"
LIVE_KEY = "live_0123456789abcdef0123"
API = "/veriplex/v1"
ALL = ExchangeFilter()


def exchange(scope: int | None = 0, **changes: Any) -> Exchange:
    plain = Exchange(
        id=0,
        at=1_780_000_000.0,
        scope=scope,
        dialect="emailable",
        operation="verify",
        method="GET",
        path="/v1/verify",
        query="email=a%40b.org",
        headers={"host": "veriplex.test"},
        body=b"",
        credential="",
        status=200,
        reply=b"{}",
        problem="",
        reason="",
        simulated="",
        request_id="1",
    )
    return replace(plain, **changes)


@pytest.fixture
def log() -> RequestLog:
    return RequestLog(TimeSlices())


def exchanges(log: RequestLog) -> list[Exchange]:
    return [found for id_ in range(1, 20_000) if (found := log.get(None, id_)) is not None]


def stored_characters(e: Exchange) -> int:
    headers = sum(len(name) + len(value) for name, value in e.headers.items())
    return sum(map(len, (e.path, e.query, e.body, e.reply, e.credential, e.reason))) + headers


async def until(reached: Callable[[], bool]) -> None:
    """Let the other tasks run until then."""
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110  # no event says so
            await asyncio.sleep(0)


# -- bounds ------------------------------------------------------------------------------


def test_the_oldest_exchanges_make_room(log: RequestLog) -> None:
    for _ in range(MAX_EXCHANGES + 10):
        log.add(exchange())
    assert len(log) == MAX_EXCHANGES
    assert exchanges(log)[0].id == 11


@pytest.mark.parametrize(
    "large",
    [
        {"path": "/v1/" + "p" * 60_000},
        {"query": "q" * 60_000},
        {"headers": {f"x-{n}": "v" * 6_000 for n in range(10)}},
        {"headers": {f"x-{n}" * 3_000: "v" for n in range(10)}},
        {"headers": {"x-one": "v" * 60_000}},
        {"body": b"b" * 256_000},
        {"reply": b"r" * 256_000},
        {"reason": "w" * 60_000},
        {"credential": "k" * 60_000},
    ],
    ids=lambda large: next(iter(large)),
)
async def test_every_large_part_of_a_request_is_counted_and_cut(
    log: RequestLog, large: dict[str, Any]
) -> None:
    for _ in range(MAX_EXCHANGES):
        log.add(exchange(**large))
    assert log.size <= MAX_LOG_BYTES
    stored = exchanges(log)
    assert sum(map(stored_characters, stored)) <= MAX_LOG_BYTES
    assert max(map(stored_characters, stored)) <= 32_000
    shown = await log.show(stored[0])
    assert stored_characters(stored[0]) <= 20_000
    assert shown["truncated"] == [next(iter(large))]


async def test_an_exchange_is_shown_whole_up_to_the_limits(log: RequestLog) -> None:
    whole = exchange(
        path="/p" * (MAX_PATH_CHARACTERS // 2),
        query="q&" * (MAX_QUERY_CHARACTERS // 2),
        headers={f"x{n}": "v " * (MAX_HEADER_CHARACTERS // 2) for n in range(7)},
        body=b"b " * (MAX_BODY_BYTES // 2),
        reply=b"r " * (MAX_BODY_BYTES // 2),
    )
    log.add(replace(whole))
    shown = await log.show(exchanges(log)[0])
    assert shown["truncated"] == []
    assert (shown["path"], shown["query"], shown["headers"]) == (
        whole.path,
        whole.query,
        whole.headers,
    )
    assert (shown["body"], shown["reply"]) == (whole.body.decode(), whole.reply.decode())


@pytest.mark.parametrize("at", [-40, -20, -10, -1, 0])
@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("path", MAX_PATH_CHARACTERS),
        ("query", MAX_QUERY_CHARACTERS),
        ("body", MAX_BODY_BYTES),
        ("reply", MAX_BODY_BYTES),
        ("headers", MAX_HEADER_CHARACTERS),
    ],
)
async def test_a_key_that_a_limit_cuts_in_two_is_not_shown(
    log: RequestLog, name: str, limit: int, at: int
) -> None:
    text = "-" * (limit + at) + f" {LIVE_KEY} " + "-" * 10_000
    value: Any = {"headers": {"x": text}, "body": text.encode(), "reply": text.encode()}
    log.add(exchange(**{name: value.get(name, text)}))
    assert LIVE_KEY[:12] not in str(await log.show(exchanges(log)[0]))


def test_a_scope_that_floods_the_log_loses_its_own_exchanges(log: RequestLog) -> None:
    for _ in range(100):
        log.add(exchange(scope=1))
    for _ in range(2 * MAX_EXCHANGES):
        log.add(exchange(scope=2, body=b"b" * 4_000))
    for _ in range(100):
        log.add(exchange(scope=3))
    scopes = [e.scope for e in exchanges(log)]
    assert (scopes.count(1), scopes.count(3)) == (100, 100)
    assert log.size <= MAX_LOG_BYTES


# -- searching and showing ---------------------------------------------------------------


async def test_a_search_sees_no_more_of_a_key_than_is_shown(client: httpx.AsyncClient) -> None:
    body = f"key {LIVE_KEY} of another client"
    query = f"email=a@b.org&api_key={KEY}&note={LIVE_KEY}"
    await client.post(f"/emailable/v1/verify?{query}", content=body)

    async def count(text: str) -> int:
        reply = await client.get(f"{API}/requests/count", params={"text": text})
        return int(reply.json()["count"])

    for key in (KEY, LIVE_KEY):
        lengths = range(7, len(key) - 4)
        assert [await count(key[:length]) for length in lengths] == [0] * len(lengths)
    assert await count("of another client") == await count(f"…{LIVE_KEY[-4:]}") == 1


async def test_a_search_for_a_path_sees_no_key_either(client: httpx.AsyncClient) -> None:
    path = f"/v1/nothing/{LIVE_KEY}"
    await client.get(f"/emailable{path}?api_key={KEY}")
    last = (await client.get(f"{API}/requests/last")).json()["path"]
    # a whole key is searched for as the log has it: by its last four characters
    for shown, expected in ((path[:-1], 0), (path, 1), (last, 1)):
        reply = await client.get(f"{API}/requests/count", params={"path": shown})
        assert reply.json()["count"] == expected


async def test_a_page_is_bounded_in_bytes_and_the_next_one_goes_on(
    client: httpx.AsyncClient, server: SandboxServer
) -> None:
    for number in range(900):
        server.sandbox.request_log.add(exchange(body=b"%d" % number + b"b" * 4_000))
    seen: list[int] = []
    before: dict[str, int] = {}
    pages = 0
    while True:
        reply = await client.get(f"{API}/requests", params={"limit": 1_000, **before})
        assert len(reply.content) <= MAX_PAGE_BYTES
        page = [shown["id"] for shown in reply.json()["requests"]]
        assert page == sorted(page)
        seen = page + seen
        pages += 1
        if not reply.json()["more"]:
            break
        before = {"before": page[0]}
    assert pages > 1
    assert seen == list(range(seen[0], 901))
    assert len(seen) == len(server.sandbox.request_log)


async def test_what_is_removed_while_it_is_shown_is_left_out(log: RequestLog) -> None:
    for _ in range(100):
        log.add(exchange(body=b"b " * 2_000))
    found, more = await log.find(0, ALL)
    pieces = log.render(0, found, more=more)
    first = await anext(pieces)
    log.clear(None)
    rest = [piece async for piece in pieces]
    assert 0 < first.count(b'"id":') < 100
    assert b"".join(rest).endswith(b'],"more":false}')
    assert b'"id":' not in b"".join(rest)


async def test_a_search_text_has_a_limit(client: httpx.AsyncClient) -> None:
    for length, status in ((256, 200), (257, 400)):
        reply = await client.get(f"{API}/requests/count", params={"text": "x" * length})
        assert reply.status_code == status


# -- waiting -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CountingFilter(ExchangeFilter):
    """Counts the exchanges that it is shown."""

    shown: list[int] = field(default_factory=list)

    def fits(self, e: Exchange) -> bool:
        self.shown.append(e.id)
        return ExchangeFilter.fits(self, e)


async def test_a_waiting_call_looks_once_at_each_exchange(log: RequestLog) -> None:
    for _ in range(500):
        log.add(exchange())
    wanted = CountingFilter(operation="account")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(log.wait_for(0, wanted, 3, timeout_s=60))
        await until(lambda: len(wanted.shown) == 500)
        for number in range(300):
            log.add(exchange(scope=1, operation="account"))  # another scope's
            log.add(exchange(operation="account" if number % 100 == 0 else "verify"))
            await asyncio.sleep(0)
    assert waiting.result() == 3
    # once each of those in the log and of those that come, and once more of those that may match
    assert len(wanted.shown) == 500 + 201 + 3


async def test_what_comes_while_the_log_is_searched_is_counted_once() -> None:
    now = 0.0

    def timer() -> float:  # each look at it is a slice later
        nonlocal now
        now += 1
        return now

    log = RequestLog(TimeSlices(timer=timer))
    for _ in range(50):
        log.add(exchange())
    waiting = asyncio.create_task(log.wait_for(0, ALL, 100, timeout_s=60))
    for _ in range(49):
        await asyncio.sleep(0)
        log.add(exchange())
    for _ in range(300):
        await asyncio.sleep(0)
    assert not waiting.done()
    log.add(exchange())
    assert await waiting == 100


async def test_too_many_waiting_calls_are_refused(
    client: httpx.AsyncClient, server: SandboxServer
) -> None:
    request_log = server.sandbox.request_log
    async with asyncio.TaskGroup() as group:
        calls = [
            group.create_task(client.get(f"{API}/requests/wait?timeout_s=60"))
            for _ in range(MAX_WAITERS_OF_SCOPE)
        ]
        await until(lambda: request_log.waiting_in(None) == MAX_WAITERS_OF_SCOPE)
        refused = await client.get(f"{API}/requests/wait?timeout_s=60")
        assert refused.status_code == 429
        with pytest.raises(TooManyWaiters):
            await request_log.wait_for(None, ALL, 1, 60)
        # another scope can wait
        assert await request_log.wait_for(7, ALL, 1, 0) == 0
        request_log.add(exchange())
    assert {call.result().status_code for call in calls} == {200}
