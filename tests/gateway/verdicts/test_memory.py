"""Answers in memory: until their time is over, and not too many."""

import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime

from engine.address import syntax
from engine.model import (
    Checks,
    Evidence,
    Meaning,
    MxHost,
    Reason,
    Smtp,
    Stage,
    Verdict,
    Verification,
)
from gateway.verdicts.memory import MemoryCache, size_in_memory
from tests.fakes.clock import Clock

ANSWER = Verification(
    address=syntax.parse_address("a@example.com"),
    verdict=Verdict.DELIVERABLE,
    reason=Reason.ACCEPTED_EMAIL,
    score=100,
    evidence=Evidence(),
    checks=Checks(),
    verified_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def test_an_answer_is_there_until_its_time_is_over() -> None:
    clock = Clock()
    known = MemoryCache(clock)
    known.put("a", ANSWER, clock() + 10)
    assert known.get("b") is None
    clock.now += 9
    assert known.get("a") == (ANSWER, clock() + 1)
    clock.now += 1
    assert known.get("a") is None


def test_a_stale_answer_is_there_a_little_longer() -> None:
    clock = Clock()
    known = MemoryCache(clock, stale_s=5)
    known.put("a", ANSWER, clock() + 10)
    clock.now += 14
    assert known.get("a") == (ANSWER, clock() - 4)
    clock.now += 1
    assert known.get("a") is None


def test_the_least_recently_used_are_evicted() -> None:
    known = MemoryCache(lambda: 0.0, max_bytes=5 * size_in_memory(ANSWER))
    for number in range(5):
        known.put(number, ANSWER, 1.0)
    assert known.get(0) is not None
    known.put(1, ANSWER, 2.0)
    known.put("one more", ANSWER, 1.0)
    known.put("and one", ANSWER, 1.0)
    assert [known.get(key) is not None for key in (0, 1, 2, 3, 4)] == [
        True,
        True,
        False,
        False,
        True,
    ]


def test_a_large_verdict_takes_the_place_of_several() -> None:
    known = MemoryCache(lambda: 0.0, max_bytes=10 * size_in_memory(ANSWER))
    for number in range(10):
        known.put(number, ANSWER, 1.0)
    long = Smtp(Meaning.GREYLISTED, Stage.RCPT, text="x" * 4 * size_in_memory(ANSWER))
    known.put("large", replace(ANSWER, evidence=Evidence(smtp=long)), 1.0)
    assert sum(known.get(number) is not None for number in range(10)) == 5
    larger = Smtp(Meaning.GREYLISTED, Stage.RCPT, text="x" * 10 * size_in_memory(ANSWER))
    known.put("larger", replace(ANSWER, evidence=Evidence(smtp=larger)), 1.0)
    assert known.get("larger") is None


def test_the_size_of_a_verdict_is_about_that_in_memory() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        verdicts = [_verdict(number) for number in range(1_000)]
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.7 < taken / sum(map(size_in_memory, verdicts)) < 1.2


def _verdict(number: int) -> Verification:
    hosts = tuple(MxHost(f"mx{n}.domain{number}.example.com", n) for n in range(number % 10))
    smtp = Smtp(Meaning.ACCEPTED, Stage.RCPT, host=f"mx{number}.test", text="x" * number)
    return replace(
        ANSWER,
        address=syntax.parse_address(f"someone{number}@domain{number}.example.com"),
        evidence=Evidence(mx=hosts, smtp=smtp),
        verified_at=datetime.fromtimestamp(number, UTC),
        duration_s=number / 7,
    )
