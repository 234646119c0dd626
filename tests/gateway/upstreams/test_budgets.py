"""Budgets over one database, by several processes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from gateway.store import Store, open_store
from gateway.upstreams.routing.budgets import Budgets, SpendingCap, SpendingScope, to_micros


class Clock:
    now = datetime(2026, 5, 30, 23, 0, tzinfo=UTC).timestamp()

    def __call__(self) -> float:
        return self.now


DAY_S = 86_400
PRICE = to_micros(0.1)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with open_store(database_url) as opened:
        yield opened


async def spend(budgets: Budgets, scope: SpendingScope, times: int) -> int:
    taken = await asyncio.gather(*(budgets.reserve([scope], PRICE) for _ in range(times)))
    return sum(taken)


async def test_processes_share_a_limit(store: Store) -> None:
    clock = Clock()
    processes = [Budgets(store, clock=clock) for _ in range(3)]
    scope = SpendingScope("source:a", SpendingCap(daily=to_micros(10.05)))
    spent = 0
    for _ in range(60):
        for budgets in processes:
            spent += await spend(budgets, scope, 1)
        clock.now += 1.1  # a refusal is believed for a second
    assert spent <= 100
    for budgets in processes:
        await budgets.write(everything=True)
    clock.now += 2
    spent += await spend(processes[0], scope, 50)
    assert spent == 100, "what one process left is there for the others"
    assert await processes[0].spent("source:a") == (to_micros(10), to_micros(10))


async def test_a_kill_spends_nothing_twice(store: Store) -> None:
    clock = Clock()
    scope = SpendingScope("source:a", SpendingCap(daily=to_micros(3)))
    spent = 0
    for _ in range(20):  # each is killed: nothing is put back
        spent += await spend(Budgets(store, clock=clock), scope, 1)
        clock.now += 2
    assert 0 < spent <= 30


async def test_days_and_months_begin_anew(store: Store) -> None:
    clock = Clock()
    budgets = Budgets(store, clock=clock)
    scope = SpendingScope("source:a", SpendingCap(daily=to_micros(0.5), monthly=to_micros(0.8)))
    assert await spend(budgets, scope, 20) == 5
    clock.now += DAY_S
    assert await spend(budgets, scope, 20) == 3, "the month's last"
    clock.now += DAY_S
    assert await spend(budgets, scope, 20) == 5, "the first of June"


async def test_all_pay_or_none(store: Store) -> None:
    budgets = Budgets(store, clock=Clock())
    rich, poor = (
        SpendingScope("source:a", SpendingCap(daily=to_micros(1))),
        SpendingScope("key:1", SpendingCap(daily=to_micros(0.2))),
    )
    paid = [await budgets.reserve([rich, poor], PRICE) for _ in range(5)]
    assert paid == [True, True, False, False, False]
    assert await budgets.spent("source:a") == (to_micros(0.2), to_micros(0.2))


async def test_what_is_not_limited_is_counted(store: Store) -> None:
    budgets = Budgets(store, clock=Clock())
    scope = SpendingScope("source:a")
    assert await spend(budgets, scope, 7) == 7
    budgets.release([scope], PRICE)
    assert await budgets.spent("source:a") == (to_micros(0.6), to_micros(0.6))
