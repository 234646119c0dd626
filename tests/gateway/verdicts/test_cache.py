"""The verdict cache, and verifications in flight that equal questions share."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest

from adapters.contract.problems import Problem, ProblemKind
from engine.address.syntax import parse_address
from engine.model import Address, Checks, Evidence, Reason, Verdict, Verification
from gateway.verdicts.cache import SharedTask, VerdictCache, VerdictStore
from tests.fakes.clock import Clock

TTL_S = {
    Verdict.DELIVERABLE: 100.0,
    Verdict.UNDELIVERABLE: 100.0,
    Verdict.RISKY: 10.0,
    Verdict.UNKNOWN: 1.0,
}
FULL = Checks()
WITH_POLICIES = Checks(policies=True)
NO_SMTP = Checks(smtp=False, catch_all=False)
NO_CATCH_ALL = Checks(catch_all=False)
ADDRESS = parse_address("a@b.test")


class CountingVerifier:
    """Counts the verifications, which end once `go` is set."""

    def __init__(self, verdict: Verdict = Verdict.DELIVERABLE, *, held: bool = False) -> None:
        self.verdict = verdict
        self.count = 0
        self.go = asyncio.Event()
        if not held:
            self.go.set()

    async def verify(self, address: Address, checks: Checks = FULL) -> Verification:
        self.count += 1
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


class Bench:
    """A cache, its clock, and the verifier behind it."""

    def __init__(
        self,
        verifier: CountingVerifier | None = None,
        *,
        store: VerdictStore | None = None,
        max_in_flight: int = 100,
    ) -> None:
        self.verifier = verifier or CountingVerifier()
        self.clock = Clock()
        self.cache = VerdictCache(
            ttl_s=TTL_S, clock=self.clock, store=store, max_in_flight=max_in_flight
        )

    def verify(
        self, address: Address = ADDRESS, checks: Checks = FULL
    ) -> asyncio.Task[Verification]:
        return self.begin(address, checks).task

    def begin(self, address: Address = ADDRESS, checks: Checks = FULL) -> SharedTask:
        return self.cache.verify(address, checks, partial(self.verifier.verify, address, checks))


@pytest.mark.parametrize("verdict", list(Verdict))
async def test_each_verdict_is_cached_for_its_own_time(verdict: Verdict) -> None:
    bench = Bench(CountingVerifier(verdict))
    await bench.verify()
    bench.clock.now += TTL_S[verdict] - 0.5
    hit = bench.cache.get(ADDRESS, FULL)
    assert hit is not None
    assert hit[0].cached
    bench.clock.now += 1
    assert bench.cache.get(ADDRESS, FULL) is None


@pytest.mark.parametrize(
    ("made_with", "wanted", "serves"),
    [
        (FULL, FULL, True),
        (FULL, NO_SMTP, True),
        (FULL, NO_CATCH_ALL, True),
        (NO_CATCH_ALL, FULL, False),
        (NO_SMTP, NO_CATCH_ALL, False),
        (NO_SMTP, FULL, False),
        (FULL, WITH_POLICIES, False),
        (WITH_POLICIES, FULL, True),
        (WITH_POLICIES, NO_SMTP, True),
        (NO_SMTP, WITH_POLICIES, False),
    ],
)
async def test_a_verdict_serves_equal_and_narrower_checks_only(
    made_with: Checks, wanted: Checks, serves: bool
) -> None:
    bench = Bench()
    await bench.verify(checks=made_with)
    assert (bench.cache.get(ADDRESS, wanted) is not None) is serves


async def test_an_upstreams_verdict_serves_whoever_wants_the_policies_too() -> None:
    bench = Bench()
    verdict = await bench.verifier.verify(ADDRESS, FULL)
    bench.cache.put(replace(verdict, source="v0"))
    assert bench.cache.get(ADDRESS, WITH_POLICIES) is not None
    assert bench.cache.get(ADDRESS, FULL) is not None


async def test_the_domain_is_folded_and_the_local_part_is_not() -> None:
    bench = Bench()
    await bench.verify(parse_address("Bob@B.test"))
    hit = bench.cache.get(parse_address("Bob@b.TEST"), FULL)
    assert hit is not None
    assert hit[0].address.raw == "Bob@b.TEST"
    assert bench.cache.get(parse_address("bob@b.test"), FULL) is None


@pytest.mark.parametrize("text", ["nobody", "x" * 40_000 + "@b.test", "a b@c.test"])
async def test_an_invalid_address_is_not_cached(text: str) -> None:
    bench = Bench()
    await bench.verify(parse_address(text))
    assert bench.cache.get(parse_address(text), FULL) is None


async def test_equal_questions_share_one_verification() -> None:
    bench = Bench(CountingVerifier(held=True))
    begun = [bench.begin() for _ in range(50)]
    assert [each.is_shared for each in begun] == [False] + [True] * 49
    bench.verifier.go.set()
    await asyncio.gather(*(each.task for each in begun))
    assert bench.verifier.count == 1
    assert not bench.begin().is_shared


async def test_one_verification_too_many_is_refused() -> None:
    bench = Bench(CountingVerifier(held=True), max_in_flight=2)
    for name in "ab":
        bench.verify(parse_address(f"{name}@b.test"))
    with pytest.raises(Problem) as raised:
        bench.verify(parse_address("c@b.test"))
    assert raised.value.kind is ProblemKind.UNAVAILABLE
    await bench.cache.aclose()


async def test_a_failure_is_not_cached() -> None:
    class Broken(CountingVerifier):
        async def verify(self, address: Address, checks: Checks = FULL) -> Verification:
            raise RuntimeError("a bug")

    bench = Bench(Broken())
    with pytest.raises(RuntimeError):
        await bench.verify()
    assert bench.cache.get(ADDRESS, FULL) is None


async def test_closing_cancels_what_is_in_flight() -> None:
    bench = Bench(CountingVerifier(held=True))
    task = bench.verify()
    await bench.cache.aclose()
    assert task.cancelled()


class OneStoredVerdict:
    """A store with a single verdict, which must get no other."""

    def __init__(self, verification: Verification) -> None:
        self._verification = verification

    async def get_many(
        self, partition: str, addresses: Sequence[Address], checks: Sequence[Checks]
    ) -> dict[str, tuple[Verification, float]]:
        v = replace(self._verification, cached=True)
        wanted = {address.normalized for address in addresses}
        return {v.address.normalized: (v, 2000.0)} if v.address.normalized in wanted else {}

    def put(self, partition: str, verification: Verification, expires_at: float) -> None:
        raise AssertionError("there is no new verdict")


async def test_a_stored_verdict_is_served_with_the_name_of_the_person() -> None:
    address = parse_address("john.smith@b.test")
    bench = Bench(store=OneStoredVerdict(await CountingVerifier().verify(address)))
    found = await bench.verify(address)
    assert (found.cached, bench.verifier.count) == (True, 0)
    assert found.evidence.person is not None
    assert found.evidence.person.full == "John Smith"


async def test_stored_verdicts_are_found_for_many_addresses_at_once() -> None:
    stored = parse_address("ann@b.test")
    bench = Bench(store=OneStoredVerdict(await CountingVerifier().verify(stored)))
    others = [parse_address(text) for text in ("bob@b.test", "no-address")]
    assert set(await bench.cache.get_many([stored, *others], FULL)) == {"ann@b.test"}
