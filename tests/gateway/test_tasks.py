"""Calls that are grouped, streams that are merged, loops in the background, long computations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import pytest

from gateway.errors import StorageUnavailable
from gateway.tasks import (
    MAX_MERGED_AHEAD,
    MAX_PENDING,
    SLICE_S,
    GroupedCalls,
    PeriodicWrites,
    TimeSlices,
    WorkLoop,
    merge,
)


class Doubler:
    """Doubles numbers once it is open, and remembers the groups."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.called = asyncio.Event()
        self.groups: list[list[int]] = []

    async def run(self, numbers: list[int]) -> list[int | Exception]:
        self.groups.append(numbers)
        self.called.set()
        await self.open.wait()
        if 13 in numbers:
            raise LookupError
        return [ValueError(n) if n < 0 else 2 * n for n in numbers]


async def test_calls_that_arrive_while_a_group_runs_form_the_next() -> None:
    doubler = Doubler()
    grouped = GroupedCalls(doubler.run, max_group=3)
    first = asyncio.create_task(grouped.call(0))
    await doubler.called.wait()
    others = [grouped.submit(n) for n in range(1, 6)]
    doubler.open.set()
    assert await asyncio.gather(first, *others) == [0, 2, 4, 6, 8, 10]
    assert doubler.groups == [[0], [1, 2, 3], [4, 5]]


async def test_each_call_has_its_own_result_or_exception() -> None:
    doubler = Doubler()
    doubler.open.set()
    grouped = GroupedCalls(doubler.run, max_group=10)
    results = await asyncio.gather(*(grouped.call(n) for n in (1, -2, 3)), return_exceptions=True)
    assert results[::2] == [2, 6]
    assert isinstance(results[1], ValueError)


async def test_a_group_that_fails_fails_for_its_own_calls_alone() -> None:
    doubler = Doubler()
    doubler.open.set()
    grouped = GroupedCalls(doubler.run, max_group=2)
    calls = [grouped.submit(n) for n in (1, 13, 2)]
    assert [type(a) for a in await asyncio.gather(*calls, return_exceptions=True)] == [
        LookupError,
        LookupError,
        int,
    ]


async def test_a_cancelled_call_is_dropped_and_the_others_are_not() -> None:
    doubler = Doubler()
    grouped = GroupedCalls(doubler.run, max_group=10)
    first, second, third = (asyncio.create_task(grouped.call(n)) for n in (1, 2, 3))
    await doubler.called.wait()
    first.cancel()
    fourth, fifth = grouped.submit(4), grouped.submit(5)
    fourth.cancel()
    doubler.open.set()
    assert [await second, await third, await fifth] == [4, 6, 10]
    assert doubler.groups == [[1, 2, 3], [5]]
    assert first.cancelled()


async def test_closing_waits_for_pending_calls() -> None:
    doubler = Doubler()
    doubler.open.set()
    grouped = GroupedCalls(doubler.run, max_group=1)
    calls = [grouped.submit(n) for n in range(3)]
    await grouped.aclose()
    assert [future.result() for future in calls] == [0, 2, 4]


async def test_pending_calls_are_bounded() -> None:
    doubler = Doubler()
    grouped = GroupedCalls(doubler.run, max_group=MAX_PENDING)
    waiting = [grouped.submit(n) for n in range(MAX_PENDING)]
    with pytest.raises(StorageUnavailable, match="too much is waiting"):
        await grouped.call(1)
    waiting[13].cancel()
    doubler.open.set()
    await grouped.aclose()
    assert await grouped.call(1) == 2


# -- merged streams ----------------------------------------------------------------------


class Source:
    """Counts upwards from `first`; knows how far it was read and whether it was closed."""

    def __init__(self, first: int, count: int, failure: Exception | None = None) -> None:
        self.numbers = iter(range(first, first + count))
        self.read = 0
        self.closed = False
        self.failure = failure

    async def stream(self) -> AsyncGenerator[int, None]:
        try:
            for number in self.numbers:
                self.read += 1
                yield number
            if self.failure is not None:
                raise self.failure
        finally:
            self.closed = True


