"""Batches over a real database, with a clock that the test moves and a scripted verifier."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.contract.batch_rules import is_200
from adapters.contract.jobs import BatchEntry, Job, JobRow, JobRows, JobState
from adapters.contract.operations import JobRunner, ReadRows, SubmitJob
from engine.model import (
    Address,
    Checks,
    Dns,
    Evidence,
    Meaning,
    Reason,
    Smtp,
    Stage,
    Verdict,
    Verification,
    VerificationStream,
)
from engine.verification import verification_from_evidence
from gateway.accounts.accounts import Accounts, Caller, open_accounts
from gateway.batches.opening import BatchDependencies, BatchServices, open_batches
from gateway.batches.ports import always_use
from gateway.batches.webhooks import PostWebhook
from gateway.cluster.embedded import EmbeddedDispatch
from gateway.cluster.ports import Dispatch
from gateway.sandbox.fetching import fetch_nothing
from gateway.store import Store, open_store
from gateway.verdicts.cache import VerdictCache
from tests.dialects import ALL, BY_NAME
from tests.fakes.clock import Clock
from tests.postgres import PostgresServer

RETRIES_S = (5.0, 60.0, 300.0)


def answer(
    address: Address,
    verdict: Verdict = Verdict.DELIVERABLE,
    reason: Reason = Reason.ACCEPTED_EMAIL,
    checks: Checks = Checks(),
) -> Verification:
    return Verification(
        address=address,
        verdict=verdict,
        reason=reason,
        score=100 if verdict is Verdict.DELIVERABLE else 0,
        evidence=Evidence(dns=Dns.MX),
        checks=checks,
        verified_at=datetime(2026, 5, 15, 10, 30, tzinfo=UTC),
    )


@dataclass
class Scripted:
    """A verifier that answers at once, and remembers the addresses."""

    asked: list[str] = field(default_factory=list)
    calls: list[list[str]] = field(default_factory=list)
    greylisted: set[str] = field(default_factory=set)
    refused: dict[str, Meaning] = field(default_factory=dict)
    """Addresses, or whole domains as `@d.test`, that their mail hosts refuse for now."""
    failing: set[str] = field(default_factory=set)
    before: Callable[[Sequence[Address]], None] = lambda _: None
    egress: str | None = None
    """By which greylisted addresses were asked."""

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        return answer(address, checks=checks)

    async def verify_many(self, addresses: Iterable[Address], checks: Checks) -> VerificationStream:
        addresses = list(addresses)
        self.calls.append([address.raw for address in addresses])
        self.before(addresses)
        for address in addresses:
            self.asked.append(address.raw)
            if address.raw in self.failing:
                continue
            if address.raw in self.greylisted:
                greylisted = answer(address, Verdict.UNKNOWN, Reason.GREYLISTED, checks)
                if self.egress:
                    smtp = Smtp(Meaning.GREYLISTED, Stage.RCPT, egress=self.egress)
                    evidence = replace(greylisted.evidence, smtp=smtp)
                    greylisted = replace(greylisted, evidence=evidence)
                yield address, greylisted
            elif meaning := self._refusal(address):
                yield address, refusal(address, meaning, checks)
            else:
                yield address, answer(address, checks=checks)

    def _refusal(self, address: Address) -> Meaning | None:
        return self.refused.get(address.raw) or self.refused.get(f"@{address.domain}")


def refusal(address: Address, meaning: Meaning, checks: Checks) -> Verification:
    """What the engine makes of a reply with `meaning`, or of the absence of a connection."""
    connected = meaning is not Meaning.UNREACHABLE
    smtp = Smtp(meaning, Stage.RCPT if connected else Stage.CONNECT, connected=connected)
    at = datetime(2026, 5, 15, 10, 30, tzinfo=UTC)
    provider = "google" if address.domain == "gmail.com" else None
    evidence = Evidence(dns=Dns.MX, smtp=smtp, provider=provider)
    return verification_from_evidence(address, evidence, checks, verified_at=at)


@dataclass
class Bench:
    """Everything a test of batches needs."""

    store: Store
    accounts: Accounts
    batch_services: BatchServices
    clock: Clock
    verifier: Scripted
    verdicts: VerdictCache
    posts: list[tuple[str, bytes]]
    replies: list[str]
    sent: defaultdict[str, asyncio.Event]
    """Set when a webhook to the URL was sent."""
    sent_headers: list[dict[str, str]]
    """Further headers of each post."""

    async def caller(self, dialect: str = "generic", *, credits: int | None = None) -> Caller:
        account = await self.accounts.create_account(credits=credits)
        key = (await self.accounts.create_key(account, dialect)).key
        caller = await self.accounts.authenticate(dialect, key)
        assert caller is not None
        return caller

    async def submit(
        self, caller: Caller, emails: Sequence[str], *, retries: bool = True, url: str = ""
    ) -> Job:
        op = SubmitJob(entries=map(BatchEntry, emails), retry_greylisted=retries, webhook_url=url)
        return await self.jobs(caller).submit(op)

    def jobs(self, caller: Caller) -> JobRunner:
        return self.batch_services.operations.jobs_of(BY_NAME[caller.dialect], caller)

    async def found(self, caller: Caller, job: Job) -> JobRows:
        return await self.jobs(caller).read_rows(ReadRows(job_id=job.id))

    async def rows(self, caller: Caller, job: Job) -> list[JobRow]:
        return [row async for row in (await self.found(caller, job)).rows]

    async def show(self, caller: Caller, job: Job) -> Job:
        return (await self.found(caller, job)).job

    async def state(self, caller: Caller, job: Job) -> JobState:
        return (await self.show(caller, job)).state

    async def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        await self.batch_services.drain()


@asynccontextmanager
async def open_bench(
    url: str,
    clock: Callable[[], float] | None = None,
    verifier: Scripted | None = None,
    *,
    work: bool = False,
    waits: bool = False,
    post_webhook: PostWebhook | None = None,
    dispatch: Dispatch | None = None,
    egresses: Collection[str] | None = None,
) -> AsyncIterator[Bench]:
    clock = clock or Clock()
    verifier = verifier or Scripted()
    posts: list[tuple[str, bytes]] = []
    replies: list[str] = []
    sent_headers: list[dict[str, str]] = []
    sent: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def post(
        url: str,
        body: bytes,
        *,
        headers: Mapping[str, str] = {},
        is_accepted: Callable[[int], bool] = is_200,
    ) -> str:
        sent_headers.append(dict(headers))
        if replies and replies[0].startswith("HTTP "):
            status = int(replies.pop(0).removeprefix("HTTP "))
            posts.append((url, body))
            sent[url].set()
            return "" if is_accepted(status) else f"HTTP {status}"
        posts.append((url, body))
        sent[url].set()
        return replies.pop(0) if replies else ""

    verdicts = VerdictCache(ttl_s=dict.fromkeys(Verdict, 60), clock=clock)
    async with (
        open_store(url) as store,
        open_accounts(store, ALL, clock=clock) as accounts,
        open_batches(
            BatchDependencies(
                store=store,
                billing=accounts,
                dialects=ALL,
                verdicts=verdicts,
                choose_verifier=always_use(verifier, is_remote=waits),
                retries_s=RETRIES_S,
                base_url=lambda: "http://veriplex.test",
                fetch=fetch_nothing,
                post_webhook=post_webhook or post,
                clock=clock,
                dispatch=dispatch or EmbeddedDispatch(),
                egresses=egresses,
            ),
            run_workers=work,
        ) as services,
    ):
        fake_clock = clock if isinstance(clock, Clock) else Clock()
        yield Bench(
            store,
            accounts,
            services,
            fake_clock,
            verifier,
            verdicts,
            posts,
            replies,
            sent,
            sent_headers,
        )


@pytest.fixture(params=["memory", "file", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return server.empty_database()
    return "sqlite:///:memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'v.db'}"


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_bench("sqlite:///:memory:") as opened:
        yield opened
