"""Rate limits that count the calls of all processes together."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import ceil

from adapters.contract.operations import Rate
from gateway.cluster.limits import MovingWindowLimiter, RateLimitExceeded
from gateway.cluster.shared.keys import SharedKeys, SharedStoreAway
from gateway.cluster.shared.scripts import HIT


class SharedLimiter:
    """A limiter on the shared server; without it, one in memory with this process's part.

    `clock` is Unix time in seconds, `parts` the number of processes. The windows on the server and
    those in memory do not know of each other, so that a rate may be reached twice in the window in
    which the server goes away or comes back.
    """

    def __init__(
        self,
        keys: SharedKeys,
        clock: Callable[[], float],
        parts: Callable[[], int],
        *,
        max_windows: int | None = None,
    ) -> None:
        """`max_windows` bounds those in memory, as in `MovingWindowLimiter`."""
        self._keys = keys
        self._clock = clock
        self._parts = parts
        self._memory = MovingWindowLimiter(clock, max_windows=max_windows)

    async def hit(self, key: Hashable, rate: Rate) -> int:
        """As `RateLimiter.hit`."""
        store = self._keys.store
        if store is not None and store.is_up:
            name = self._name(key, rate)
            try:
                left, wait_us = await store.run(HIT, [name], rate.count, rate.per_s * 1_000_000)
            except SharedStoreAway:
                pass
            else:
                if left < 0:
                    wait_s = wait_us / 1_000_000
                    raise RateLimitExceeded(
                        rate.count, max(1, ceil(wait_s)), ceil(self._clock() + wait_s)
                    )
                return int(left)
        return await self._memory.hit(key, rate, self._parts())

    def forget(self, key: Hashable, rate: Rate) -> None:
        """As `RateLimiter.forget`."""
        self._memory.forget(key, rate)
        if self._keys.store is not None:
            self._keys.store.post("DEL", self._name(key, rate))

    def _name(self, key: Hashable, rate: Rate) -> str:
        return self._keys.name("rate", f"{key!r}\0{rate.count}\0{rate.per_s}")
