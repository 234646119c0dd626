"""Every queue that several accounts share: a flood of one account does not hold up another.

A row opens a queue and does one piece of work through it. One account floods the queue, another one
comes with a single request: it is the next one that is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import httpx
import pytest

from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.upstream import UpstreamQuery
from adapters.contract.wire import WireRequest
from engine.address.syntax import parse_address
from engine.bulk.shared import MAX_CONNECTIONS, MAX_DOMAIN_LOOKUPS, MAX_SINGLE_PROBES
from engine.model import Address, Checks, Verdict, Verification, VerificationStream
from engine.smtp.pacing import Pacer
from engine.turns import FairSlots, acting_for, current_party
from gateway.batches.http_fetch import CONCURRENT_FETCHES, HttpFetch
from gateway.batches.model import rules_of
from gateway.batches.runner import MAX_CHUNKS_IN_FLIGHT
from gateway.batches.webhooks import CONCURRENT_DELIVERIES
from gateway.cluster.shared.connection import MAX_CONNECTIONS as SHARED_CONNECTIONS
from gateway.cluster.shared.connection import SharedStore
from gateway.sandbox.clock import Clocks
from gateway.sandbox.faults import FaultInjector
from gateway.sandbox.reports import Report
from gateway.sandbox.webhooks import MAX_IN_FLIGHT, SandboxWebhooks
from gateway.store import open_store
from gateway.store.postgres import PostgresBackend
from gateway.store.sqlite import POOL_SIZE as CONNECTIONS_TO_A_FILE
from gateway.store.sqlite import QUERY_THREADS, Queries, SqliteBackend
from gateway.store.store import POOL_SIZE, Store
from gateway.tasks import GroupedCalls, TimeSlices
from gateway.upstreams.batches.bulk import CONCURRENT_SINGLES
from gateway.upstreams.routing.budgets import Budgets
from gateway.upstreams.shadow.source import MAX_IN_FLIGHT as SHADOW_REQUESTS
from gateway.upstreams.shadow.source import ShadowSource
from gateway.upstreams.source.local import LocalSource
from gateway.upstreams.source.throttle import Throttle
from gateway.verdicts.cache import VerdictCache
from gateway.web.exchange import MAX_BYTES_PARSED_ON_LOOP, BodyReader
from tests.dialects import BY_NAME
from tests.gateway.batches.conftest import Scripted, answer, open_bench

FLOODING, MODEST = 1, 2
"""Accounts."""

Begin: TypeAlias = Callable[[], Awaitable[None]]
"""What a piece of work calls when its turn has come; it waits until the work may end."""
Work: TypeAlias = Callable[[Begin], Awaitable[None]]
"""Does one piece of work through the queue, for the current party."""


@dataclass(frozen=True)
class Queue:
    """A row."""

    open: Callable[[], contextlib.AbstractAsyncContextManager[Work]]
    places: int
    """How much of the flood is in flight."""
    is_strict: bool = True
    """Whether the single request waits for a place."""
    flood: int = 1_000


@asynccontextmanager
async def throttle(max_per_s: float = 0) -> AsyncIterator[Work]:
    upstream = Throttle(10, max_per_s, clock=time.monotonic)

    async def work(begin: Begin) -> None:
        async with upstream.slot(60) as has_slot:
            assert has_slot
            await begin()

    yield work


@asynccontextmanager
async def pacer(*, bulk: bool = False, pooled: bool = False) -> AsyncIterator[Work]:
    pacer = Pacer(4, time.monotonic)

    async def work(begin: Begin) -> None:
        async with pacer.slot("operator", bulk=bulk, pooled=pooled):
            await begin()

    yield work


@asynccontextmanager
async def pacer_with_a_batch() -> AsyncIterator[Work]:
    """A batch's connection, while another account asks for thousands of single verifications."""
    pacer = Pacer(4, time.monotonic)

    async def work(begin: Begin) -> None:
        async with pacer.slot("operator", pooled=current_party() == MODEST):
            await begin()

    yield work


@asynccontextmanager
async def slots(places: int) -> AsyncIterator[Work]:
    slots = FairSlots(places)

    async def work(begin: Begin) -> None:
        async with slots.slot():
            await begin()

    yield work


class HeldClient:
    """Stands in for a client of the shared server: each command waits until it may end."""

    async def execute_command(self, name: str, begin: Begin) -> None:
        await begin()


