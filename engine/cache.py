"""A bounded cache whose entries each have their own lifetime, and one flight per question.

Both are asked by the resolver, the catch-all memory and the gateway's verdict cache.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cachetools import TLRUCache

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _TtlEntry(Generic[V]):
    value: V
    ttl_s: float


class TtlCache(Generic[K, V]):
    """At most `size` values, the least recently used dropped first, each until its own end."""

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries: TLRUCache[K, _TtlEntry[V]] = TLRUCache(
            maxsize=size, ttu=lambda _key, entry, now: now + entry.ttl_s, timer=clock
        )

    def get(self, key: K) -> V | None:
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def put(self, key: K, value: V, ttl_s: float) -> None:
        """Keep `value` for `ttl_s` seconds; nothing is kept for zero or less."""
        if ttl_s > 0:
            self._entries[key] = _TtlEntry(value, ttl_s)
        else:
            self._entries.pop(key, None)

    def clear(self) -> None:
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(slots=True)
class _Flight(Generic[V]):
    task: asyncio.Task[V]
    waiters: int = 0


class SingleFlight(Generic[K, V]):
    """Lets equal questions that are asked at the same time share one answer.

    The work runs in a task of its own, so a caller that gives up takes nothing from the
    others; when the last one gives up, the work is cancelled too.
    """

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def run(self, key: K, call: Callable[[], Awaitable[V]]) -> V:
        """The value (or exception) of `work()`, or of the equal question already asked."""
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(asyncio.ensure_future(_call(call)))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda _task: self._forget(key, flight))
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                # Forgotten at once: whoever asks next must not join a flight that is going down.
                self._forget(key, flight)
                flight.task.cancel()

    async def aclose(self) -> None:
        """Cancel what is in flight and wait until it is gone."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, key: K, flight: _Flight[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if flight.task.done() and not flight.task.cancelled():
            flight.task.exception()  # seen, even if every caller has left


async def _call(call: Callable[[], Awaitable[V]]) -> V:
    return await call()
