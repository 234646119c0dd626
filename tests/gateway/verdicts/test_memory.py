"""Answers in memory: until their time is over, and not too many."""

from datetime import UTC, datetime

from engine.address import syntax
from engine.model import Checks, Evidence, Reason, Verdict, Verification
from gateway.verdicts import memory as at_hand
from gateway.verdicts.memory import MemoryCache
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


def test_those_that_were_used_last_stay() -> None:
    known = MemoryCache(lambda: 0.0)
    for number in range(at_hand.MAX_ENTRIES):
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
