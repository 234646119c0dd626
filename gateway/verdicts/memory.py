"""Verdicts in memory until they expire; the least recently used one is evicted first.

cachetools' LRUCache, with the expiry beside each verdict: a lookup in its TLRUCache takes six times
as long, and there are several in every request.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable

from cachetools import LRUCache

from engine.model import Verification

MAX_BYTES = 80 * 1024 * 1024
"""About 45,000 verdicts."""

CacheEntry = tuple[Verification, float]
"""A verdict and when it expires."""


class MemoryCache:
    """A cache of verdicts. `clock` is Unix time in seconds."""

    def __init__(
        self, clock: Callable[[], float], *, stale_s: float = 0.0, max_bytes: int = MAX_BYTES
    ) -> None:
        """`stale_s`: how long a verdict is kept after it expired."""
        self._clock = clock
        self._stale_s = stale_s
        self._entries: LRUCache[Hashable, CacheEntry] = LRUCache(
            max_bytes, getsizeof=lambda entry: size_in_memory(entry[0])
        )

    def get(self, key: Hashable) -> CacheEntry | None:
        entry = self._entries.get(key)
        if entry is None or entry[1] + self._stale_s > self._clock():
            return entry
        del self._entries[key]
        return None

    def put(self, key: Hashable, verification: Verification, expires_at: float) -> None:
        with contextlib.suppress(ValueError):  # it is larger than the cache
            self._entries[key] = (verification, expires_at)


def size_in_memory(v: Verification) -> int:
    """About how many bytes a verdict takes in the cache: a fixed part, and its texts."""
    evidence = v.evidence
    texts = [v.address.error, evidence.did_you_mean, evidence.provider, evidence.avatar]
    texts += [evidence.raw_word]
    size = 1_300 + 4 * len(v.address.raw)
    if evidence.smtp is not None:
        texts += [evidence.smtp.text, evidence.smtp.host, evidence.smtp.block_list]
    if evidence.person is not None:
        texts += [evidence.person.first, evidence.person.last]
    size += sum(len(text) for text in texts if text)
    size += sum(120 + len(mx.host) for mx in evidence.mx)
    return size + sum(len(attempt.detail) + 200 for attempt in v.attempts)
