"""Findings that processes tell each other."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from engine.cache import TtlCache
from gateway.cluster.claims import DatabaseClaims
from gateway.cluster.shared.keys import SharedKeys, SharedStoreAway
from gateway.store import StoreError

MAX_CLAIMS = 100_000
"""In memory, while there is no server."""


class SharedNotes:
    """Notes on the shared server; without it, none, and claims are this process's own, unless they
    should last.

    `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        keys: SharedKeys,
        stored_claims: DatabaseClaims,
        parts: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`parts` is the number of processes."""
        self._keys = keys
        self._stored_claims = stored_claims
        self._parts = parts
        self._claims: TtlCache[str, bool] = TtlCache(MAX_CLAIMS, clock)

    async def get(self, name: str) -> str | None:
        """As `engine.sharing.Notes.get`."""
        store = self._keys.store
        if store is None or not store.is_up:
            return None
        try:
            value = await store.read(self._keys.name("note", name))
        except SharedStoreAway:
            return None
        return None if value is None else value.decode("utf-8", "replace")

    def put(self, name: str, value: str, ttl_s: float) -> None:
        """As `engine.sharing.Notes.put`."""
        store = self._keys.store
        if store is None:
            return
        key = self._keys.name("note", name)
        if ttl_s > 0:
            store.post("SET", key, value, "PX", max(1, round(ttl_s * 1000)))
        else:
            store.post("DEL", key)

    async def claim(self, name: str, ttl_s: float, *, lasting: bool = False) -> bool:
        """As `engine.sharing.Notes.claim`."""
        store = self._keys.store
        if store is not None and store.is_up:
            key = self._keys.name("claim", name)
            try:
                was_set = await store.call("SET", key, "1", "NX", "PX", max(1, round(ttl_s * 1000)))
            except SharedStoreAway:
                pass
            else:
                return bool(was_set)
        if lasting and self._parts() > 1:
            with contextlib.suppress(StoreError):
                return await self._stored_claims.claim(name, ttl_s)
        if self._claims.get(name):
            return False
        self._claims.put(name, True, ttl_s)
        return True
