"""Rate limits: so many calls in any so many seconds, by key and bucket."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from math import ceil
from typing import Protocol

from adapters.contract.operations import Rate

CALLS_PER_SWEEP = 10_000
"""Calls between two looks for windows that are over."""


class RateLimitExceeded(Exception):
    """The rate is used up for now."""

    def __init__(self, limit: int, retry_after_s: int, reset_at: int) -> None:
        super().__init__(f"{limit} calls made; again in {retry_after_s} s")
        self.limit = limit
        self.retry_after_s = retry_after_s
        """Whole seconds until a call fits again, at least 1."""
        self.reset_at = reset_at
        """That moment in Unix time, seconds, rounded up."""


class RateLimiter(Protocol):
    """Counts calls. A cluster's would keep its counts where every process sees them."""

    async def hit(self, key: Hashable, rate: Rate) -> int:
        """Count one call and say how many more fit now. A refused call is not counted.

        Raises TooFast.
        """
        ...


class MovingWindowLimiter:
    """A limiter in this process's memory: the times of the calls that still count.

    Its own few lines, since the storages of the `limits` package read the system's clock and
    ours has to be one that a test, or the sandbox, can move. `clock` is Unix time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls: dict[Hashable, tuple[Rate, deque[float]]] = {}
        self._until_sweep = CALLS_PER_SWEEP

    def __len__(self) -> int:
        """Windows in memory."""
        return len(self._calls)

    async def hit(self, key: Hashable, rate: Rate) -> int:
        now = self._clock()
        known = self._calls.get(key)
        if known is None or known[0] != rate:
            known = self._calls[key] = (rate, deque())
        calls = known[1]
        _drop_expired(calls, now, rate.per_s)
        if len(calls) >= rate.count:
            opens = calls[0] + rate.per_s
            raise RateLimitExceeded(rate.count, max(1, ceil(opens - now)), ceil(opens))
        calls.append(now)
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._sweep(now)
        return rate.count - len(calls)

    def _sweep(self, now: float) -> None:
        """Drop windows without calls, so that memory follows the keys in use."""
        self._until_sweep = CALLS_PER_SWEEP
        for key, (rate, calls) in list(self._calls.items()):
            _drop_expired(calls, now, rate.per_s)
            if not calls:
                del self._calls[key]


def _drop_expired(calls: deque[float], now: float, per_s: float) -> None:
    """Drop the calls that count no more, and those of a future that was taken back."""
    while calls and calls[0] <= now - per_s:
        calls.popleft()
    while calls and calls[-1] > now:
        calls.pop()
