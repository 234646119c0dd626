"""One account does not take all places of verifications in flight."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from adapters.contract.problems import Problem, ProblemKind
from gateway.verdicts.shares import MIN_SHARE, AccountShares

GREEDY, MODEST = 1, 2


async def taken_by(shares: AccountShares, account_id: int, tasks: list[asyncio.Task[bool]]) -> int:
    """How many an account gets that asks until it is refused."""
    before = len(tasks)
    with contextlib.suppress(Problem):
        while True:
            shares.check(account_id)
            tasks.append(asyncio.create_task(asyncio.Event().wait()))
            shares.take(account_id, tasks[-1])
    return len(tasks) - before


async def test_an_account_takes_a_quarter_of_what_is_free() -> None:
    shares = AccountShares(2_000)
    tasks: list[asyncio.Task[bool]] = []
    assert await taken_by(shares, GREEDY, tasks) == 400
    assert await taken_by(shares, MODEST, tasks) == 320
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await taken_by(shares, MODEST, tasks) == 400
    for task in tasks:
        task.cancel()


async def test_a_hundred_greedy_accounts_leave_a_few_to_another() -> None:
    shares = AccountShares(2_000)
    tasks: list[asyncio.Task[bool]] = []
    for account_id in range(100, 200):
        assert await taken_by(shares, account_id, tasks) >= MIN_SHARE
    assert await taken_by(shares, MODEST, tasks) == MIN_SHARE
    for task in tasks:
        task.cancel()


async def test_each_refusal_is_of_one_account() -> None:
    shares = AccountShares(100)
    tasks: list[asyncio.Task[bool]] = []
    await taken_by(shares, GREEDY, tasks)
    with pytest.raises(Problem) as refused:
        shares.check(GREEDY)
    assert (refused.value.kind, refused.value.retry_after_s) == (ProblemKind.UNAVAILABLE, 1)
    shares.check(MODEST)
    for task in tasks:
        task.cancel()
