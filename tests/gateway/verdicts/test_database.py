"""Answers that survive a restart."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from engine.address import syntax
from engine.model import Checks, Dns, Evidence, MxHost, Reason, Verdict, Verification
from gateway.store import Store, open_store
from gateway.store.tables import answers as rows
from gateway.verdicts.cache import VerdictCache
from gateway.verdicts.database import SqlVerdictStore

NOW = datetime(2026, 5, 15, 10, 30, tzinfo=UTC)


class Clock:
    now = NOW.timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with open_store(database_url) as opened:
        yield opened


def verification(email: str) -> Verification:
    evidence = Evidence(dns=Dns.MX, mx=(MxHost("mx.example.com", 10),), catch_all=False)
    address = syntax.parse_address(email)
    return Verification(
        address, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL, 95, evidence, Checks(), NOW
    )


async def restarted(store: Store, clock: Clock, most: int = 100) -> SqlVerdictStore:
    answers = SqlVerdictStore(store, max_entries=most, clock=clock)
    await answers.load_digests()
    return answers


async def test_what_was_written_is_found_after_a_restart(store: Store) -> None:
    clock = Clock()
    answers = await restarted(store, clock)
    v = verification("xk29qz@example.com")
    answers.put("", v, clock() + 100)
    await answers.write()
    again = await restarted(store, clock)
    found = await again.get_many("", [v.address], [v.checks])
    assert found == {v.address.normalized: (replace(v, cached=True), clock() + 100)}


@pytest.mark.parametrize(
    ("email", "checks", "shares"),
    [
        ("bob@example.com", Checks(), ""),
        ("Ann@example.com", Checks(), ""),
        ("ann@example.com", Checks(smtp=False), ""),
        ("ann@example.com", Checks(policies=True), ""),
        ("ann@example.com", Checks(), "another route"),
    ],
)
async def test_another_question_is_not_served(
    store: Store, email: str, checks: Checks, shares: str
) -> None:
    answers = await restarted(store, Clock())
    answers.put("", verification("ann@example.com"), NOW.timestamp() + 100)
    await answers.write()
    assert await answers.get_many(shares, [syntax.parse_address(email)], [checks]) == {}


async def test_what_expired_is_neither_found_nor_kept(store: Store) -> None:
    clock = Clock()
    answers = await restarted(store, clock)
    v = verification("ann@example.com")
    answers.put("", v, clock() + 100)
    await answers.write()
    clock.now += 101
    assert await answers.get_many("", [v.address], [v.checks]) == {}
    await answers.purge()
    async with store.read() as connection:
        assert (await connection.execute(select(rows.c.digest))).all() == []


async def test_there_are_never_too_many(store: Store) -> None:
    clock = Clock()
    answers = await restarted(store, clock, most=10)
    for number in range(50):
        answers.put("", verification(f"a{number}@example.com"), clock() + 100 + number)
    await answers.write()
    await answers.purge()
    async with store.read() as connection:
        kept = (await connection.execute(select(rows.c.expires_at))).scalars().all()
    assert sorted(kept) == [int(clock()) + 140 + number for number in range(10)]


async def test_no_address_is_written_down(store: Store, tmp_path: Path) -> None:
    answers = await restarted(store, Clock())
    answers.put("", verification("ann@bücher.example"), NOW.timestamp() + 100)
    await answers.write()
    async with store.read() as connection:
        (kept,) = (await connection.execute(select(rows.c.answer))).scalars()
    assert b"ann" not in kept
    assert b"cher" not in kept


async def never() -> Verification:
    raise AssertionError("verified again")


async def test_the_cache_survives_a_restart(store: Store) -> None:
    clock = Clock()
    answers = await restarted(store, clock)
    v = verification("ann@example.com")
    answers.put("", v, clock() + 100)
    await answers.write()
    ttl_s = dict.fromkeys(Verdict, 100.0)
    verdicts = VerdictCache(ttl_s=ttl_s, clock=clock, store=await restarted(store, clock))
    found = await verdicts.verify(v.address, Checks(smtp=False, catch_all=False), never).task
    assert found.verdict is Verdict.DELIVERABLE
    assert found.cached
    assert verdicts.get(v.address, Checks()) is not None


async def test_of_several_verdicts_the_first_wanted_is_found(store: Store) -> None:
    clock = Clock()
    answers = await restarted(store, clock)
    full = verification("ann@example.com")
    narrow = replace(full, checks=Checks(smtp=False), score=7)
    for v in (full, narrow):
        answers.put("", v, clock() + 100)
    await answers.write()
    for wanted in (narrow, full):
        other = full if wanted is narrow else narrow
        found = await answers.get_many("", [full.address], [wanted.checks, other.checks])
        assert found[full.address.normalized][0].score == wanted.score


async def test_what_another_process_writes_is_found_unless_this_one_is_alone(store: Store) -> None:
    clock = Clock()
    v = verification("xk29qz@example.com")
    here = {
        alone: SqlVerdictStore(store, max_entries=1, clock=clock, is_alone=partial(bool, alone))
        for alone in (True, False)
    }
    for answers in here.values():
        await answers.load_digests()
    other = await restarted(store, clock)
    for number, email in enumerate(("xk29qz@example.com", "other@example.com")):
        other.put("", verification(email), clock() + 100 + number)
    await other.write()
    found = {
        alone: len(await answers.get_many("", [v.address], [v.checks]))
        for alone, answers in here.items()
    }
    assert found == {True: 0, False: 1}
    await here[False].purge()
    async with store.read() as connection:
        left = (await connection.execute(select(rows.c.expires_at))).scalars().all()
    assert left == [int(clock()) + 101], "too many are counted, whoever wrote them"
