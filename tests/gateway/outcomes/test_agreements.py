"""The agreement of shadow sources in the database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from engine.address.syntax import parse_address
from engine.model import Evidence, MxHost, Verdict
from gateway.outcomes.agreements import (
    AgreementRecorder,
    AgreementRecords,
    VerdictPair,
    make_agreement,
)
from gateway.outcomes.recorder import provider_name, provider_of_either
from gateway.store import Store, StoreError, open_store
from tests.gateway.batches.conftest import answer

D, U, N = Verdict.DELIVERABLE, Verdict.UNDELIVERABLE, Verdict.UNKNOWN
NOON = 1_780_000_000.0
DAY = 86_400.0


def pair(shadow: Verdict, verdict: Verdict, provider: str = "google") -> VerdictPair:
    return VerdictPair("zerobounce", "local", provider, shadow, verdict)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with open_store(database_url) as opened:
        yield opened


async def test_processes_and_days_add_up(store: Store) -> None:
    records, moment = AgreementRecords(store), [NOON]
    first, second = (
        AgreementRecorder(records, keep_s=90 * DAY, clock=lambda: moment[0]) for _ in range(2)
    )
    for recorder in (first, second):
        for moment[0] in (NOON, NOON + DAY):
            for _ in range(3):
                recorder.record(pair(D, D))
            recorder.record(pair(U, D, "yahoo"))
            await recorder.write()
            await recorder.write()  # nothing waits any more
    every, google, yahoo = await records.figures()
    assert (every.provider, google.provider, yahoo.provider) == ("", "google", "yahoo")
    assert (every.agreement.same.hits, every.agreement.same.count) == (12, 16)
    assert every.verdicts == {(D, D): 12, (U, D): 4}
    assert (google.agreement.kappa, yahoo.agreement.same.hits) == (None, 0)


async def test_old_days_are_removed(store: Store) -> None:
    records, now = AgreementRecords(store), NOON
    recorder = AgreementRecorder(records, keep_s=2 * DAY, clock=lambda: now)
    for days in range(5):
        now = NOON + days * DAY
        recorder.record(pair(D, D))
        await recorder.write()
    await recorder.purge()
    assert await records.counts() == {pair(D, D): 3}  # today, and the two days before


async def test_nothing_is_lost_while_the_database_is_away() -> None:
    class Away:
        is_away = True
        added: Any = None

        async def add(self, counts: Any) -> None:
            if self.is_away:
                raise StoreError("the database", "away")
            self.added = counts

    away = Away()
    recorder = AgreementRecorder(away, keep_s=DAY, clock=lambda: NOON)  # type: ignore[arg-type]
    recorder.record(pair(D, D))
    with pytest.raises(StoreError):
        await recorder.write()
    recorder.record(pair(D, D))
    away.is_away = False
    await recorder.write()
    assert list(away.added.values()) == [2]


@pytest.mark.parametrize(
    ("email", "evidence", "name"),
    [
        ("ada@gmail.com", Evidence(), "google"),
        ("ada@gmail.com", Evidence(mx=(MxHost("mx.example.com", 10),)), "google"),
        ("ada@gmail.com", Evidence(provider="yahoo"), "google"),
        ("ada@example.com", Evidence(mx=(MxHost("aspmx.l.google.com", 10),)), "google"),
        ("ada@example.com", Evidence(mx=(MxHost("mx.example.com", 10),)), "other"),
        ("ada@example.com", Evidence(), "not known"),
    ],
)
def test_all_sources_count_for_the_same_provider_of_a_well_known_domain(
    email: str, evidence: Evidence, name: str
) -> None:
    found = replace(answer(parse_address(email)), evidence=evidence)
    assert provider_name(found) == name
    assert provider_of_either(replace(found, evidence=Evidence()), found) == name


def test_the_largest_provider_comes_first() -> None:
    counts = {pair(D, D, "yahoo"): 2, pair(N, D, "google"): 1, pair(U, U, "google"): 4}
    assert [row.provider for row in make_agreement(counts)] == ["", "google", "yahoo"]