@asynccontextmanager
async def shared_store() -> AsyncIterator[Work]:
    store = SharedStore(cast(Any, HeldClient()), "")

    async def work(begin: Begin) -> None:
        await store.call("GET", begin)

    yield work


@asynccontextmanager
async def body_reader(*, in_file: bool) -> AsyncIterator[Work]:
    reader = BodyReader()
    loop = asyncio.get_running_loop()

    async def work(begin: Begin) -> None:
        def read(_: WireRequest) -> None:
            """In a thread."""
            asyncio.run_coroutine_threadsafe(_call(begin), loop).result()

        body = b"" if in_file else bytes(MAX_BYTES_PARSED_ON_LOOP + 1)
        request = WireRequest("POST", "/", "", {}, body, io.BytesIO() if in_file else None)
        await reader.run(read, request, current_party())

    yield work


async def _call(begin: Begin) -> None:
    await begin()


@asynccontextmanager
async def computations() -> AsyncIterator[Work]:
    slices = TimeSlices()

    async def work(begin: Begin) -> None:
        async with slices.computing(current_party()):
            await begin()

    yield work


@asynccontextmanager
async def grouped_calls() -> AsyncIterator[Work]:
    """The ledger and the look-up of keys."""

    async def run(begins: list[Begin]) -> list[Exception | None]:
        for begin in begins:
            await begin()
        return [None] * len(begins)

    yield GroupedCalls(run, max_group=1).call


@asynccontextmanager
async def writes() -> AsyncIterator[Work]:
    async with open_store("sqlite:///:memory:", busy_timeout_s=60) as store:

        async def work(begin: Begin) -> None:
            async with store.write():
                await begin()

        yield work


