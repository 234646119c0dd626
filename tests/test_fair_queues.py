"""Every queue that several accounts share: a flood of one account does not hold up another.

A row opens a queue and does one piece of work through it. One account floods the queue, another one
comes with a single request: it is the next one that is served.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from engine.bulk.shared import MAX_CONNECTIONS, MAX_DOMAIN_LOOKUPS, MAX_SINGLE_PROBES
from engine.smtp.pacing import Pacer
from engine.turns import FairSlots, acting_for
from gateway.upstreams.batches.bulk import CONCURRENT_SINGLES
from gateway.upstreams.source.throttle import Throttle

FLOOD = 1_000
FLOODING, MODEST = 1, 2
"""Accounts."""

Begin: TypeAlias = Callable[[], Awaitable[None]]
"""What a piece of work calls when its turn has come; it waits until the work may end."""
Work: TypeAlias = Callable[[Begin], Awaitable[None]]
"""Does one piece of work through the queue, for the current party."""


def throttle(max_per_s: float) -> Work:
    upstream = Throttle(10, max_per_s, clock=time.monotonic)

    async def work(begin: Begin) -> None:
        async with upstream.slot(60) as has_slot:
            assert has_slot
            await begin()

    return work


def pacer(*, bulk: bool = False, pooled: bool = False) -> Work:
    pacer = Pacer(4, time.monotonic)

    async def work(begin: Begin) -> None:
        async with pacer.slot("operator", bulk=bulk, pooled=pooled):
            await begin()

    return work


def pacer_with_single_probes_of_the_flood() -> Work:
    """A batch's connection, while another account asks for thousands of single verifications."""
    pacer = Pacer(4, time.monotonic)
    arrived = 0

    async def work(begin: Begin) -> None:
        nonlocal arrived
        arrived += 1
        async with pacer.slot("operator", pooled=arrived > FLOOD):
            await begin()

    return work


def slots(places: int) -> Work:
    slots = FairSlots(places)

    async def work(begin: Begin) -> None:
        async with slots.slot():
            await begin()

    return work


QUEUES: dict[str, Callable[[], Work]] = {
    "requests to an upstream": lambda: throttle(0),
    "requests to an upstream with a rate": lambda: throttle(2_000),
    "connections to an operator, single verifications": pacer,
    "connections to an operator, single probes of batches": lambda: pacer(bulk=True),
    "connections to an operator, host pools": lambda: pacer(pooled=True),
    "connections to an operator, mixed": pacer_with_single_probes_of_the_flood,
    "connections of all host pools": lambda: slots(MAX_CONNECTIONS),
    "domains of lists that are looked up": lambda: slots(MAX_DOMAIN_LOOKUPS),
    "addresses of lists on the single path": lambda: slots(MAX_SINGLE_PROBES),
    "addresses of batches asked of upstreams": lambda: slots(CONCURRENT_SINGLES),
}


@pytest.mark.parametrize("name", QUEUES)
async def test_a_flood_of_one_account_does_not_hold_up_another(name: str) -> None:
    work = QUEUES[name]()
    began: list[int] = []
    may_end = asyncio.Event()

    async def work_for(account: int) -> None:
        async def begin() -> None:
            began.append(account)
            await may_end.wait()

        with acting_for(account):
            await work(begin)

    async with asyncio.TaskGroup() as group:
        for _ in range(FLOOD):
            group.create_task(work_for(FLOODING))
        await settle()
        in_flight = len(began)
        assert 0 < in_flight < FLOOD
        group.create_task(work_for(MODEST))
        await settle()
        may_end.set()
    assert began.index(MODEST) == in_flight
    assert len(began) == FLOOD + 1


async def settle() -> None:
    """Let the tasks that are ready run."""
    for _ in range(5):
        await asyncio.sleep(0)
