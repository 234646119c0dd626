"""A verification is charged while its sources are asked, and answered once the charge is stored."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import update

from adapters.contract.operations import Verify
from adapters.contract.problems import Problem, ProblemKind
from engine.model import Address, Checks, Verification
from gateway.accounts.caller import Caller
from gateway.app import Services, open_services
from gateway.settings import Settings
from gateway.store.tables import accounts
from tests.dialects import ALL
from tests.gateway.upstreams.conftest import Local

EMAILABLE = next(dialect for dialect in ALL if dialect.name == "emailable")


class Counted(Local):
    """Notes what it is asked, and answers once it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.was_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        self.asked.append(address.raw)
        self.was_asked.set()
        await self.may_answer.wait()
        return await super().verify(address, checks, deadline_s)


class Bench:
    def __init__(self, services: Services, source: Counted, caller: Caller) -> None:
        self.services = services
        self.source = source
        self.caller = caller

    async def ask(self, email: str) -> Verification:
        op = Verify(email=email, checks=Checks())
        result = await self.services.service.verify(EMAILABLE, self.caller, op)
        return result.outcome

    async def left(self) -> int | None:
        return (await self.services.accounts.usage(self.caller)).credits_left

    async def set_credits(self, credits: int) -> None:
        """As another process does."""
        async with self.services.store.write() as connection:
            await connection.execute(update(accounts).values(credits=credits))


@contextlib.asynccontextmanager
async def open_bench(folder: Path, credits: int) -> AsyncIterator[Bench]:
    source = Counted()
    settings = Settings.model_validate({"storage": {"url": f"sqlite:///{folder / 'v.db'}"}})
    async with open_services(
        settings, verifier=source, dialects=ALL, run_workers=False
    ) as services:
        account = await services.accounts.create_account(credits=credits)
        key = (await services.accounts.create_key(account, "emailable")).key
        caller = await services.accounts.authenticate("emailable", key)
        assert caller is not None
        yield Bench(services, source, caller)


async def test_sources_are_asked_while_the_charge_is_written(tmp_path: Path) -> None:
    async with open_bench(tmp_path, credits=10) as bench:
        await bench.ask("first@example.com")  # its balance is known from here
        bench.source.was_asked.clear()
        async with bench.services.store.write():  # no charge can be written meanwhile
            asking = asyncio.create_task(bench.ask("second@example.com"))
            async with asyncio.timeout(20):
                await bench.source.was_asked.wait()
            done, _ = await asyncio.wait([asking], timeout=0.05)
            assert not done  # it is answered only once it is paid
        await asking
        assert await bench.left() == 8


async def test_the_first_charge_is_written_before_anything_is_asked(tmp_path: Path) -> None:
    async with open_bench(tmp_path, credits=10) as bench:
        async with bench.services.store.write():
            asking = asyncio.create_task(bench.ask("first@example.com"))
            await asyncio.wait([asking], timeout=0.05)
            assert bench.source.asked == []
        await asking


async def test_what_is_not_covered_is_not_asked(tmp_path: Path) -> None:
    async with open_bench(tmp_path, credits=2) as bench:
        await bench.ask("first@example.com")
        await bench.ask("second@example.com")
        for _ in range(2):
            with pytest.raises(Problem) as refused:
                await bench.ask("third@example.com")
            assert refused.value.kind is ProblemKind.NO_CREDITS
        assert bench.source.asked == ["first@example.com", "second@example.com"]


async def test_credits_that_another_process_took_cost_one_question_at_most(tmp_path: Path) -> None:
    async with open_bench(tmp_path, credits=10) as bench:
        await bench.ask("first@example.com")
        await bench.set_credits(0)
        for email in ("second@example.com", "third@example.com", "fourth@example.com"):
            with pytest.raises(Problem) as refused:
                await bench.ask(email)
            assert refused.value.kind is ProblemKind.NO_CREDITS
        assert bench.source.asked == ["first@example.com", "second@example.com"]
        await bench.set_credits(5)
        await bench.ask("fifth@example.com")
        assert await bench.left() == 4


async def test_questions_at_once_are_covered_together(tmp_path: Path) -> None:
    async with open_bench(tmp_path, credits=4) as bench:
        await bench.ask("first@example.com")
        bench.source.may_answer.clear()
        asking = [asyncio.create_task(bench.ask(f"n{i}@example.com")) for i in range(10)]
        await asyncio.wait(asking, timeout=0.1)
        assert len(bench.source.asked) == 4
        bench.source.may_answer.set()
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert sum(isinstance(answer, Verification) for answer in answers) == 3
        assert await bench.left() == 0
