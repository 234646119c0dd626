"""Answers at hand: in memory, as long as they hold, and those that were used last.

cachetools' LRUCache, with the time beside each answer: a look into its TLRUCache takes six times
as long, and there are several in every request.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from cachetools import LRUCache

from engine.model import Verification

MAX_ENTRIES = 100_000
"""Answers; the least recently used go first."""

CacheEntry = tuple[Verification, float]
"""An answer and when its time is over."""


class MemoryCache:
    """Remembers answers. `clock` is Unix time in seconds."""

    def __init__(self, clock: Callable[[], float], *, stale_s: float = 0.0) -> None:
        """`stale_s`: how long after its time an answer is still remembered."""
        self._clock = clock
        self._stale_s = stale_s
        self._entries: LRUCache[Hashable, CacheEntry] = LRUCache(MAX_ENTRIES)

    def get(self, key: Hashable) -> CacheEntry | None:
        entry = self._entries.get(key)
        if entry is None or entry[1] + self._stale_s > self._clock():
            return entry
        del self._entries[key]
        return None

    def put(self, key: Hashable, verification: Verification, expires_at: float) -> None:
        self._entries[key] = (verification, expires_at)
