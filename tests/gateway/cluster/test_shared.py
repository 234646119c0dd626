"""What two processes share: in each one's memory, and on a real server that may lose every key."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.contract.operations import Rate
from gateway.cluster.limits import RateLimiter, RateLimitExceeded
from gateway.cluster.shared import Shared
from gateway.doctor.shared import examine_shared
from gateway.settings.storage import SharedSettings
from gateway.store import StoreUnusable
from tests.gateway.cluster.conftest import open_pair

Pair = tuple[Shared, Shared]
Flush = Callable[[], None]

HOUR = 3_600


async def hits(*limiters: RateLimiter, tries: int, rate: Rate, flush: Flush | None = None) -> int:
    """How many of so many calls by each limiter in turn are let through."""
    passed = 0
    for _ in range(tries):
        for limiter in limiters:
            try:
                await limiter.hit("account", rate)
                passed += 1
            except RateLimitExceeded:
                pass
            if flush is not None:
                flush()
    return passed


async def test_a_limit_holds_for_both_processes_together(pair: Pair) -> None:
    first, second = pair
    assert await hits(first.limiter, second.limiter, tries=20, rate=Rate(10, HOUR)) == 10


async def test_a_limit_below_the_number_of_processes_lets_each_call_once(pair: Pair) -> None:
    first, second = pair
    passed = await hits(first.limiter, second.limiter, tries=3, rate=Rate(1, HOUR))
    assert 1 <= passed <= 2


async def test_limits_are_kept_apart_by_key_and_by_rate(pair: Pair) -> None:
    first, _ = pair
    left = [
        await first.limiter.hit((1, "single"), Rate(10, HOUR)),
        await first.limiter.hit((2, "single"), Rate(10, HOUR)),
        await first.limiter.hit((1, "batch"), Rate(10, HOUR)),
    ]
    assert left[0] == left[1] == left[2]


async def test_a_refusal_says_the_plans_limit_and_when_to_come_again(pair: Pair) -> None:
    first, _ = pair
    rate = Rate(4, 60)
    assert await hits(first.limiter, tries=4, rate=rate) == (4 if first.store else 2)
    with pytest.raises(RateLimitExceeded) as caught:
        await first.limiter.hit("account", rate)
    assert caught.value.limit == 4
    assert 59 <= caught.value.retry_after_s <= 60


async def test_failed_attempts_are_never_divided(pair: Pair) -> None:
    first, second = pair
    assert await hits(first.guess_limiter, tries=6, rate=Rate(5, HOUR)) == 5
    expected = 0 if first.store else 5
    assert await hits(second.guess_limiter, tries=6, rate=Rate(5, HOUR)) == expected


async def test_with_all_keys_lost_between_any_two_calls_calls_pass(
    pair: Pair, flush: Flush
) -> None:
    first, second = pair
    passed = await hits(first.limiter, second.limiter, tries=5, rate=Rate(6, HOUR), flush=flush)
    assert passed == (10 if first.store else 6)


# -- notes ------------------------------------------------------------------------------


async def test_a_note_is_what_was_put_last_or_nothing(pair: Pair, flush: Flush) -> None:
    first, second = pair
    first.notes.put("a", "1", 60)
    first.notes.put("b", "2", 60)
    first.notes.put("a", "3", 60)
    await posted(first)
    found = [await second.notes.get(name) for name in ("a", "b", "c")]
    assert found == (["3", "2", None] if first.store else [None, None, None])
    flush()
    assert await second.notes.get("a") is None


async def test_a_note_is_withdrawn(pair: Pair) -> None:
    first, second = pair
    first.notes.put("a", "1", 60)
    first.notes.put("a", "", 0)
    await posted(first)
    assert await second.notes.get("a") is None


async def test_one_of_two_claims_is_the_first(pair: Pair, flush: Flush) -> None:
    first, second = pair
    assert await first.notes.claim("balance", 60)
    assert not await first.notes.claim("balance", 60)
    assert await second.notes.claim("balance", 60) is (first.store is None)
    flush()
    assert await second.notes.claim("other", 60)


# -- places and paces -------------------------------------------------------------------


async def held_at_once(*processes: Shared, wanted: int, places: int) -> int:
    """How many places are held when each process takes what it can, within its share."""
    opened = [one.places_of("default") for one in processes]
    tasks = [
        asyncio.ensure_future(each.take("operator", places))
        for each in opened
        for _ in range(min(wanted, each.share(places)))
    ]
    done, waiting = await asyncio.wait(tasks, timeout=0.3)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return len(done)


async def test_places_are_never_more_than_there_are(pair: Pair) -> None:
    assert await held_at_once(*pair, wanted=10, places=4) == 4


async def test_all_places_are_free_again_after_they_were_given_back(
    pair: Pair, flush: Flush
) -> None:
    for one in pair:
        places = one.places_of("default")
        for _ in range(3):
            token = await places.take("operator", 1)
            flush()
            places.give_back("operator", token)
            await posted(one)
    assert await held_at_once(*pair, wanted=10, places=4) == 4


async def test_turns_of_all_processes_are_as_far_apart_as_the_interval(pair: Pair) -> None:
    first, second = (one.paces_of("default") for one in pair)
    waits = [await first.wait_s("operator", 10), await second.wait_s("operator", 10)]
    if pair[0].store:
        assert waits[0] == 0
        assert 9 < waits[1] <= 10
        assert first.share(10) == 10
    else:  # each keeps to its own clock, with twice the interval
        assert waits == [0, 0]
        assert first.share(10) == second.share(10) == 20


# -- flights ----------------------------------------------------------------------------


async def look(
    shared: Shared, looked: asyncio.Queue[str], name: str, until: asyncio.Event
) -> bytes:
    async with shared.flights.join("question", 5) as flight:
        if flight.answer is None:
            looked.put_nowait(name)
            await until.wait()
            flight.publish(f"of {name}".encode(), 60)
            return f"of {name}".encode()
        return flight.answer


async def test_two_processes_that_want_an_answer_find_it_once(pair: Pair) -> None:
    looked: asyncio.Queue[str] = asyncio.Queue()
    found = asyncio.Event()
    tasks = [
        asyncio.create_task(look(one, looked, name, found))
        for one, name in zip(pair, ("a", "b"), strict=True)
    ]
    await looked.get()
    found.set()
    answers = set(await asyncio.gather(*tasks))
    assert (looked.empty(), len(answers)) == ((True, 1) if pair[0].store else (False, 2))


async def test_a_search_that_fails_leaves_it_to_the_next(pair: Pair, flush: Flush) -> None:
    first, second = pair
    with contextlib.suppress(ZeroDivisionError):
        async with first.flights.join("question", 5) as flight:
            assert flight.answer is None
            raise ZeroDivisionError
    await posted(first)
    async with second.flights.join("question", 0) as flight:
        assert flight.answer is None
        flush()
        flight.publish(b"found", 60)
    await posted(second)
    async with first.flights.join("question", 5) as flight:
        assert flight.answer == (b"found" if first.store else None)


async def posted(shared: Shared) -> None:
    """Wait until the server has what was posted."""
    if shared.store is not None:
        await shared.store.settle()


async def test_without_the_driver_the_start_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gateway.cluster.shared.connection", None)
    monkeypatch.setitem(sys.modules, "gateway.cluster.shared.inspection", None)
    settings = SharedSettings(url="valkey://127.0.0.1:1")
    with pytest.raises(StoreUnusable, match=r"pip install 'veriplex\[cluster\]'"):
        async with open_pair(tmp_path, settings):
            pass
    (finding,) = await examine_shared(settings)
    assert finding.level == "fail"
    async with open_pair(tmp_path, SharedSettings()):
        pass  # alone, nobody needs it