async def test_merged_streams_lose_nothing() -> None:
    sources = [Source(0, 1_000), Source(1_000, 5), Source(2_000, 0)]
    found = [number async for number in merge([source.stream() for source in sources])]
    assert sorted(found) == list(range(1_005))
    assert all(source.closed for source in sources)


async def test_a_slow_consumer_of_merged_streams_slows_them() -> None:
    sources = [Source(0, 10_000), Source(10_000, 10_000)]
    async with aclosing(merge([source.stream() for source in sources])) as merged:
        await anext(merged)
        for _ in range(100):
            await asyncio.sleep(0)
        # what waits for the consumer, and one item in the hand of each
        assert sum(source.read for source in sources) <= 1 + MAX_MERGED_AHEAD + 2
    assert all(source.closed for source in sources)


async def test_a_failure_of_one_stream_is_raised_when_the_others_have_ended() -> None:
    sources = [Source(0, 3, LookupError()), Source(10, 500)]
    found = []

    async def consume() -> None:
        async for number in merge([source.stream() for source in sources]):
            found.append(number)

    with pytest.raises(LookupError):
        await consume()
    assert sorted(found) == [0, 1, 2, *range(10, 510)]


async def test_no_more_streams_are_read_at_a_time_than_wanted() -> None:
    sources = [Source(0, 1_000), Source(1_000, 1_000), Source(2_000, 1_000)]
    async with aclosing(merge([s.stream() for s in sources], max_running=2)) as merged:
        await anext(merged)
        assert sources[2].read == 0
        assert len([number async for number in merged]) == 2_999


# -- loops -------------------------------------------------------------------------------


class Counter:
    """A loop that counts its rounds."""

    def __init__(self) -> None:
        self.loop = WorkLoop()
        self.rounds = 0
        self.counted = asyncio.Event()

    async def run(self) -> None:
        while not self.loop.stopping:
            self.rounds += 1
            self.counted.set()
            await self.loop.pause(None)

    async def next_round(self) -> None:
        self.counted.clear()
        await self.counted.wait()


async def test_a_loop_runs_again_when_it_is_woken() -> None:
    counter = Counter()
    async with counter.loop.running(counter.run()):
        await counter.counted.wait()
        for rounds in (1, 2, 3):
            assert counter.rounds == rounds
            counter.loop.wake()
            await counter.next_round()
    assert counter.rounds == 4


async def test_a_wake_during_the_work_ends_the_next_pause() -> None:
    loop = WorkLoop()
    loop.wake()
    await loop.pause(None)


async def test_a_pause_ends_by_itself() -> None:
    await WorkLoop().pause(0.001)


async def test_a_loop_ends_after_the_work_that_it_has_begun() -> None:
    loop, begun, finish, finished = WorkLoop(), asyncio.Event(), asyncio.Event(), []

    async def run() -> None:
        begun.set()
        await finish.wait()
        finished.append(loop.stopping)
        await loop.pause(None)

    async with loop.running(run()):
        await begun.wait()
        asyncio.get_running_loop().call_soon(finish.set)
    assert finished == [True]


async def test_waiting_for_a_task_ends_when_the_loop_is_stopped() -> None:
    loop = WorkLoop()
    task: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    ended = []

    async def run() -> None:
        await loop.wait_for(task)
        ended.append((loop.stopping, task.done()))

    async with loop.running(run()):
        await loop.wait_for(task, 0.001)
        assert not loop.stopping
    assert ended == [(True, False)]


async def test_waiting_for_a_task_ends_with_it() -> None:
    task: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task.set_result(None)
    await WorkLoop().wait_for(task)


async def test_waiting_for_the_stop_is_not_cut_short_by_a_wake() -> None:
    loop, waited = WorkLoop(), []

    async def run() -> None:
        loop.wake()
        await loop.wait_for_stop(60)
        waited.append(loop.stopping)

    async with loop.running(run()):
        await asyncio.sleep(0)
        assert not waited
    assert waited == [True]


