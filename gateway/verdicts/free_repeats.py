"""Requests that were charged and not answered in time: repeating them is free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from engine.cache import BoundedDict
from engine.model import Checks
from gateway.accounts.caller import Charge

MAX_ENTRIES = 20_000
"""Requests for valid addresses that are remembered, of 1 kB at most; the oldest is dropped
first."""

RepeatKey = tuple[int, str, Checks]
"""Account, normalised address, and checks."""


class FreeRepeats(Protocol):
    """Remembers charges. Every method may raise StorageUnavailable."""

    async def get(self, key: RepeatKey) -> Charge | None: ...

    async def remember(self, key: RepeatKey, charge: Charge, free_for_s: float) -> None:
        """Remember a charge for `free_for_s` after it was first remembered."""
        ...

    async def forget(self, key: RepeatKey) -> None: ...


class LocalFreeRepeats:
    """Those of one process alone. `clock` is Unix time in seconds.

    It is nearly always empty and looked up at every request, so it is a dict: the caches of
    cachetools read their clock even when they are empty.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._charges: BoundedDict[RepeatKey, tuple[Charge, float]] = BoundedDict(MAX_ENTRIES)

    async def get(self, key: RepeatKey) -> Charge | None:
        if not self._charges:
            return None
        found = self._charges.get(key)
        return found[0] if found is not None and found[1] > self._clock() else None

    async def remember(self, key: RepeatKey, charge: Charge, free_for_s: float) -> None:
        if await self.get(key) is None:
            self._charges.pop(key, None)
            self._charges[key] = (charge, self._clock() + free_for_s)

    async def forget(self, key: RepeatKey) -> None:
        if self._charges:
            self._charges.pop(key, None)
