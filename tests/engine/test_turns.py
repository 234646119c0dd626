"""Turns between parties: fewest in flight first, then the last turn that is longest ago."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.turns import (
    MAX_REMEMBERED_TURNS,
    MIN_SHARE,
    NO_PARTY,
    FairQueue,
    FairSlots,
    Turns,
    acting_for,
    current_party,
)


async def settle(turns: int = 5) -> None:
    """Let the tasks that are ready run."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def test_a_task_acts_for_the_party_of_the_task_that_started_it() -> None:
    async def party() -> object:
        return current_party()

    with acting_for("one"):
        task = asyncio.create_task(party())
        with acting_for("two"):
            assert await party() == "two"
    assert await task == "one"
    assert current_party() == NO_PARTY


def test_parties_alternate_whatever_each_of_them_has() -> None:
    queue: FairQueue[str] = FairQueue()
    for party, count in (("a", 4), ("b", 1), ("c", 2)):
        for number in range(count):
            queue.put(f"{party}{number}", party)
    assert [queue.pop() for _ in range(len(queue))] == ["a0", "b0", "c0", "a1", "c1", "a2", "a3"]
    assert not queue


def test_the_party_with_the_fewest_in_flight_goes_first() -> None:
    turns = Turns()
    queue: FairQueue[str] = FairQueue(turns)
    for name in ("a0", "a1", "a2", "b0", "b1"):
        queue.put(name, name[0])
    taken = [queue.take()[1] for _ in range(4)]
    assert taken == ["a0", "b0", "a1", "b1"]
    turns.give_back("b")
    queue.put("b2", "b")
    assert queue.take() == ("b", "b2")


def test_of_one_party_the_lowest_rank_goes_first_and_then_the_oldest() -> None:
    queue: FairQueue[str] = FairQueue()
    for name, rank in (("pool", 2), ("single 1", 0), ("bulk", 1), ("single 2", 0)):
        queue.put(name, "a", rank=rank)
    queue.put("again", "a", at_front=True)
    assert [queue.pop() for _ in range(5)] == ["again", "single 1", "single 2", "bulk", "pool"]


def test_an_item_can_be_taken_out() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put("one", "a")
    queue.put("two", "a")
    queue.discard("one", "a")
    queue.discard("one", "a")
    queue.discard("three", "b")
    assert list(queue) == ["two"]
    queue.discard("two", "a")
    assert not queue
    with pytest.raises(ValueError, match=r"empty|arg"):
        queue.next_key()


def test_turns_are_remembered_of_so_many_parties() -> None:
    turns = Turns()
    for party in range(3 * MAX_REMEMBERED_TURNS):
        turns.take(party)
        turns.give_back(party)
    assert turns.total == 0
    assert len(turns._last_turns) <= MAX_REMEMBERED_TURNS
    assert not turns._in_flight


def test_a_party_leaves_the_others_most_of_what_is_free() -> None:
    turns = Turns()
    places, parties = 4_000, 20
    for party in range(parties):
        while not turns.exceeds_share(party, places):
            turns.take(party)
    assert turns.in_flight(0) == pytest.approx(places / 5, abs=1)
    assert turns.in_flight(parties - 1) >= MIN_SHARE
    assert turns.total < places


async def test_the_places_of_a_slow_party_do_not_hold_up_another() -> None:
    """A bound of our own is exceeded by one for each party that has nothing in flight."""
    slots = FairSlots(2)
    began: list[str] = []

    async def work(party: str, *, forever: bool) -> None:
        async with slots.slot(party):
            began.append(party)
            await (asyncio.Event().wait() if forever else asyncio.sleep(0))

    slow = [asyncio.create_task(work("slow", forever=True)) for _ in range(10)]
    await settle()
    assert began == ["slow"] * 2
    await asyncio.gather(*(work("quick", forever=False) for _ in range(20)))
    assert Counter(began) == {"slow": 2, "quick": 20}
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    assert slots.active == 0


@given(
    places=st.integers(1, 4),
    is_strict=st.booleans(),
    works=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(0, 3), st.booleans()),
        max_size=30,
    ),
)
def test_no_place_is_lost_or_given_twice(
    places: int, is_strict: bool, works: list[tuple[str, int, int, bool]]
) -> None:
    """Each work has a party, a rank, how long it takes, and whether it is cancelled."""

    async def run() -> None:
        slots = FairSlots(places, is_strict=is_strict)
        active: Counter[str] = Counter()

        async def work(party: str, rank: int, turns: int) -> None:
            async with slots.slot(party, rank=rank):
                active[party] += 1
                extra = 0 if is_strict else 2  # of the two other parties at most
                assert active.total() <= slots.active <= places + extra
                try:
                    await settle(turns)
                finally:
                    active[party] -= 1

        tasks = [asyncio.create_task(work(*each[:3])) for each in works]
        await settle(2)
        for task, (*_, is_cancelled) in zip(tasks, works, strict=True):
            if is_cancelled:
                task.cancel()
                await settle(1)
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for end, (*_, is_cancelled) in zip(ended, works, strict=True):
            assert end is None or (is_cancelled and isinstance(end, asyncio.CancelledError))
        assert slots.active == 0
        assert not slots.has_waiters

    asyncio.run(run())
