"""The moving window, with a clock that the test moves."""

from __future__ import annotations

import pytest

from adapters.contract.operations import Rate
from gateway.cluster.limits import CALLS_PER_SWEEP, MovingWindowLimiter, RateLimitExceeded


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000_000.25)


@pytest.fixture
def limiter(clock: Clock) -> MovingWindowLimiter:
    return MovingWindowLimiter(clock)


async def test_calls_up_to_the_rate_return_how_many_are_left(
    limiter: MovingWindowLimiter,
) -> None:
    assert [await limiter.hit("k", Rate(3, 60)) for _ in range(3)] == [2, 1, 0]


async def test_a_refusal_says_when_the_oldest_call_leaves_the_window(
    clock: Clock, limiter: MovingWindowLimiter
) -> None:
    await limiter.hit("k", Rate(2, 60))
    clock.now += 20
    await limiter.hit("k", Rate(2, 60))
    clock.now += 10
    with pytest.raises(RateLimitExceeded) as caught:
        await limiter.hit("k", Rate(2, 60))
    assert caught.value.limit == 2
    assert caught.value.retry_after_s == 30
    assert caught.value.reset_at == 1_000_061  # rounded up, so that it is not too early


async def test_a_call_fits_after_retry_after_s(clock: Clock, limiter: MovingWindowLimiter) -> None:
    await limiter.hit("k", Rate(1, 1))
    clock.now += 0.999
    with pytest.raises(RateLimitExceeded) as caught:
        await limiter.hit("k", Rate(1, 1))
    assert caught.value.retry_after_s == 1  # never 0
    clock.now += caught.value.retry_after_s
    assert await limiter.hit("k", Rate(1, 1)) == 0


async def test_refused_calls_do_not_count(clock: Clock, limiter: MovingWindowLimiter) -> None:
    await limiter.hit("k", Rate(1, 10))
    for _ in range(5):
        clock.now += 1
        with pytest.raises(RateLimitExceeded):
            await limiter.hit("k", Rate(1, 10))
    clock.now += 5
    assert await limiter.hit("k", Rate(1, 10)) == 0


async def test_the_window_moves_so_no_burst_fits_around_its_edge(
    clock: Clock, limiter: MovingWindowLimiter
) -> None:
    clock.now = 1059.5
    for _ in range(3):
        await limiter.hit("k", Rate(3, 60))
    clock.now = 1060.5
    with pytest.raises(RateLimitExceeded):
        await limiter.hit("k", Rate(3, 60))


async def test_keys_have_separate_windows(limiter: MovingWindowLimiter) -> None:
    assert [await limiter.hit(key, Rate(1, 60)) for key in ("a", "b", ("a", "verify"))] == [0, 0, 0]


async def test_a_new_rate_starts_a_new_window(limiter: MovingWindowLimiter) -> None:
    await limiter.hit("k", Rate(1, 60))
    assert await limiter.hit("k", Rate(5, 60)) == 4


async def test_a_clock_that_is_set_back_locks_no_key_out(
    clock: Clock, limiter: MovingWindowLimiter
) -> None:
    await limiter.hit("k", Rate(1, 60))
    clock.now -= 3600
    assert await limiter.hit("k", Rate(1, 60)) == 0


async def test_windows_of_unused_keys_are_dropped(
    clock: Clock, limiter: MovingWindowLimiter
) -> None:
    for n in range(CALLS_PER_SWEEP - 1):
        await limiter.hit(n, Rate(1, 60))
    clock.now += 61
    await limiter.hit("last", Rate(1, 60))
    assert len(limiter) == 1
