"""What the server did is counted in the database, by time."""

from __future__ import annotations

import pytest

from engine.model import Attempt
from gateway.observability.activity import (
    LATENCY_BOUNDS_MS,
    ActivityCounter,
    Counts,
    Outcome,
    Subject,
    Tally,
    outcome_of,
    percentile_ms,
)
from gateway.observability.activity_log import (
    KEPT_S,
    MINUTE_S,
    QUARTER_DAY_S,
    QUARTER_S,
    ActivityLog,
    open_activity_log,
)
from gateway.store import open_store

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000


def counter_of_a_call() -> ActivityCounter:
    counter = ActivityCounter()
    counter.count_request("emailable", 200, "acme", "deliverable", 0.012)
    counter.count_attempt(Attempt("acme", "deliverable", 11, 0.004))
    counter.count_attempt(Attempt("other", "resting", asked=False))
    counter.count_cache_lookup("miss")
    return counter


def test_one_call_is_counted_by_each_subject() -> None:
    counts = counter_of_a_call().take()
    assert counts == {
        (Subject.DIALECT, "emailable"): Tally(1, 12_000),
        (Subject.OUTCOME, "answered"): Tally(1),
        (Subject.LATENCY, "15"): Tally(1, 12_000),
        (Subject.VERDICT, "deliverable"): Tally(1),
        (Subject.SOURCE, "acme"): Tally(1, 12_000),
        (Subject.ATTEMPT, "acme deliverable"): Tally(1, 11_000),
        (Subject.SPENT, "acme"): Tally(1, 4_000),
        (Subject.CACHE, "miss"): Tally(1),
    }


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "answered"), (249, "answered"), (304, "answered"), (400, "refused"), (429, "refused"),
     (500, "failed"), (503, "failed")],
)  # fmt: skip
def test_outcomes_are_those_of_the_status(status: int, outcome: str) -> None:
    assert outcome_of(status) == Outcome(outcome)


def test_a_percentile_is_the_bound_of_its_class() -> None:
    counter = ActivityCounter()
    for ms in range(1, 101):
        counter.count_request("emailable", 200, "local", "", ms / 1000)
    counts = counter.take()
    assert percentile_ms(counts, 50) == 50
    assert percentile_ms(counts, 95) == 100
    assert percentile_ms({}, 95) is None
    counter.count_request("emailable", 200, "local", "", 1000.0)
    assert percentile_ms(counter.take(), 50) == LATENCY_BOUNDS_MS[-1]


async def test_counts_of_two_processes_and_of_two_moments_add_up(database_url: str) -> None:
    now = float(NOW)
    async with open_store(database_url) as store, open_store(database_url) as other:
        first, second = counter_of_a_call(), counter_of_a_call()
        log = ActivityLog(store, first, lambda: now)
        await log.write()
        await ActivityLog(other, second, lambda: now).write()
        now += 61
        first.count_request("emailable", 200, "acme", "deliverable", 0.012)
        await log.write()
        minutes = await log.read(MINUTE_S, NOW - 3600)
        assert [counts[Subject.VERDICT, "deliverable"].count for counts in minutes.values()] == [
            2,
            1,
        ]
        quarters = await log.read(QUARTER_S, NOW - 3600)
        assert sum(_count(each, Subject.DIALECT) for each in quarters.values()) == 3


def _count(counts: Counts, subject: Subject) -> int:
    return sum(tally.count for (each, _), tally in counts.items() if each == subject)


async def test_leaving_stores_what_is_left_and_old_buckets_go() -> None:
    now = float(NOW)
    async with open_store("sqlite:///:memory:") as store:
        async with open_activity_log(store, counter_of_a_call(), clock=lambda: now) as log:
            pass
        assert len(await log.read(MINUTE_S, 0)) == 1
        now += KEPT_S[MINUTE_S] + 2 * MINUTE_S
        await log.purge()
        assert await log.read(MINUTE_S, 0) == {}
        assert len(await log.read(QUARTER_DAY_S, 0)) == 1


async def test_what_could_not_be_stored_is_stored_later() -> None:
    counter = counter_of_a_call()
    counts = counter.take()
    counter.put_back(counts)
    counter.count_cache_lookup("miss")
    again = counter.take()
    assert again[Subject.CACHE, "miss"] == Tally(2)
    assert {**again, (Subject.CACHE, "miss"): Tally(1)} == counts
