"""Rate limits by key and bucket, as moving windows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, MutableMapping
from math import ceil
from typing import Protocol

from cachetools import LRUCache

from adapters.contract.operations import Rate

CALLS_PER_SWEEP = 10_000
"""Calls between two sweeps that drop empty windows."""


class RateLimitExceeded(Exception):
    """No call fits into the rate now."""

    def __init__(self, limit: int, retry_after_s: int, reset_at: int) -> None:
        super().__init__(f"{limit} calls made; again in {retry_after_s} s")
        self.limit = limit
        self.retry_after_s = retry_after_s
        """Whole seconds until a call fits, at least 1."""
        self.reset_at = reset_at
        """The same as Unix time in seconds, rounded up."""


class RateLimiter(Protocol):
    """Counts calls, in this process or, in a cluster, for all processes."""

    async def hit(self, key: Hashable, rate: Rate) -> int:
        """Count one call, and return how many more fit now.

        Raises RateLimitExceeded; such a call is not counted.
        """
        ...

    def forget(self, key: Hashable, rate: Rate) -> None:
        """Count the calls made so far no more."""
        ...


class MovingWindowLimiter:
    """A limiter in memory that remembers the times of the calls in each window.

    Not the `limits` package, since its storages read the system's clock, and ours must be one that
    a test or the sandbox can move. `clock` is Unix time in seconds.
    """

    def __init__(self, clock: Callable[[], float], *, max_windows: int | None = None) -> None:
        """With `max_windows` the least recently used ones are evicted beyond it; for keys that
        anybody can make up."""
        self._clock = clock
        self._calls: MutableMapping[Hashable, tuple[Rate, deque[float]]]
        self._calls = {} if max_windows is None else LRUCache(max_windows)
        self._until_sweep = CALLS_PER_SWEEP

    def __len__(self) -> int:
        """Windows in memory."""
        return len(self._calls)

    async def hit(self, key: Hashable, rate: Rate, parts: int = 1) -> int:
        """With `parts`, that part of the rate's calls fits, at least one."""
        limit = max(1, rate.count // parts)
        now = self._clock()
        window = self._calls.get(key)
        if window is None or window[0] != rate:
            window = self._calls[key] = (rate, deque())
        calls = window[1]
        _drop_expired(calls, now, rate.per_s)
        if len(calls) >= limit:
            opens = calls[-limit] + rate.per_s
            raise RateLimitExceeded(rate.count, max(1, ceil(opens - now)), ceil(opens))
        calls.append(now)
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._sweep(now)
        return limit - len(calls)

    def forget(self, key: Hashable, rate: Rate) -> None:
        self._calls.pop(key, None)

    def _sweep(self, now: float) -> None:
        """Drop empty windows, so that memory is used only for active keys."""
        self._until_sweep = CALLS_PER_SWEEP
        for key, (rate, calls) in list(self._calls.items()):
            _drop_expired(calls, now, rate.per_s)
            if not calls:
                del self._calls[key]


def _drop_expired(calls: deque[float], now: float, per_s: float) -> None:
    """Drop calls before the window, and calls of a future from which the clock was set back."""
    while calls and calls[0] <= now - per_s:
        calls.popleft()
    while calls and calls[-1] > now:
        calls.pop()
