"""Bounded caches, and coalescing of equal calls."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TtlCache(Generic[K, V]):
    """Values of at most `size` together, each with a TTL. The least recently used one is evicted
    first.

    A domain of a list is looked for in six caches; a get takes a tenth of cachetools' TLRUCache's.
    """

    def __init__(
        self,
        size: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        size_of: Callable[[V], int] = lambda _: 1,
    ) -> None:
        """By default every value has the size 1. One that is larger than `size` is not cached."""
        self._max_size = size
        self._size_of = size_of
        self._clock = clock
        self._entries: OrderedDict[K, tuple[V, float, int]] = OrderedDict()
        """By key: the value, when it expires on the clock, and its size."""
        self._size = 0

    def get(self, key: K) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[1] <= self._clock():
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, ttl_s: float) -> None:
        """Cache `value` for `ttl_s` seconds; with 0 or less, remove what is cached for `key`."""
        if key in self._entries:
            self._remove(key)
        size = self._size_of(value)
        if ttl_s <= 0 or size > self._max_size:
            return
        self._entries[key] = value, self._clock() + ttl_s, size
        self._size += size
        while self._size > self._max_size:
            self._size -= self._entries.popitem(last=False)[1][2]

    def __len__(self) -> int:
        """Entries, those included that have expired and were not looked for since."""
        return len(self._entries)

    def _remove(self, key: K) -> None:
        self._size -= self._entries.pop(key)[2]


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


class SharedCalls(Generic[K, V]):
    """Coalesces concurrent calls for the same key, without a task for each.

    The first caller makes the call itself, and the others wait for its outcome. If it is cancelled,
    the next one makes the call anew.
    """

    def __init__(self) -> None:
        self._calls: dict[K, _SharedCall[V]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    async def run(self, key: K, call: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The outcome of the call that is made for `key`; without one, that of `call()`.

        Raises what the call raises.
        """
        while (shared := self._calls.get(key)) is not None:
            waiter: asyncio.Future[tuple[V] | None] = asyncio.get_running_loop().create_future()
            shared.waiters.append(waiter)
            outcome = await waiter
            if outcome is not None:
                return outcome[0]
        shared = self._calls[key] = _SharedCall(asyncio.current_task())
        try:
            value = await call()
        except Exception as exc:
            shared.settle(exc)
            raise
        except BaseException:
            shared.settle(None)
            raise
        else:
            shared.settle((value,))
            return value
        finally:
            del self._calls[key]

    async def aclose(self) -> None:
        """Cancel the callers that are making a call, and wait until they have ended."""
        tasks = [shared.task for shared in self._calls.values() if shared.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _SharedCall(Generic[V]):
    """A call, the task of the caller that makes it, and the callers that wait."""

    __slots__ = ("task", "waiters")

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        self.task = task
        self.waiters: list[asyncio.Future[tuple[V] | None]] = []
        """Their results: the outcome, or None to make the call anew."""

    def settle(self, outcome: tuple[V] | Exception | None) -> None:
        """Give the waiters the outcome: a value, an exception, or None to make the call anew."""
        for waiter in self.waiters:
            if waiter.done():
                continue
            if isinstance(outcome, Exception):
                waiter.set_exception(outcome)
            else:
                waiter.set_result(outcome)


class SingleFlight(Generic[K, V]):
    """Coalesces concurrent calls for the same key into one task, whose outcome they share.

    The task runs to its end even if every caller is cancelled.
    """

    def __init__(self, *, max_flights: int | None = None) -> None:
        """`max_flights` bounds the tasks that run at a time; None sets no bound."""
        self._max_flights = max_flights
        self._flights: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def is_running(self, key: K) -> bool:
        """Whether `join` would share a task that has begun already."""
        flight = self._flights.get(key)
        return flight is not None and not flight.done()

    def join(self, key: K, call: Callable[[], Coroutine[Any, Any, V]]) -> asyncio.Task[V]:
        """The task that runs for `key`; without one, `call()` becomes that task.

        The task runs to its end, whether or not anything awaits it: cancel it only through
        `aclose`, and put `asyncio.shield` around it where the awaiting task may be cancelled.
        Raises TooManyFlights.
        """
        flight = self._flights.get(key)
        if flight is None or flight.done():
            if self._max_flights is not None and len(self._flights) >= self._max_flights:
                raise TooManyFlights
            flight = self._flights[key] = asyncio.create_task(call())
            flight.add_done_callback(partial(self._forget, key))
        return flight

    async def aclose(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        tasks = list(self._flights.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, key: K, flight: asyncio.Task[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not flight.cancelled():
            # Marks the exception as retrieved, although every caller may have been cancelled.
            flight.exception()
