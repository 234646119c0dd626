"""Bounded caches, and coalescing of equal calls."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from cachetools import TLRUCache

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _TtlEntry(Generic[V]):
    value: V
    ttl_s: float


class TtlCache(Generic[K, V]):
    """Values of at most `size` together, each with a TTL. The least recently used one is evicted
    first."""

    def __init__(
        self,
        size: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        size_of: Callable[[V], int] = lambda _: 1,
    ) -> None:
        """By default every value has the size 1. One that is larger than `size` is not cached."""
        self._size_of = size_of
        self._entries: TLRUCache[K, _TtlEntry[V]] = TLRUCache(
            maxsize=size,
            ttu=lambda _key, entry, now: now + entry.ttl_s,
            timer=clock,
            getsizeof=lambda entry: size_of(entry.value),
        )

    def get(self, key: K) -> V | None:
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def put(self, key: K, value: V, ttl_s: float) -> None:
        """Cache `value` for `ttl_s` seconds; with 0 or less, remove what is cached for `key`."""
        if ttl_s > 0 and self._size_of(value) <= self._entries.maxsize:
            self._entries[key] = _TtlEntry(value, ttl_s)
        else:
            self._entries.pop(key, None)

    def __len__(self) -> int:
        return len(self._entries)


class BoundedDict(OrderedDict[K, V]):
    """A dict that drops its oldest entry when there are more than `max_entries`.

    Reading it costs what a dict's does, a third of cachetools' FIFOCache; dropping the first key
    of a plain dict takes the longer the more were dropped before it.
    """

    def __init__(self, max_entries: int) -> None:
        super().__init__()
        self._max_entries = max_entries

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        if len(self) > self._max_entries:
            self.popitem(last=False)


class TooManyFlights(Exception):
    """A new call would exceed the bound on calls in flight."""


@dataclass(slots=True)
class _Flight(Generic[V]):
    task: asyncio.Task[V]
    waiters: int = 0


class SingleFlight(Generic[K, V]):
    """Coalesces concurrent calls for the same key into one task, whose outcome they share.

    A cancelled caller leaves the task to the others. What happens when the last one is
    cancelled depends on how they joined: `run` cancels the task, `join` lets it finish.
    """

    def __init__(self, *, max_flights: int | None = None) -> None:
        """`max_flights` bounds the tasks that run at a time; None sets no bound."""
        self._max_flights = max_flights
        self._flights: dict[K, _Flight[V]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def is_running(self, key: K) -> bool:
        """Whether `run` or `join` would share a task that has begun already."""
        flight = self._flights.get(key)
        return flight is not None and not flight.task.done()

    async def run(self, key: K, call: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The outcome of the task that runs for `key`; without one, `call()` becomes that task.

        Raises what the task raises, and TooManyFlights. When the last caller is cancelled,
        the task is cancelled as well, unless `join` has handed it out.
        """
        flight = self._join(key, call)
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                # Forgotten at once: the next caller must not join a task that is being cancelled.
                self._forget(key, flight, flight.task)
                flight.task.cancel()

    def join(self, key: K, call: Callable[[], Coroutine[Any, Any, V]]) -> asyncio.Task[V]:
        """The task that runs for `key`; without one, `call()` becomes that task.

        The task runs to its end, whether or not anything awaits it: cancel it only through
        `aclose`, and put `asyncio.shield` around it where the awaiting task may be cancelled.
        Raises TooManyFlights.
        """
        flight = self._join(key, call)
        flight.waiters += 1  # never taken back, so that `run` does not cancel the task
        return flight.task

    async def aclose(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _join(self, key: K, call: Callable[[], Coroutine[Any, Any, V]]) -> _Flight[V]:
        flight = self._flights.get(key)
        if flight is None or flight.task.done():
            if self._max_flights is not None and len(self._flights) >= self._max_flights:
                raise TooManyFlights
            flight = self._flights[key] = started = _Flight(asyncio.create_task(call()))
            flight.task.add_done_callback(partial(self._forget, key, started))
        return flight

    def _forget(self, key: K, flight: _Flight[V], _: asyncio.Task[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if flight.task.done() and not flight.task.cancelled():
            # Marks the exception as retrieved, although every caller may have been cancelled.
            flight.task.exception()
