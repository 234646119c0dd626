"""How many requests one upstream gets at a time, and how many a second.

This is the only such bound: the HTTP client opens as many connections as it is asked for. Accounts
take turns (`engine.turns`), so that one with thousands of requests does not keep another's waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from engine.turns import FairSlots, Party, current_party

MIN_WAIT_S = 0.001
"""A shorter wait is a rounding error."""


class Slot:
    """A place among the requests in flight. It can be given up before its request has ended."""

    def __init__(self, throttle: Throttle, party: Party) -> None:
        self._throttle = throttle
        self._party = party
        self._is_given_up = False

    def give_up(self) -> None:
        """Let another request have the place, unless too many have been given up."""
        throttle = self._throttle
        if not self._is_given_up and throttle.given_up < throttle.max_concurrent:
            self._is_given_up = True
            throttle.given_up += 1
            throttle.release(self._party)

    def end(self) -> None:
        """The request has ended."""
        if self._is_given_up:
            self._throttle.given_up -= 1
        else:
            self._throttle.release(self._party)


class Throttle:
    """Bounds requests in flight, and requests a second. `clock` is monotonic, in seconds."""

    def __init__(
        self, max_concurrent: int, max_per_s: float, *, clock: Callable[[], float]
    ) -> None:
        """`max_per_s` 0 sets no bound."""
        self.max_concurrent = max_concurrent
        self.given_up = 0
        """Requests in flight whose place was given up; at most `max_concurrent`."""
        self._slots = FairSlots(max_concurrent, is_strict=True, admit=self._keeps_pace)
        self._interval_s = 1.0 / max_per_s if max_per_s > 0 else 0.0
        self._clock = clock
        self._next_at = 0.0
        self._resuming: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Whether a request would have to wait."""
        return self._slots.is_full or self._slots.has_waiters or self._wait_s > 0

    @contextlib.asynccontextmanager
    async def slot(self, wait_s: float) -> AsyncIterator[Slot | None]:
        """Hold a slot while inside. Yields None if none was to be had within `wait_s`."""
        party = current_party()
        if not await self._acquire_within(party, wait_s):
            yield None
            return
        slot = Slot(self, party)
        try:
            yield slot
        finally:
            slot.end()

    def release(self, party: Party) -> None:
        """End the turn of a party, and begin the next one."""
        self._slots.release(party)

    async def _acquire_within(self, party: Party, wait_s: float) -> bool:
        if not self.busy:  # without the cost of a time-out
            await self._slots.acquire(party)
            return True
        try:
            async with asyncio.timeout(wait_s):
                await self._slots.acquire(party)
        except TimeoutError:
            return False
        return True

    def _keeps_pace(self) -> bool:
        """Whether the pace allows a request now, which then counts. A second's worth may go at once
        after a pause."""
        if not self._interval_s:
            return True
        if (wait_s := self._wait_s) > 0:
            if self._resuming is None:
                loop = asyncio.get_running_loop()
                self._resuming = loop.call_later(wait_s, self._resume)
            return False
        burst_s = max(1.0 - self._interval_s, 0.0)
        self._next_at = max(self._next_at, self._clock() - burst_s) + self._interval_s
        return True

    def _resume(self) -> None:
        self._resuming = None
        self._slots.grant()

    @property
    def _wait_s(self) -> float:
        wait_s = self._next_at - self._clock() if self._interval_s else 0.0
        return wait_s if wait_s > MIN_WAIT_S else 0.0