class SlicedTimer:
    """A timer by which every second look finds the slice over."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        self._now += SLICE_S / 2
        return self._now


async def test_one_of_many_computations_runs_for_a_slice_in_each_turn_of_the_loop() -> None:
    slices = TimeSlices(timer=SlicedTimer())
    turns: list[list[str]] = [[]]

    async def compute(name: str) -> None:
        async with slices.computing("party") as computation:
            for _ in range(10):
                turns[-1].append(name)
                if computation.is_over:
                    await computation.pause()

    tasks = [asyncio.create_task(compute(name)) for name in "abcd"]
    while not all(task.done() for task in tasks):
        turns.append([])
        await asyncio.sleep(0)
    assert sorted(name for turn in turns for name in turn) == sorted("abcd" * 10)
    assert max(map(len, turns)) <= 2
    order = [turn[0] for turn in turns if turn]
    assert {tuple(order[i : i + 4]) for i in range(0, 12, 4)} == {tuple("abcd")}


async def test_a_computation_that_is_cancelled_leaves_its_turn_to_the_others() -> None:
    slices = TimeSlices(timer=SlicedTimer())

    async def compute() -> str:
        async with slices.computing("party") as computation:
            for _ in range(10):
                await computation.pause()
        return "done"

    tasks = [asyncio.create_task(compute()) for _ in range(3)]
    for task in tasks[:2]:  # one has the turn, one waits for it
        await asyncio.sleep(0)
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks[:2])
    async with asyncio.timeout(5):
        assert await tasks[2] == "done"
        assert await compute() == "done"


class Collection:
    """Something that is written to a database, which fails on demand."""

    def __init__(self) -> None:
        self.waiting = 0
        self.written = 0
        self.fails = False
        self.is_writing, self.may_go_on = asyncio.Event(), asyncio.Event()
        self.failures: list[bool] = []
        self.purges = 0

    async def write(self) -> None:
        if not self.waiting:
            return
        taken, self.waiting = self.waiting, 0
        self.is_writing.set()
        await self.may_go_on.wait()
        if self.fails:
            self.waiting += taken
            raise StorageUnavailable("full")
        self.written += taken

    async def purge(self) -> None:
        self.purges += 1

    def writes(self) -> PeriodicWrites:
        return PeriodicWrites(
            self.write,
            lambda _, is_last: self.failures.append(is_last),
            every_s=0.001,
            purge=self.purge,
            purge_every_s=3600,
        )


async def test_a_write_that_is_under_way_at_the_end_loses_nothing() -> None:
    collection = Collection()
    collection.waiting = 3
    async with collection.writes().running():
        await collection.is_writing.wait()
        collection.waiting += 2
        asyncio.get_running_loop().call_soon(collection.may_go_on.set)
    assert (collection.written, collection.waiting, collection.failures) == (5, 0, [])


async def test_the_rest_is_written_after_a_failure() -> None:
    collection = Collection()
    collection.may_go_on.set()

    async def fail() -> None:
        async with collection.writes().running():
            collection.waiting = 3
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert collection.written == 3


async def test_what_cannot_be_written_is_tried_again_and_reported_at_the_end() -> None:
    collection = Collection()
    collection.fails = True
    collection.waiting = 1
    collection.may_go_on.set()
    async with collection.writes().running():
        while len(collection.failures) < 3:
            collection.is_writing.clear()
            await collection.is_writing.wait()
        assert not any(collection.failures)
    assert collection.failures[-1]
    assert collection.waiting == 1


async def test_a_purge_follows_the_first_write() -> None:
    collection = Collection()
    collection.may_go_on.set()
    async with collection.writes().running():
        while collection.purges < 1:
            collection.waiting += 1
            collection.is_writing.clear()
            await collection.is_writing.wait()
    assert collection.purges == 1
