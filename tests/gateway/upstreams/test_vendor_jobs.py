"""Batches that upstreams get as lists of their own."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from adapters.contract.dialect import Dialect
from adapters.contract.jobs import BatchEntry, Job, JobRow, JobState
from adapters.contract.operations import JobRunner, ListJobs, ReadRows, SubmitJob
from adapters.contract.upstream import UpstreamReply, UpstreamResult
from adapters.contract.upstream_jobs import ResultPage
from engine.model import Address, Checks, Evidence, Reason, Verdict, Verification
from gateway.accounts.accounts import Accounts, open_accounts
from gateway.accounts.caller import Caller
from gateway.batches.opening import BatchDependencies, BatchServices, open_batches
from gateway.sandbox.fetching import fetch_nothing
from gateway.settings import Settings
from gateway.store import Store, open_store
from gateway.store.tables import vendor_lists
from gateway.upstreams.batches.polling import UNREACHABLE_LIMIT_S
from gateway.upstreams.opening import PolicyServices, open_policy
from gateway.verdicts.cache import VerdictCache
from gateway.verdicts.verifier import OneByOne
from tests.dialects import ALL
from tests.fakes.clock import Clock
from tests.fakes.list_vendor import ListVendor
from tests.fakes.vendor import GOOD_KEY, Mood
from tests.gateway.upstreams.conftest import BY_NAME, Local, settings_for

CLIENT = BY_NAME["generic"]
PEOPLE = tuple(f"person{n}@example{n % 3}.com" for n in range(25))
LISTING = tuple(name for name, dialect in BY_NAME.items() if dialect.vendor_jobs)


def quick(dialect: Dialect) -> Dialect:
    """Without the pauses that are polite to a real vendor."""
    if dialect.vendor_jobs is None:
        return dialect
    lists = replace(
        dialect.vendor_jobs, first_poll_delay_s=0.01, max_poll_delay_s=0.02, min_addresses=10
    )
    return replace(dialect, vendor_jobs=lists)


@contextlib.asynccontextmanager
async def vendor(dialect: str = "emailable", **options: object) -> AsyncIterator[ListVendor]:
    made = ListVendor(BY_NAME[dialect], **options)  # type: ignore[arg-type]
    await made.start()
    try:
        yield made
    finally:
        await made.kill()


@dataclass
class Bench:
    """A desk whose batches go through the policy."""

    store: Store
    accounts: Accounts
    opened: PolicyServices
    desk: BatchServices
    clock: Clock
    label: str

    async def caller(self) -> Caller:
        account = await self.accounts.create_account()
        made = await self.accounts.create_key(account, CLIENT.name, label=self.label)
        caller = await self.accounts.authenticate(CLIENT.name, made.key)
        assert caller is not None
        return caller

    async def submit(
        self, emails: Sequence[str] = PEOPLE, checks: Checks = Checks(), *, retries: bool = True
    ) -> Caller:
        caller = await self.caller()
        entries = map(BatchEntry, emails)
        op = SubmitJob(entries=entries, checks=checks, retry_greylisted=retries)
        await self.jobs(caller).submit(op)
        return caller

    def jobs(self, caller: Caller) -> JobRunner:
        return self.desk.operations.jobs_of(CLIENT, caller)

    async def job(self, caller: Caller) -> Job:
        return (await self.jobs(caller).list_page(ListJobs())).jobs[0]

    async def rows(self, caller: Caller) -> list[JobRow]:
        job = await self.job(caller)
        found = await self.jobs(caller).read_rows(ReadRows(job_id=job.id))
        return [row async for row in found.rows]

    async def verified(
        self, emails: Sequence[str] = PEOPLE, checks: Checks = Checks()
    ) -> dict[str, Verification]:
        """What comes of a batch."""
        caller = await self.submit(emails, checks)
        await self.desk.drain()
        assert (await self.job(caller)).state is JobState.COMPLETED
        return {row.email: row.verification for row in await self.rows(caller)}


async def no_webhook(url: str, body: bytes, **_: object) -> str:
    raise AssertionError(f"nothing is posted here: {body!r} to {url}")


@contextlib.asynccontextmanager
async def bench(
    settings: Settings,
    *,
    local: Local | None = None,
    label: str = "a key",
    url: str = "sqlite:///:memory:",
    clock: Clock | None = None,
    dialects: Sequence[Dialect] = ALL,
) -> AsyncIterator[Bench]:
    clock = clock or Clock()
    engine = local or Local()
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(url))
        accounts = await stack.enter_async_context(open_accounts(store, ALL, clock=clock))
        opened = await stack.enter_async_context(
            open_policy(
                settings,
                [quick(dialect) for dialect in dialects],
                store,
                engine,
                OneByOne(engine),
                clock=clock,
                monotonic=time.monotonic,
                rng=random.Random(1),
            )
        )
        ttl_s = dict.fromkeys(Verdict, 0)
        desk = await stack.enter_async_context(
            open_batches(
                BatchDependencies(
                    store=store,
                    billing=accounts,
                    dialects=ALL,
                    verdicts=VerdictCache(ttl_s=ttl_s, clock=clock, store=None),
                    choose_verifier=opened.bulk.choose_verifier,
                    chunk_size=opened.bulk.chunk_size,
                    retries_s=(5.0,),
                    base_url=lambda: "http://veriplex.test",
                    fetch=fetch_nothing,
                    post_webhook=no_webhook,
                    clock=clock,
                ),
                run_workers=False,
            )
        )
        yield Bench(store, accounts, opened, desk, clock, label)


def by_local_part(email: str) -> tuple[Verdict, Reason]:
    return {
        "good": (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        "bad": (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
        "open": (Verdict.RISKY, Reason.CATCH_ALL),
        "dark": (Verdict.UNKNOWN, Reason.NO_CONNECT),
    }[email.partition(".")[0]]


MIXED = tuple(
    f"{kind}.{n}@example.com" for n in range(5) for kind in ("good", "bad", "open", "dark")
)


# -- what a list is ----------------------------------------------------------------------


@pytest.mark.parametrize("dialect", LISTING)
async def test_a_batch_is_one_list_at_the_vendor(dialect: str) -> None:
    async with vendor(dialect, says=by_local_part) as v, bench(settings_for([v])) as here:
        found = await here.verified(MIXED)
        assert [sorted(emails) for emails in v.created] == [sorted(MIXED)]
        assert not v.asked
    assert {email: by_local_part(email)[0] for email in MIXED} == {
        email: verified.verdict for email, verified in found.items()
    }
    assert {verified.source for verified in found.values()} == {"v0"}


@pytest.mark.parametrize("retries", [True, False])
async def test_that_the_client_wants_no_retries_is_passed_on(retries: bool) -> None:
    async with vendor() as v, bench(settings_for([v])) as here:
        caller = await here.submit(retries=retries)
        await here.desk.drain()
        assert (await here.job(caller)).state is JobState.COMPLETED
        assert v.retried == [retries]


async def test_few_addresses_are_asked_one_by_one() -> None:
    async with vendor() as v, bench(settings_for([v])) as here:
        found = await here.verified(PEOPLE[:5])
        assert len(found) == 5
        assert not v.created
        assert v.asked[GOOD_KEY] == 5


async def test_the_settings_say_from_how_many_on() -> None:
    async with vendor() as v:
        async with bench(settings_for([v], upstream={"bulk_from": 3})) as here:
            await here.verified(PEOPLE[:5])
            assert len(v.created) == 1
        async with bench(settings_for([v], upstream={"bulk": False})) as here:
            await here.verified(PEOPLE)
            assert len(v.created) == 1
            assert v.asked[GOOD_KEY] == len(PEOPLE)


async def test_a_list_has_no_more_addresses_than_it_may() -> None:
    async with vendor() as v, bench(settings_for([v], upstream={"bulk_size": 10})) as here:
        assert len(await here.verified(PEOPLE)) == 25
        # the third piece of work is too small for a list
        assert [len(emails) for emails in v.created] == [10, 10]
        assert v.asked[GOOD_KEY] == 5


async def test_malformed_addresses_are_submitted_to_no_vendor() -> None:
    async with vendor() as v, bench(settings_for([v])) as here:
        found = await here.verified((*PEOPLE, "no address"))
        assert found["no address"].reason is Reason.INVALID_EMAIL
        assert "no address" not in v.created[0]
        assert not v.asked


async def test_a_batch_without_smtp_is_not_given_away() -> None:
    async with vendor() as v, bench(settings_for([v])) as here:
        await here.verified(PEOPLE, Checks(dns=True, smtp=False, catch_all=False))
        assert not v.created


async def test_rows_that_are_missing_are_asked_one_by_one() -> None:
    lost = set(PEOPLE[3:6])
    async with vendor(lost=lost) as v, bench(settings_for([v])) as here:
        found = await here.verified()
        assert {verified.verdict for verified in found.values()} == {Verdict.DELIVERABLE}
        assert v.asked[GOOD_KEY] == 3
        assert len(v.created) == 1


async def test_a_list_is_polled_until_it_is_done() -> None:
    async with vendor(polls_until_done=4) as v, bench(settings_for([v])) as here:
        assert len(await here.verified()) == 25
        assert v.polls >= 4
        assert len(v.created) == 1


async def test_a_list_that_waits_to_be_started_is_started() -> None:
    async with vendor("validto", stays=JobState.READY) as v, bench(settings_for([v])) as here:
        assert len(await here.verified()) == 25
        assert not v.asked


def answering_at_once(dialect: Dialect, lost: Sequence[str] = ()) -> Dialect:
    """The dialect, as if its vendor had the results in the reply to a create."""
    assert dialect.vendor_jobs is not None

    def parse(_: UpstreamReply, addresses: Sequence[Address], __: Checks) -> ResultPage:
        result = UpstreamResult(Verdict.RISKY, Reason.CATCH_ALL, Evidence())
        return ResultPage(
            tuple((address.raw, result) for address in addresses if address.raw not in lost)
        )

    create = replace(dialect.vendor_jobs.create, parse=parse)
    return replace(dialect, vendor_jobs=replace(dialect.vendor_jobs, create=create))


async def test_results_that_come_with_the_create_are_taken() -> None:
    dialects = [answering_at_once(dialect) for dialect in ALL if dialect.vendor_jobs]
    async with vendor() as v, bench(settings_for([v]), dialects=dialects) as here:
        found = await here.verified()
        assert {result.verdict for result in found.values()} == {Verdict.RISKY}
        assert len(v.created) == 1
        assert v.polls == 0
        assert not v.asked
        # a job that was left in the table would count as lost, and stop further creates
        async with here.store.read() as connection:
            assert (await connection.execute(select(vendor_lists))).all() == []


async def test_addresses_missing_in_the_reply_to_a_create_are_verified_one_by_one() -> None:
    dialects = [answering_at_once(dialect, PEOPLE[:3]) for dialect in ALL if dialect.vendor_jobs]
    async with vendor() as v, bench(settings_for([v]), dialects=dialects) as here:
        found = await here.verified()
        assert {email for email in found if found[email].verdict is Verdict.DELIVERABLE} == set(
            PEOPLE[:3]
        )
        assert v.asked[GOOD_KEY] == 3


# -- when something goes wrong -------------------------------------------------------------


@pytest.mark.parametrize("mood", [Mood.RESET, Mood.ERROR, Mood.UNAVAILABLE])
async def test_a_create_that_may_have_worked_is_never_repeated(mood: Mood) -> None:
    async with (
        vendor(create_mood=mood) as v,
        vendor("validto") as other,
        bench(settings_for([v, other])) as here,
    ):
        found = await here.verified()
        assert len(v.created) == 1
        assert len(other.created) == 1
        assert {verified.source for verified in found.values()} == {"v1"}


async def test_nor_by_the_next_piece_of_the_same_batch() -> None:
    async with (
        vendor(create_mood=Mood.ERROR) as v,
        bench(settings_for([v], upstream={"bulk_size": 12})) as here,
    ):
        assert len(await here.verified(PEOPLE[:24])) == 24
        assert len(v.created) == 1
        assert v.asked[GOOD_KEY] == 24


async def test_a_vendor_that_takes_no_list_now_is_asked_one_by_one() -> None:
    async with (
        vendor(create_mood=Mood.THROTTLED, retry_after_s=3600) as v,
        bench(settings_for([v])) as here,
    ):
        assert len(await here.verified()) == 25
        assert len(v.created) == 1
        assert v.asked[GOOD_KEY] == 25
        await here.verified()
        assert len(v.created) == 1


async def test_a_key_that_is_refused_leads_on() -> None:
    async with (
        vendor(keys=set()) as v,
        vendor("generic") as other,
        bench(settings_for([v, other])) as here,
    ):
        found = await here.verified()
        assert {verified.source for verified in found.values()} == {"v1"}
        assert here.opened.upstreams[0].keys.all_dead


async def test_a_vendor_that_dies_is_given_up() -> None:
    async with (
        vendor(polls_until_done=10**6) as v,
        vendor("whoisxml") as other,
        bench(settings_for([v, other])) as here,
    ):
        caller = await here.submit()
        working = asyncio.create_task(here.desk.drain())
        v.poll_mood = Mood.RESET
        await v.poll()
        await v.poll()
        here.clock.now += UNREACHABLE_LIMIT_S + 1
        await working
        assert {row.verification.source for row in await here.rows(caller)} == {"v1"}
        assert (await here.job(caller)).state is JobState.COMPLETED


async def test_the_addresses_of_a_vendor_that_dies_go_on_within_a_minute() -> None:
    async with (
        vendor(polls_until_done=10**6) as v,
        vendor("whoisxml") as other,
        bench(settings_for([v, other])) as here,
    ):
        caller = await here.submit()
        working = asyncio.create_task(here.desk.drain())
        await v.poll()
        v.poll_mood = Mood.RESET
        await v.poll()
        await v.poll()
        assert not other.created
        here.clock.now += 59
        await working
        assert [sorted(emails) for emails in other.created] == [sorted(PEOPLE)]
        assert {row.verification.source for row in await here.rows(caller)} == {"v1"}


async def test_they_wait_for_it_while_no_other_source_can_take_them() -> None:
    async with (
        vendor(polls_until_done=10**6) as v,
        vendor("whoisxml", keys=set()) as other,
        bench(settings_for([v, other])) as here,
    ):
        other_key = here.opened.upstreams[1].keys
        other_key.mark_refused(other_key.keys[0])
        caller = await here.submit()
        working = asyncio.create_task(here.desk.drain())
        await v.poll()
        v.poll_mood = Mood.RESET
        here.clock.now += 59
        await v.poll()
        await v.poll()
        v.poll_mood, v.polls_until_done = Mood.GOOD, 0
        await working
        assert {row.verification.source for row in await here.rows(caller)} == {"v0"}
        assert len(v.created) == 1


async def test_a_vendor_that_is_throttled_is_not_dead() -> None:
    async with (
        vendor(polls_until_done=10**6) as v,
        vendor("whoisxml") as other,
        bench(settings_for([v, other])) as here,
    ):
        caller = await here.submit()
        working = asyncio.create_task(here.desk.drain())
        await v.poll()
        v.poll_mood, v.retry_after_s = Mood.THROTTLED, 0
        for _ in range(4):
            here.clock.now += 40
            await v.poll()
        v.poll_mood, v.polls_until_done = Mood.GOOD, 0
        await working
        assert {row.verification.source for row in await here.rows(caller)} == {"v0"}
        assert not other.created


async def test_a_list_that_was_given_up_is_gone_on_with_when_its_vendor_is_back() -> None:
    circuit = {"pause_s": 0.05, "max_pause_s": 0.1}
    async with (
        vendor(polls_until_done=10**6) as v,
        bench(settings_for([v], circuit=circuit)) as here,
    ):
        caller = await here.submit()
        working = asyncio.create_task(here.desk.drain())
        v.poll_mood = v.mood = Mood.RESET
        await v.poll()
        await v.poll()
        here.clock.now += UNREACHABLE_LIMIT_S + 1
        await working
        assert (await here.job(caller)).done_count == 0
        v.poll_mood, v.mood, v.polls_until_done = Mood.GOOD, Mood.GOOD, 0
        v.asked.clear()
        here.clock.now += 400
        await here.desk.drain()
        assert (await here.job(caller)).state is JobState.COMPLETED
        assert len(v.created) == 1
        assert not v.asked


async def test_a_vendor_that_stumbles_is_not() -> None:
    async with (
        vendor(polls_until_done=3, poll_mood=Mood.UNAVAILABLE, retry_after_s=0) as v,
        bench(settings_for([v])) as here,
    ):
        await here.submit()
        working = asyncio.create_task(here.desk.drain())
        await v.poll()
        await v.poll()
        v.poll_mood = Mood.GOOD
        await working
        assert len(v.created) == 1
        assert not v.asked


async def test_a_list_that_takes_too_long_is_given_up() -> None:
    async with (
        vendor(polls_until_done=10**6) as v,
        bench(settings_for([v], upstream={"bulk_deadline_s": 60.0})) as here,
    ):
        await here.submit()
        working = asyncio.create_task(here.desk.drain())
        await v.poll()
        here.clock.now += 61
        await working
        assert v.asked[GOOD_KEY] == 25


@pytest.mark.parametrize("stays", [JobState.FAILED, JobState.CANCELLED])
async def test_a_list_that_fails_at_the_vendor_is_given_up(stays: JobState) -> None:
    async with vendor("validto", stays=stays) as v, bench(settings_for([v])) as here:
        assert len(await here.verified()) == 25
        assert len(v.created) == 1
        assert v.asked[GOOD_KEY] == 25


# -- when we are killed ------------------------------------------------------------------


@contextlib.asynccontextmanager
async def killed(
    v: ListVendor, settings: Settings, url: str, until: Callable[[], Any]
) -> AsyncIterator[tuple[Bench, Caller]]:
    """A desk whose predecessor ended in the middle of a batch."""
    clock = Clock()
    async with bench(settings, url=url, clock=clock) as first:
        caller = await first.submit()
        working = asyncio.create_task(first.desk.drain())
        await until()
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
    async with bench(settings, url=url, clock=clock) as second:
        yield second, caller


async def test_a_list_is_gone_on_with_after_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'v.db'}"
    async with vendor("generic", polls_until_done=10**6) as v:
        async with killed(v, settings_for([v]), url, v.poll) as (here, caller):
            v.polls_until_done = 0
            await here.desk.drain()
            assert (await here.job(caller)).state is JobState.COMPLETED
            assert len(await here.rows(caller)) == 25
        assert len(v.created) == 1
        assert not v.asked


async def test_a_create_that_was_cut_off_is_not_repeated(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'v.db'}"
    async with vendor(create_mood=Mood.HANG) as v:
        async with killed(v, settings_for([v]), url, v.poll) as (here, caller):
            v.create_mood = Mood.GOOD
            await here.desk.drain()
            assert len(await here.rows(caller)) == 25
        assert len(v.created) == 1
        assert v.asked[GOOD_KEY] == 25


# -- the policy's rules --------------------------------------------------------------------


async def test_a_waterfall_goes_on_with_what_was_not_found_out() -> None:
    routing = {"strategy": "waterfall"}
    async with vendor(says=by_local_part) as v, vendor("validto") as other:
        settings = settings_for([v, other], routing=routing, upstream={"bulk_from": 5})
        async with bench(settings) as here:
            found = await here.verified(MIXED)
            again = sorted(email for email in MIXED if email.startswith(("open", "dark")))
            assert [sorted(emails) for emails in other.created] == [again]
    assert found["good.1@example.com"].source == "v0"
    assert found["dark.1@example.com"].verdict is Verdict.DELIVERABLE


async def test_the_last_cent_is_not_spent_twice() -> None:
    costs = {"price": 0.01, "monthly_budget": 0.30}
    async with vendor() as v, bench(settings_for([v], upstream=costs)) as here:
        await here.verified()
        assert len(v.created[0]) == 25
        caller = await here.submit([f"late{n}@example.com" for n in range(20)])
        await here.desk.drain()
        # there was enough for five more, one by one
        assert len(v.created) == 1
        assert v.asked[GOOD_KEY] == 5
        assert (await here.job(caller)).done_count == 5
        assert await here.opened.budgets.spent("source:v0") == (300_000, 300_000)


async def test_a_list_that_was_not_taken_costs_nothing() -> None:
    costs = {"price": 0.01, "monthly_budget": 1.0}
    async with vendor(create_mood=Mood.EMPTY) as v, vendor("generic") as other:
        settings = settings_for([v, other], v0=costs)
        async with bench(settings) as here:
            v.mood = Mood.EMPTY
            await here.verified()
            assert await here.opened.budgets.spent("source:v0") == (0, 0)


async def test_a_key_goes_by_its_own_route() -> None:
    async with vendor() as v, vendor("validto") as mine:
        route = {"name": "mine", "keys": ["my key"], "order": ["v1"], "monthly_budget": 0.1}
        settings = settings_for(
            [v, mine], routes=[route], routing={"order": ["v0"]}, v1={"price": 0.001}
        )
        async with bench(settings, label="my key") as here:
            found = await here.verified()
            assert {verified.source for verified in found.values()} == {"v1"}
            assert not v.created
            caller = await here.caller()
            spent = await here.opened.budgets.spent(f"key:{caller.key_id - 1}")
            assert spent == (25_000, 25_000)


async def test_the_engine_first_and_a_list_of_the_rest() -> None:
    async with vendor() as v:
        settings = settings_for([v], routing={"order": ["local", "v0"]})
        async with bench(settings, local=Local(Verdict.UNKNOWN)) as here:
            found = await here.verified()
            assert {verified.source for verified in found.values()} == {"v0"}
        async with bench(settings, local=Local(Verdict.UNDELIVERABLE)) as here:
            found = await here.verified()
            assert {verified.source for verified in found.values()} == {"local"}
            assert len(v.created) == 1


async def test_a_batch_waits_while_no_source_can_answer() -> None:
    circuit = {"pause_s": 0.05, "max_pause_s": 0.1}
    async with vendor() as v, bench(settings_for([v], circuit=circuit)) as here:
        await v.kill()
        caller = await here.submit()
        await here.desk.drain()
        job = await here.job(caller)
        assert (job.state, job.done_count) == (JobState.RUNNING, 0)
        await v.start()
        here.clock.now += 400
        await here.desk.drain()
        assert (await here.job(caller)).state is JobState.COMPLETED
        assert {row.verification.verdict for row in await here.rows(caller)} == {
            Verdict.DELIVERABLE
        }


async def test_or_not_if_the_settings_want_an_unknown() -> None:
    routing = {"on_failure": "unknown"}
    async with vendor() as v, bench(settings_for([v], routing=routing)) as here:
        await v.kill()
        found = await here.verified()
        assert {verified.source for verified in found.values()} == {"none"}
        assert {verified.verdict for verified in found.values()} == {Verdict.UNKNOWN}


async def test_lists_are_completed_like_single_answers() -> None:
    class Looked(Local):
        async def verify(
            self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
        ) -> Verification:
            found = await super().verify(address, checks, deadline_s)
            evidence = replace(found.evidence, spf=True, dmarc=False)
            return replace(found, evidence=evidence)

    async with vendor("validto") as v:
        routing = {"complete": "dns"}
        async with bench(settings_for([v], routing=routing), local=Looked()) as here:
            found = await here.verified([*PEOPLE, "no-reply@example.com"])
    assert found["no-reply@example.com"].evidence.no_reply
    assert found[PEOPLE[0]].evidence.spf
    assert found[PEOPLE[0]].verdict is Verdict.DELIVERABLE


@pytest.mark.parametrize("dialect", LISTING)
async def test_the_steps_of_a_list_are_recorded_without_keys_and_addresses(
    dialect: str, tmp_path: Path
) -> None:
    emails = [f"private{n}.person@secret-firm{n}.example" for n in range(12)]
    recording = {"record": True, "record_to": str(tmp_path)}
    async with (
        vendor(dialect, polls_until_done=2) as v,
        bench(settings_for([v], upstream=recording)) as here,
    ):
        await here.verified(emails)
        jobs = {v._id(1)}
    cases = [file.read_text() for file in (tmp_path / dialect).glob("*.json")]
    # a vendor that answers at once is asked once
    assert len(cases) >= (3 if v.polls else 1)
    for text in cases:
        for private in (GOOD_KEY, "private", "secret-firm", *jobs):
            assert private not in text
