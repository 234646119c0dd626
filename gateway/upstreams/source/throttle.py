"""How many requests one upstream gets at a time, and how many a second.

This is the only such bound: the HTTP client opens as many connections as it is asked for. Accounts
take turns (`engine.turns`), so that one with thousands of requests does not keep another's waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from engine.sharing import NO_PACES, NO_PLACES, Paces, Places
from engine.turns import FairSlots, Party, current_party

MIN_WAIT_S = 0.001
"""A shorter wait is a rounding error."""
MIN_SHARED_WAIT_S = 0.1
"""Within this time the shared server answers, or is given up."""


class Slot:
    """A place among the requests in flight. It can be given up before its request has ended."""

    def __init__(self, throttle: Throttle, party: Party, place: str) -> None:
        """`place` is its token among those of all processes."""
        self._throttle = throttle
        self._party = party
        self._place = place
        self._is_given_up = False

    def give_up(self) -> None:
        """Let another request have the place, unless too many have been given up."""
        throttle = self._throttle
        if not self._is_given_up and throttle.given_up < throttle.max_concurrent:
            self._is_given_up = True
            throttle.given_up += 1
            throttle.release(self._party, self._place)

    def end(self) -> None:
        """The request has ended."""
        if self._is_given_up:
            self._throttle.given_up -= 1
        else:
            self._throttle.release(self._party, self._place)


class Throttle:
    """Bounds requests in flight, and requests a second. `clock` is monotonic, in seconds.

    Those of other processes count as well: under `name`, in `places` and `paces`.
    """

    def __init__(
        self,
        max_concurrent: int,
        max_per_s: float,
        *,
        clock: Callable[[], float],
        name: str = "",
        places: Places = NO_PLACES,
        paces: Paces = NO_PACES,
    ) -> None:
        """`max_per_s` 0 sets no bound."""
        self._name = name
        self._places = places
        self._paces = paces
        self._allowed = self.max_concurrent = max_concurrent
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
        place = await self._acquire_within(party, wait_s)
        if place is None:
            yield None
            return
        slot = Slot(self, party, place)
        try:
            yield slot
        finally:
            slot.end()

    def release(self, party: Party, place: str) -> None:
        """End the turn of a party, and begin the next one."""
        self._places.give_back(self._name, place)
        self._slots.release(party)

    async def _acquire_within(self, party: Party, wait_s: float) -> str | None:
        """The token of a place; None if there was none in time."""
        if (allowed := self._places.share(self.max_concurrent)) != self._allowed:
            self._allowed = allowed
            self._slots.resize(allowed)
        if not self.busy:  # without the cost of a time-out
            await self._slots.acquire(party)
            return await self._acquire_shared(party, wait_s)
        began = self._clock()
        try:
            async with asyncio.timeout(wait_s):
                await self._slots.acquire(party)
        except TimeoutError:
            return None
        return await self._acquire_shared(party, wait_s - (self._clock() - began))

    async def _acquire_shared(self, party: Party, wait_s: float) -> str | None:
        """A place and a turn among those of all processes, for a party that has one here."""
        if not self._places.is_counted:
            return ""
        place = ""
        try:
            async with asyncio.timeout(max(wait_s, MIN_SHARED_WAIT_S)):
                place = await self._places.take(self._name, self.max_concurrent)
                await self._take_shared_turn()
        except BaseException as exc:
            self.release(party, place)
            if isinstance(exc, TimeoutError):
                return None
            raise
        return place

    async def _take_shared_turn(self) -> None:
        """Wait for a turn among those of all processes."""
        interval_s, burst_s = self._interval_s, max(1.0 - self._interval_s, 0.0)
        pause_s = interval_s and await self._paces.wait_s(self._name, interval_s, burst_s=burst_s)
        while pause_s > 0:
            await asyncio.sleep(pause_s)
            pause_s = await self._paces.wait_s(self._name, interval_s, burst_s=burst_s)

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
        interval_s = self._paces.share(self._interval_s)
        burst_s = max(1.0 - interval_s, 0.0)
        self._next_at = max(self._next_at, self._clock() - burst_s) + interval_s
        return True

    def _resume(self) -> None:
        self._resuming = None
        self._slots.grant()

    @property
    def _wait_s(self) -> float:
        wait_s = self._next_at - self._clock() if self._interval_s else 0.0
        return wait_s if wait_s > MIN_WAIT_S else 0.0