class _BeginningEngine:
    """A database of which each query is a `Begin`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def connect(self) -> contextlib.nullcontext[_BeginningEngine]:
        return contextlib.nullcontext(self)

    def execute(self, begin: Begin) -> SimpleNamespace:
        async def run() -> None:
            await begin()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()
        return SimpleNamespace(all=list)


@asynccontextmanager
async def queries() -> AsyncIterator[Work]:
    """Those of a SQLite file, which run in threads."""
    with ThreadPoolExecutor(QUERY_THREADS) as threads:
        opened = Queries(cast(Any, _BeginningEngine()), threads)

        async def work(begin: Begin) -> None:
            await opened.fetch_all(cast(Any, begin))

        yield work


class _NoConnection:
    """Stands in for an engine and for its connections, for which nobody has to wait."""

    def execution_options(self, **_: object) -> _NoConnection:
        return self

    def connect(self) -> contextlib.nullcontext[_NoConnection]:
        return contextlib.nullcontext(self)

    begin = connect


NEVER_CONNECTED = cast(Any, _NoConnection())


@asynccontextmanager
async def connections_to_postgres(*, reads: bool) -> AsyncIterator[Work]:
    store = Store(PostgresBackend(NEVER_CONNECTED, "", POOL_SIZE, 60))

    async def work(begin: Begin) -> None:
        async with store.read() if reads else store.write():
            await begin()

    yield work


@asynccontextmanager
async def connections_to_a_file() -> AsyncIterator[Work]:
    """For what is read in several queries, or takes long."""
    queries = Queries(NEVER_CONNECTED, cast(Any, None))
    store = Store(SqliteBackend(NEVER_CONNECTED, "", 60, queries, None))

    async def work(begin: Begin) -> None:
        async with store.read():
            await begin()

    yield work


class _BeginningVerifier(Scripted):
    """Calls what the address stands for."""

    def __init__(self) -> None:
        super().__init__()
        self.begins: dict[str, Begin] = {}

    async def verify_many(self, addresses: Iterable[Address], checks: Checks) -> VerificationStream:
        for address in addresses:
            await self.begins[address.raw]()
            yield address, answer(address, checks=checks)


@asynccontextmanager
async def batches() -> AsyncIterator[Work]:
    """Batches of one slow address each."""
    verifier = _BeginningVerifier()
    submitting = asyncio.Lock()  # of writes that wait for long some fail
    async with open_bench("sqlite:///:memory:", verifier=verifier, work=True) as bench:
        callers = {caller.account_id: caller for caller in [await bench.caller() for _ in range(2)]}

        async def work(begin: Begin) -> None:
            email = f"ada@{len(verifier.begins)}.example"
            verifier.begins[email] = begin
            caller = next(caller for id_, caller in callers.items() if id_ == current_party())
            async with submitting:
                await bench.submit(caller, [email])

        yield work


@asynccontextmanager
async def webhooks() -> AsyncIterator[Work]:
    """Webhooks to slow receivers."""
    begins: dict[str, Begin] = {}
    submitting = asyncio.Lock()  # of writes that wait for long some fail

    async def post(url: str, body: bytes, **_: object) -> str:
        await begins[url]()
        return ""

    async with open_bench("sqlite:///:memory:", work=True, post_webhook=post) as bench:
        callers = [await bench.caller("emailable") for _ in range(2)]

        async def work(begin: Begin) -> None:
            url = f"https://hooks.example/{len(begins)}"
            begins[url] = begin
            caller = next(each for each in callers if each.account_id == current_party())
            async with submitting:
                await bench.submit(caller, [f"ada@{len(begins)}.example"], url=url)

        yield work


@asynccontextmanager
async def fetches() -> AsyncIterator[Work]:
    """Lists at URLs of slow servers."""
    begins: dict[str, Begin] = {}

    async def answer(request: httpx.Request) -> httpx.Response:
        await begins[request.url.path]()
        return httpx.Response(200, content=b"a@b.test")

    transport = httpx.MockTransport(answer)
    fetch = HttpFetch(transport, may_dial=lambda _: True, refusal="")
    async with contextlib.aclosing(fetch):

        async def work(begin: Begin) -> None:
            path = f"/{len(begins)}"
            begins[path] = begin
            async with fetch(f"http://127.0.0.1{path}", 100) as found:
                assert not isinstance(found, str)

        yield work


async def _read_body() -> bytes:
    return b"{}"


def report_of(scope: int, url: str) -> Report:
    """That a batch is done."""
    dialect = BY_NAME["emailable"]
    batch = SimpleNamespace(id="1", scope=scope, webhook_url=url, dialect=dialect)
    return cast(
        Report,
        SimpleNamespace(
            batch=batch,
            name="",
            webhook=rules_of(dialect).webhook,
            headers={},
            is_removed=False,
            is_due=True,
            read_body=_read_body,
        ),
    )


@asynccontextmanager
async def sandbox_webhooks() -> AsyncIterator[Work]:
    clocks = Clocks(time.time)
    sender = SandboxWebhooks(FaultInjector(clocks), clocks)
    begins: dict[str, Begin] = {}

    async def post(url: str, body: bytes, **_: object) -> str:
        await begins[url]()
        return ""

    async with sender.running(post):

        async def work(begin: Begin) -> None:
            scope = current_party()
            assert isinstance(scope, int)
            url = f"http://127.0.0.1/{len(begins)}"
            begins[url] = begin
            sender.schedule(report_of(scope, url))

        yield work


@asynccontextmanager
async def shadow() -> AsyncIterator[Work]:
    """Questions to a source that is asked beside the requests."""
    begins: dict[str, Begin] = {}

    class Source(LocalSource):
        async def try_verify(self, question: UpstreamQuery, **_: Any) -> Verification:
            await begins[question.address.normalized]()
            return answer(question.address)

    source = Source(
        cast(Any, None),
        timeout_s=60,
        final=frozenset(),
        is_only_source=False,
        pause_of=lambda _: "",
    )
    limits = Throttle(SHADOW_REQUESTS, 0, clock=time.monotonic)
    async with open_store("sqlite:///:memory:") as store:
        shadowed = ShadowSource(
            source,
            None,
            limits,
            Budgets(store, clock=time.time),
            (),
            lambda *_: None,
            clock=time.monotonic,
        )

        async def work(begin: Begin) -> None:
            address = parse_address(f"user{len(begins)}@example.com")
            begins[address.normalized] = begin
            shadowed.offer(answer(address))

        yield work
        await shadowed.aclose()


QUEUES: dict[str, Queue] = {
    "questions to a shadow source": Queue(shadow, SHADOW_REQUESTS, flood=80),
    "calls to the shared server": Queue(shared_store, SHARED_CONNECTIONS),
    "requests to an upstream": Queue(throttle, 10),
    "requests to an upstream with a rate": Queue(lambda: throttle(2_000), 10),
    "connections to an operator, single verifications": Queue(pacer, 4),
    "connections to an operator, single probes of batches": Queue(lambda: pacer(bulk=True), 4),
    "connections to an operator, host pools": Queue(lambda: pacer(pooled=True), 4),
    "connections to an operator, a batch beside verifications": Queue(pacer_with_a_batch, 4),
    "connections of all host pools": Queue(
        lambda: slots(MAX_CONNECTIONS), MAX_CONNECTIONS, is_strict=False
    ),
    "domains of lists that are looked up": Queue(
        lambda: slots(MAX_DOMAIN_LOOKUPS), MAX_DOMAIN_LOOKUPS, is_strict=False
    ),
    "addresses of lists on the single path": Queue(
        lambda: slots(MAX_SINGLE_PROBES), MAX_SINGLE_PROBES, is_strict=False
    ),
    "addresses of batches asked of upstreams": Queue(
        lambda: slots(CONCURRENT_SINGLES), CONCURRENT_SINGLES, is_strict=False
    ),
    "large bodies in memory": Queue(lambda: body_reader(in_file=False), 1, flood=100),
    "large bodies in files": Queue(lambda: body_reader(in_file=True), 1, flood=100),
    "computations of the sandbox": Queue(computations, 1),
    "charges and look-ups of keys": Queue(grouped_calls, 1),
    "writes to the database": Queue(writes, 1, flood=200),
    "queries of a database file": Queue(queries, QUERY_THREADS, flood=200),
    "connections to a database file": Queue(connections_to_a_file, CONNECTIONS_TO_A_FILE - 1),
    "connections to PostgreSQL, to read": Queue(
        lambda: connections_to_postgres(reads=True), POOL_SIZE
    ),
    "connections to PostgreSQL, to write": Queue(
        lambda: connections_to_postgres(reads=False), POOL_SIZE
    ),
    "batches": Queue(batches, MAX_CHUNKS_IN_FLIGHT, is_strict=False, flood=80),
    "webhooks": Queue(webhooks, CONCURRENT_DELIVERIES, is_strict=False, flood=80),
    "lists at URLs": Queue(fetches, CONCURRENT_FETCHES, is_strict=False),
    "webhooks of the sandbox": Queue(sandbox_webhooks, MAX_IN_FLIGHT, is_strict=False, flood=200),
}


@pytest.mark.parametrize("name", QUEUES)
async def test_a_flood_of_one_account_does_not_hold_up_another(name: str) -> None:
    queue = QUEUES[name]
    began: list[int] = []
    may_end = asyncio.Event()

    async def until_begun(count: int) -> None:
        async with asyncio.timeout(30):
            while len(began) < count:  # noqa: ASYNC110  # no event says so
                await asyncio.sleep(0)

    async with queue.open() as work:

        async def work_for(account: int) -> None:
            async def begin() -> None:
                began.append(account)
                await may_end.wait()

            with acting_for(account):
                await work(begin)

        async with asyncio.TaskGroup() as group:
            for _ in range(queue.flood):
                group.create_task(work_for(FLOODING))
            await until_begun(queue.places)
            await settle()
            assert began == [FLOODING] * queue.places
            group.create_task(work_for(MODEST))
            if not queue.is_strict:
                await until_begun(queue.places + 1)
            await settle()
            may_end.set()
        await until_begun(queue.flood + 1)
    assert began.index(MODEST) == queue.places


async def test_an_account_with_its_share_of_verifications_is_refused_and_another_is_not() -> None:
    may_end = asyncio.Event()
    verdicts = VerdictCache(ttl_s=dict.fromkeys(Verdict, 60), clock=time.time, max_in_flight=2_000)
    tasks: list[asyncio.Task[Verification]] = []

    def verify_for(account: int) -> None:
        address = parse_address(f"ada{len(tasks)}@example.com")

        async def verify() -> Verification:
            await may_end.wait()
            return answer(address)

        with acting_for(account):
            tasks.append(verdicts.verify(address, Checks(), verify).task)

    for account, share in ((FLOODING, 400), (MODEST, 320)):
        before = len(tasks)
        while len(tasks) - before < share:
            verify_for(account)
        with pytest.raises(Problem) as refused:
            verify_for(account)
        assert (refused.value.kind, refused.value.retry_after_s) == (ProblemKind.UNAVAILABLE, 1)
    may_end.set()
    await asyncio.gather(*tasks)
    verify_for(FLOODING)
    await tasks[-1]


async def settle() -> None:
    """Let the tasks that are ready run."""
    for _ in range(5):
        await asyncio.sleep(0)
