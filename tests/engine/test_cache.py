"""The cache with a TTL for each entry, and the coalescing of equal calls."""

from __future__ import annotations

import asyncio
import gc

import pytest

from engine.cache import BoundedDict, SharedCalls, SingleFlight, TooManyFlights, TtlCache
from tests.fakes.clock import Clock


def test_each_entry_expires_after_its_own_ttl() -> None:
    clock = Clock()
    cache: TtlCache[str, int] = TtlCache(10, clock)
    cache.put("short", 1, ttl_s=5)
    cache.put("long", 2, ttl_s=50)
    clock.now += 4.9
    assert (cache.get("short"), cache.get("long")) == (1, 2)
    clock.now += 0.2
    assert (cache.get("short"), cache.get("long")) == (None, 2)


def test_a_ttl_of_zero_removes_the_entry() -> None:
    cache: TtlCache[str, int] = TtlCache(10, Clock())
    cache.put("name", 1, ttl_s=60)
    cache.put("name", 2, ttl_s=0)
    assert cache.get("name") is None


def test_the_cache_is_bounded() -> None:
    cache: TtlCache[int, int] = TtlCache(100, Clock())
    for number in range(1000):
        cache.put(number, number, ttl_s=60)
    assert len(cache) == 100
    assert cache.get(999) == 999


def test_values_are_bounded_by_their_size() -> None:
    cache: TtlCache[str, str] = TtlCache(10, Clock(), size_of=len)
    cache.put("small", "xx", ttl_s=60)
    cache.put("large", "x" * 8, ttl_s=60)
    assert cache.get("small") == "xx"
    cache.put("other", "xxx", ttl_s=60)
    assert cache.get("large") is None
    cache.put("too large", "x" * 11, ttl_s=60)
    assert cache.get("too large") is None
    assert (cache.get("small"), cache.get("other")) == ("xx", "xxx")


async def test_concurrent_equal_calls_are_made_once() -> None:
    flights: SharedCalls[str, int] = SharedCalls()
    gate = asyncio.Event()
    calls = 0

    async def work() -> int:
        nonlocal calls
        calls += 1
        await gate.wait()
        return 7

    callers = [asyncio.ensure_future(flights.run("key", work)) for _ in range(5)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*callers) == [7] * 5
    assert calls == 1
    assert len(flights) == 0
    assert await flights.run("key", work) == 7
    assert calls == 2


async def test_a_cancelled_caller_does_not_affect_the_others() -> None:
    flights: SharedCalls[str, int] = SharedCalls()
    gate = asyncio.Event()

    async def work() -> int:
        await gate.wait()
        return 7

    first = asyncio.ensure_future(flights.run("key", work))
    second = asyncio.ensure_future(flights.run("key", work))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    gate.set()
    assert await second == 7


async def test_the_call_is_cancelled_with_its_last_caller_and_not_joined_after() -> None:
    flights: SharedCalls[str, int] = SharedCalls()
    started, ended = 0, asyncio.Event()

    async def work() -> int:
        nonlocal started
        started += 1
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 0

    async def quick() -> int:
        return 8

    caller = asyncio.ensure_future(flights.run("key", work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert started == 1
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    assert await flights.run("key", quick) == 8
    await asyncio.wait_for(ended.wait(), 1)


async def test_an_exception_reaches_every_caller() -> None:
    flights: SharedCalls[str, int] = SharedCalls()

    async def work() -> int:
        await asyncio.sleep(0)
        raise LookupError("broken")

    callers = [asyncio.ensure_future(flights.run("key", work)) for _ in range(3)]
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [LookupError] * 3
    with pytest.raises(LookupError):
        await flights.run("key", work)


async def test_closing_cancels_the_calls_in_flight() -> None:
    flights: SharedCalls[str, int] = SharedCalls()

    async def work() -> int:
        await asyncio.Event().wait()
        return 0

    caller = asyncio.ensure_future(flights.run("key", work))
    await asyncio.sleep(0)
    await flights.aclose()
    assert len(flights) == 0
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_a_joined_task_runs_to_its_end_though_every_caller_was_cancelled() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    gate = asyncio.Event()

    async def work() -> int:
        await gate.wait()
        return 7

    task = flights.join("key", work)
    assert flights.is_running("key")
    assert not flights.is_running("other key")
    caller = asyncio.shield(flights.join("key", work))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    assert flights.join("key", work) is task
    gate.set()
    assert await task == 7
    assert not flights.is_running("key")


async def test_a_task_that_has_ended_is_not_joined() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    gate = asyncio.Event()
    results = iter((1, 2))

    async def work() -> int:
        await gate.wait()
        return next(results)

    async def join_after_the_end() -> int:
        # Woken right after `first`: its task has ended, its done callbacks have not run.
        await gate.wait()
        assert first.done()
        assert len(flights) == 1
        assert not flights.is_running("key")
        return await flights.join("key", work)

    first = flights.join("key", work)
    second = asyncio.ensure_future(join_after_the_end())
    await asyncio.sleep(0)
    gate.set()
    assert (await first, await second) == (1, 2)
    assert len(flights) == 0


async def test_a_failure_that_no_caller_waits_for_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    flights: SingleFlight[str, int] = SingleFlight()

    async def work() -> int:
        raise LookupError("broken")

    await asyncio.wait([flights.join("key", work)])
    assert len(flights) == 0
    gc.collect()
    assert caplog.records == []


async def test_calls_in_flight_are_bounded_and_equal_ones_count_once() -> None:
    flights: SingleFlight[int, int] = SingleFlight(max_flights=2)
    gate = asyncio.Event()

    async def work() -> int:
        await gate.wait()
        return 7

    tasks = [flights.join(key, work) for key in (1, 2, 1)]
    with pytest.raises(TooManyFlights):
        flights.join(3, work)
    gate.set()
    assert await asyncio.gather(*tasks) == [7, 7, 7]
    assert await flights.join(3, work) == 7


def test_a_bounded_dict_drops_the_oldest_entry() -> None:
    bounded: BoundedDict[int, str] = BoundedDict(2)
    bounded[1], bounded[2] = "a", "b"
    bounded[1] = "c"
    assert dict(bounded) == {1: "c", 2: "b"}
    bounded[3] = "d"
    assert dict(bounded) == {2: "b", 3: "d"}
