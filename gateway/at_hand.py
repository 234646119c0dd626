"""Answers at hand: in memory, as long as they hold, and those that were used last.

Its own few lines, since a look into cachetools' TLRUCache costs ten times one into a dictionary,
and there are several in every request.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from engine.model import Verification

MOST = 100_000
"""Answers; the least recently used go first."""

Entry = tuple[Verification, float]
"""An answer and when its time is over."""


class AtHand:
    """Remembers answers. `clock` is Unix time in seconds."""

    def __init__(self, clock: Callable[[], float], *, stale_s: float = 0.0) -> None:
        """`stale_s`: how long after its time an answer is still remembered."""
        self._clock = clock
        self._stale_s = stale_s
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()

    def get(self, key: Hashable) -> Entry | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[1] + self._stale_s <= self._clock():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry

    def keep(self, key: Hashable, answer: Verification, expires_at: float) -> None:
        self._entries[key] = (answer, expires_at)
        self._entries.move_to_end(key)
        if len(self._entries) > MOST:
            self._entries.popitem(last=False)
