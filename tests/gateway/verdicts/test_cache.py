"""The verdict cache and its single flight."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from adapters.contract.problems import Problem, ProblemKind
from engine.address import syntax
from engine.model import Address, Checks, Evidence, Reason, Verdict, Verification
from gateway.verdicts.cache import VerdictCache

TTL_S = {
    Verdict.DELIVERABLE: 100.0,
    Verdict.UNDELIVERABLE: 100.0,
    Verdict.RISKY: 10.0,
    Verdict.UNKNOWN: 1.0,
}
FULL = Checks()
NO_SMTP = Checks(smtp=False, catch_all=False)
NO_CATCH_ALL = Checks(catch_all=False)


class Asked:
    """A verifier that counts, and answers when it is let."""

    def __init__(self, verdict: Verdict = Verdict.DELIVERABLE) -> None:
        self.verdict = verdict
        self.times = 0
        self.go = asyncio.Event()
        self.go.set()

    async def verify(
        self, address: Address, checks: Checks = FULL, deadline_s: float | None = None
    ) -> Verification:
        self.times += 1
        await self.go.wait()
        return Verification(
            address=address,
            verdict=self.verdict,
            reason=Reason.ACCEPTED_EMAIL,
            score=100,
            evidence=Evidence(),
            checks=checks,
            verified_at=datetime(2026, 1, 1, tzinfo=UTC),
        )


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(asked: Asked) -> tuple[VerdictCache, Clock]:
    clock = Clock()
    return VerdictCache(asked, ttl_s=TTL_S, clock=clock), clock


@pytest.mark.parametrize("verdict", list(Verdict))
async def test_an_answer_is_kept_as_long_as_its_verdict_deserves(verdict: Verdict) -> None:
    verdicts, clock = make(Asked(verdict))
    address = syntax.parse_address("a@b.test")
    await verdicts.verify(address, FULL)
    clock.now += TTL_S[verdict] - 0.5
    known = verdicts.get(address, FULL)
    assert known is not None
    assert known[0].cached
    clock.now += 1
    assert verdicts.get(address, FULL) is None


@pytest.mark.parametrize(
    ("made_with", "wanted", "serves"),
    [
        (FULL, FULL, True),
        (FULL, NO_SMTP, True),
        (FULL, NO_CATCH_ALL, True),
        (NO_CATCH_ALL, FULL, False),
        (NO_SMTP, NO_CATCH_ALL, False),
        (NO_SMTP, FULL, False),
    ],
)
async def test_a_lesser_answer_does_not_serve_a_fuller_question(
    made_with: Checks, wanted: Checks, serves: bool
) -> None:
    verdicts, _ = make(Asked())
    address = syntax.parse_address("a@b.test")
    await verdicts.verify(address, made_with)
    assert (verdicts.get(address, wanted) is not None) is serves


async def test_the_domain_is_folded_and_the_mailbox_is_not() -> None:
    verdicts, _ = make(Asked())
    await verdicts.verify(syntax.parse_address("Bob@B.test"), FULL)
    known = verdicts.get(syntax.parse_address("Bob@b.TEST"), FULL)
    assert known is not None
    assert known[0].address.raw == "Bob@b.TEST"
    assert verdicts.get(syntax.parse_address("bob@b.test"), FULL) is None


async def test_one_question_in_flight_is_asked_once() -> None:
    asked = Asked()
    asked.go.clear()
    verdicts, _ = make(asked)
    address = syntax.parse_address("a@b.test")
    tasks = [verdicts.verify(address, FULL) for _ in range(50)]
    asked.go.set()
    await asyncio.gather(*tasks)
    assert asked.times == 1


async def test_too_many_questions_are_turned_away() -> None:
    asked = Asked()
    asked.go.clear()
    verdicts = VerdictCache(asked, ttl_s=TTL_S, clock=Clock(), max_in_flight=2)
    for name in "ab":
        verdicts.verify(syntax.parse_address(f"{name}@b.test"), FULL)
    with pytest.raises(Problem) as raised:
        verdicts.verify(syntax.parse_address("c@b.test"), FULL)
    assert raised.value.kind is ProblemKind.UNAVAILABLE
    await verdicts.aclose()


async def test_a_failure_is_not_kept() -> None:
    class Broken(Asked):
        async def verify(
            self, address: Address, checks: Checks = FULL, deadline_s: float | None = None
        ) -> Verification:
            raise RuntimeError("a bug")

    verdicts, _ = make(Broken())
    address = syntax.parse_address("a@b.test")
    with pytest.raises(RuntimeError):
        await verdicts.verify(address, FULL)
    assert verdicts.get(address, FULL) is None


async def test_closing_gives_up_what_is_in_flight() -> None:
    asked = Asked()
    asked.go.clear()
    verdicts, _ = make(asked)
    task = verdicts.verify(syntax.parse_address("a@b.test"), FULL)
    await verdicts.aclose()
    assert task.cancelled()


class Stored:
    """Answers of an earlier run, without names."""

    def __init__(self, verification: Verification) -> None:
        self._verification = verification

    async def get_many(
        self, route_name: str, addresses: Sequence[Address], checks: Checks
    ) -> dict[str, tuple[Verification, float]]:
        v = self._verification
        wanted = {address.normalized for address in addresses}
        return {v.address.normalized: (v, 2000.0)} if v.address.normalized in wanted else {}

    def put(self, route_name: str, verification: Verification, expires_at: float) -> None:
        raise AssertionError("nothing new was found out")


async def test_a_stored_answer_is_served_with_its_name_and_asks_nobody() -> None:
    asked = Asked()
    address = syntax.parse_address("john.smith@b.test")
    stored = Stored(await asked.verify(address))
    verdicts = VerdictCache(asked, ttl_s=TTL_S, clock=Clock(), store=stored)
    found = await verdicts.verify(address, FULL)
    assert (found.cached, asked.times) == (True, 1)
    assert found.evidence.person is not None
    assert found.evidence.person.full == "John Smith"


async def test_many_stored_answers_are_recalled_at_once() -> None:
    asked = Asked()
    known = syntax.parse_address("ann@b.test")
    verdicts = VerdictCache(
        asked, ttl_s=TTL_S, clock=Clock(), store=Stored(await asked.verify(known))
    )
    others = [syntax.parse_address(text) for text in ("bob@b.test", "no-address")]
    assert set(await verdicts.get_many([known, *others], FULL)) == {"ann@b.test"}
