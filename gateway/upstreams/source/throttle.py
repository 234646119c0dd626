"""How many requests one upstream gets at a time, and how many a second.

This is the only such bound: the HTTP client opens as many connections as it is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

MIN_WAIT_S = 0.001
"""A shorter wait is a rounding error."""


class Throttle:
    """Bounds requests in flight, and requests a second. `clock` is monotonic, in seconds."""

    def __init__(
        self, max_concurrent: int, max_per_s: float, *, clock: Callable[[], float]
    ) -> None:
        """`max_per_s` 0 sets no bound."""
        self._slots = asyncio.Semaphore(max_concurrent)
        self._interval_s = 1.0 / max_per_s if max_per_s > 0 else 0.0
        self._clock = clock
        self._next_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether a request would have to wait."""
        return self._slots.locked() or self._wait_s > 0

    @contextlib.asynccontextmanager
    async def slot(self, wait_s: float) -> AsyncIterator[bool]:
        """Hold a slot while inside. Yields False if none was to be had within `wait_s`."""
        if not await self._acquire_within(wait_s):
            yield False
            return
        try:
            yield True
        finally:
            self._slots.release()

    async def _acquire_within(self, wait_s: float) -> bool:
        if not self.busy:  # without the cost of a time-out
            await self._acquire()
            return True
        try:
            async with asyncio.timeout(wait_s):
                await self._acquire()
        except TimeoutError:
            return False
        return True

    async def _acquire(self) -> None:
        await self._slots.acquire()
        try:
            await self._keep_pace()
        except BaseException:
            self._slots.release()
            raise

    async def _keep_pace(self) -> None:
        """Wait for this request's turn. A second's worth may go at once after a pause."""
        if not self._interval_s:
            return
        wait_s = self._wait_s
        burst_s = max(1.0 - self._interval_s, 0.0)
        self._next_at = max(self._next_at, self._clock() - burst_s) + self._interval_s
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    @property
    def _wait_s(self) -> float:
        wait_s = self._next_at - self._clock() if self._interval_s else 0.0
        return wait_s if wait_s > MIN_WAIT_S else 0.0
