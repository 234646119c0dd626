"""Opens the verdict cache by the settings: in memory only, or in the database too."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from engine.model import Verification
from gateway.cluster.shared.flights import SharedFlights
from gateway.settings.storage import CacheSettings
from gateway.store import Store
from gateway.verdicts.cache import VerdictCache
from gateway.verdicts.database import SqlVerdictStore


@contextlib.asynccontextmanager
async def open_verdict_cache(
    cache: CacheSettings,
    store: Store,
    *,
    clock: Callable[[], float],
    flights: SharedFlights | None = None,
    is_alone: Callable[[], bool] = lambda: True,
    on_verified: Callable[[Verification, str], None] = lambda *_: None,
) -> AsyncIterator[VerdictCache]:
    """`clock` is Unix time in seconds; `flights` are the searches of all processes.
    `is_alone`: whether no other process has the database open; `on_verified` is called with each
    new verification. Raises StoreError."""
    async with contextlib.AsyncExitStack() as stack:
        stored = None
        if cache.stored:
            stored = await stack.enter_async_context(
                _open_stored_verdicts(store, cache.max_stored, clock, is_alone)
            )
        verdicts = VerdictCache(
            ttl_s=cache.ttl_s.by_verdict(),
            clock=clock,
            stale_s=cache.stale_s,
            store=stored,
            shared_flights=flights,
            on_verified=on_verified,
        )
        stack.push_async_callback(verdicts.aclose)
        yield verdicts


@contextlib.asynccontextmanager
async def _open_stored_verdicts(
    store: Store, max_entries: int, clock: Callable[[], float], is_alone: Callable[[], bool]
) -> AsyncIterator[SqlVerdictStore]:
    """The verdicts of earlier runs, to which those of this run are added."""
    verdicts = SqlVerdictStore(store, max_entries=max_entries, clock=clock, is_alone=is_alone)
    await verdicts.load_digests()
    async with verdicts.periodic_writes().running():
        yield verdicts
