"""`veriplex verify` verifies few addresses one by one, and many as lists."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

import pytest

from engine.address.syntax import parse_address
from engine.model import Address, Checks, Reason, Verdict, Verification, VerificationStream
from engine.probe import ProbeEngine
from gateway.cli.grouping import LIST_SIZE, GroupingVerifier
from tests.gateway.batches.conftest import answer


class StubEngine:
    """Answers at once; in a list the addresses of `grey.test` are greylisted."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.singles: list[str] = []
        self.lists: list[int] = []
        self.failure = failure

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        self.singles.append(address.raw)
        return answer(address, checks=checks)

    async def verify_many(
        self, addresses: Iterable[Address], checks: Checks = Checks()
    ) -> VerificationStream:
        addresses = list(addresses)
        self.lists.append(len(addresses))
        for address in addresses:
            if self.failure is not None:
                raise self.failure
            if address.domain == "grey.test":
                grey = answer(address, Verdict.UNKNOWN, Reason.GREYLISTED, checks)
                yield address, replace(grey, temporary=True)
            else:
                yield address, answer(address, checks=checks)


async def verify(
    engine: StubEngine, texts: Sequence[str], deadline_s: float | None = None
) -> list[Verification]:
    async with GroupingVerifier(cast(ProbeEngine, engine), Checks(), deadline_s) as verifier:
        return await asyncio.gather(*(verifier.verify(parse_address(text)) for text in texts))


def addresses(count: int) -> list[str]:
    return [f"john.smith{number}@a.test" for number in range(count)]


@pytest.mark.parametrize(
    ("count", "deadline_s", "lists"),
    [(LIST_SIZE - 1, None, []), (LIST_SIZE, None, [LIST_SIZE]), (3 * LIST_SIZE, 5.0, [])],
)
async def test_many_addresses_without_a_deadline_are_a_list(
    count: int, deadline_s: float | None, lists: list[int]
) -> None:
    engine = StubEngine()
    texts = addresses(count)
    found = await verify(engine, texts, deadline_s)
    assert [v.address.raw for v in found] == texts
    assert engine.lists == lists
    assert len(engine.singles) == (0 if lists else count)


async def test_verifications_of_a_list_have_the_names_of_people() -> None:
    (first, *_) = await verify(StubEngine(), addresses(LIST_SIZE))
    assert first.evidence.person is not None
    assert first.evidence.person.full == "John Smith"


async def test_a_greylisted_address_of_a_list_is_verified_by_itself() -> None:
    engine = StubEngine()
    *_, last = await verify(engine, [*addresses(LIST_SIZE), "user@grey.test"])
    assert engine.singles == ["user@grey.test"]
    assert last.verdict is Verdict.DELIVERABLE


async def test_equal_addresses_of_a_list_each_get_their_verification() -> None:
    engine = StubEngine()
    found = await verify(engine, ["same@a.test"] * LIST_SIZE)
    assert engine.lists == [1]
    assert len(found) == LIST_SIZE


async def test_a_bug_of_the_engine_is_raised() -> None:
    with pytest.raises(LookupError):
        await verify(StubEngine(LookupError()), addresses(LIST_SIZE))
