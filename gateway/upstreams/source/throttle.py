"""How much of one upstream may be used at a time, and in a second."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Throttle:
    """At most so many requests at a time and in a second. `clock` is monotonic, in seconds."""

    def __init__(self, at_once: int, per_s: float, *, clock: Callable[[], float]) -> None:
        """`per_s` 0 is without limit."""
        self._free = at_once
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._per_s = per_s
        self._clock = clock
        self._next_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether a request would have to wait."""
        return self._free <= 0 or self._wait_s() > 0

    async def enter(self) -> None:
        """Wait for a place, and for the next second's if this one's are used up."""
        if self._free <= 0:
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self.leave()
                raise
        else:
            self._free -= 1
        if self._per_s > 0:
            wait_s = self._wait_s()
            # one second's worth may go at once; the pace holds after that
            step_s = 1.0 / self._per_s
            start = max(self._next_at, self._clock() - max(1.0 - step_s, 0.0))
            self._next_at = start + step_s
            if wait_s > 0:
                try:
                    await asyncio.sleep(wait_s)
                except asyncio.CancelledError:
                    self.leave()
                    raise

    def leave(self) -> None:
        """Give the place back."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _wait_s(self) -> float:
        if self._per_s <= 0:
            return 0.0
        wait_s = self._next_at - self._clock()
        # below that it is a rounding error
        return wait_s if wait_s > 0.001 else 0.0
