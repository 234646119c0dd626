"""Whose turn it is at a mail host: singles, then a list's hard cases, then lists."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from engine.smtp.pacing import Pacer
from tests.fakes.clock import Clock

SINGLE: dict[str, bool] = {}
LISTED = {"bulk": True}
PATIENT = {"pooled": True}


async def turns(count: int = 5) -> None:
    """Let what is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("connections", [1, 3])
async def test_singles_go_first_then_listed_ones_then_the_patient(connections: int) -> None:
    pacer = Pacer(connections, Clock())
    order: list[str] = []

    async def visit(name: str, kind: dict[str, bool]) -> None:
        async with pacer.slot("operator", **kind):
            order.append(name)
            await turns()

    arrivals = [("patient", PATIENT), ("listed", LISTED), ("single", SINGLE)] * 4
    async with asyncio.TaskGroup() as group, AsyncExitStack() as held:
        for _ in range(connections):
            await held.enter_async_context(pacer.slot("operator", pooled=True))
        for name, kind in arrivals:
            group.create_task(visit(name, kind))
        await turns()
        assert order == []
    assert order == ["single"] * 4 + ["listed"] * 4 + ["patient"] * 4
    assert pacer.active_connections("operator") == 0


@pytest.mark.parametrize(("kind", "wanted"), [(SINGLE, True), (LISTED, True), (PATIENT, False)])
async def test_who_keeps_a_connection_hears_of_those_before_him(
    kind: dict[str, bool], wanted: bool
) -> None:
    pacer = Pacer(1, Clock())

    async def visit() -> None:
        async with pacer.slot("operator", **kind):
            assert not pacer.has_priority_waiters("operator")

    async with pacer.slot("operator", pooled=True):
        assert not pacer.has_priority_waiters("operator")
        visiting = asyncio.create_task(visit())
        await turns()
        assert pacer.has_priority_waiters("operator") is wanted
    await visiting


async def test_a_single_that_comes_late_overtakes_a_long_queue() -> None:
    pacer = Pacer(1, Clock())
    order: list[str] = []

    async def visit(name: str, kind: dict[str, bool]) -> None:
        async with pacer.slot("operator", **kind):
            order.append(name)
            if name == "listed 3":
                singles.append(asyncio.create_task(visit("single", SINGLE)))
            await turns()

    singles: list[asyncio.Task[None]] = []
    await asyncio.gather(*(visit(f"listed {number}", LISTED) for number in range(100)))
    assert order.index("single") == order.index("listed 3") + 1
