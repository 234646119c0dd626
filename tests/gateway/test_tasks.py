"""Questions asked apart and answered together."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import StorageUnavailable
from gateway.tasks import MAX_PENDING, GroupedCalls


class Desk:
    """Doubles numbers, once it is open; notes what came together."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.called = asyncio.Event()
        self.flights: list[list[int]] = []

    async def run(self, questions: list[int]) -> list[int | Exception]:
        self.flights.append(questions)
        self.called.set()
        await self.open.wait()
        if 13 in questions:
            raise LookupError
        return [ValueError(n) if n < 0 else 2 * n for n in questions]


async def test_what_arrives_during_a_flight_goes_together_in_the_next() -> None:
    desk = Desk()
    grouped = GroupedCalls(desk.run, max_group=3)
    first = asyncio.create_task(grouped.call(0))
    await desk.called.wait()
    others = [grouped.submit(n) for n in range(1, 6)]
    desk.open.set()
    assert await asyncio.gather(first, *others) == [0, 2, 4, 6, 8, 10]
    assert desk.flights == [[0], [1, 2, 3], [4, 5]]


async def test_each_question_has_its_own_answer_or_exception() -> None:
    desk = Desk()
    desk.open.set()
    grouped = GroupedCalls(desk.run, max_group=10)
    answers = await asyncio.gather(*(grouped.call(n) for n in (1, -2, 3)), return_exceptions=True)
    assert answers[::2] == [2, 6]
    assert isinstance(answers[1], ValueError)


async def test_a_flight_that_fails_fails_for_all_in_it_and_for_nobody_else() -> None:
    desk = Desk()
    desk.open.set()
    grouped = GroupedCalls(desk.run, max_group=2)
    asked = [grouped.submit(n) for n in (1, 13, 2)]
    assert [type(a) for a in await asyncio.gather(*asked, return_exceptions=True)] == [
        LookupError,
        LookupError,
        int,
    ]


async def test_a_question_whose_asker_left_is_dropped_and_the_others_are_not() -> None:
    desk = Desk()
    grouped = GroupedCalls(desk.run, max_group=10)
    first, second, third = (asyncio.create_task(grouped.call(n)) for n in (1, 2, 3))
    await desk.called.wait()
    first.cancel()
    fourth, fifth = grouped.submit(4), grouped.submit(5)
    fourth.cancel()
    desk.open.set()
    assert [await second, await third, await fifth] == [4, 6, 10]
    assert desk.flights == [[1, 2, 3], [5]]
    assert first.cancelled()


async def test_closing_waits_for_what_is_waiting() -> None:
    desk = Desk()
    desk.open.set()
    grouped = GroupedCalls(desk.run, max_group=1)
    asked = [grouped.submit(n) for n in range(3)]
    await grouped.aclose()
    assert [future.result() for future in asked] == [0, 2, 4]


async def test_the_queue_is_bounded() -> None:
    desk = Desk()
    grouped = GroupedCalls(desk.run, max_group=MAX_PENDING)
    waiting = [grouped.submit(n) for n in range(MAX_PENDING)]
    with pytest.raises(StorageUnavailable, match="too much is waiting"):
        await grouped.call(1)
    waiting[13].cancel()
    desk.open.set()
    await grouped.aclose()
    assert await grouped.call(1) == 2
