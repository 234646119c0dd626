"""Questions that are paid for but not answered yet, so that asking again costs nothing."""

from __future__ import annotations

from collections.abc import Callable

from engine.cache import BoundedDict
from engine.model import Checks
from gateway.accounts.caller import Charge

MAX_ENTRIES = 100_000
"""Questions remembered; the oldest go first."""

RepeatKey = tuple[int, str, Checks]
"""Account, normalised address, and how far to go."""


class FreeRepeats:
    """Remembers charges for a while. `clock` is Unix time in seconds.

    Nearly always empty, and asked at every request: a plain dict, since the caches of cachetools
    look at their clock even then.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._charges: BoundedDict[RepeatKey, tuple[Charge, float]] = BoundedDict(MAX_ENTRIES)

    def get(self, key: RepeatKey) -> Charge | None:
        if not self._charges:
            return None
        found = self._charges.get(key)
        return found[0] if found is not None and found[1] > self._clock() else None

    def remember(self, key: RepeatKey, charge: Charge, for_s: float) -> None:
        """For `for_s` seconds from the first time on, however often it is asked again."""
        if self.get(key) is None:
            self._charges.pop(key, None)
            self._charges[key] = (charge, self._clock() + for_s)

    def forget(self, key: RepeatKey) -> None:
        if self._charges:
            self._charges.pop(key, None)
