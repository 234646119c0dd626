"""Finds the account of an API key, with a cache of less than a second."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Any

from cachetools import TTLCache
from sqlalchemy import Row, select

from engine.cache import BoundedDict
from gateway.accounts.caller import AccountStatus, Caller
from gateway.accounts.keys import MAX_KEY_CHARACTERS, key_digest
from gateway.accounts.plans import Plans
from gateway.store import Store
from gateway.store.tables import accounts, keys
from gateway.tasks import GroupedCalls

FOUND_TTL_S = 0.9
"""Below a second, so that every process refuses a revoked key, and applies a changed plan, within
one."""
NOT_FOUND_TTL_S = 0.5
"""For a credential that is no key; it may be a key that was created a moment ago."""
MAX_FOUND = 20_000
MAX_NOT_FOUND = 5_000
KEYS_PER_QUERY = 200
"""Credentials in one query, so that a flood of bad ones costs few queries."""


class CallerLookup:
    """Finds callers by their credentials. `monotonic` is a monotonic clock in seconds."""

    def __init__(self, store: Store, plans: Plans, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._plans = plans
        self._monotonic = monotonic
        # with the time of expiry; not a TTLCache, since every request reads it
        self._found: BoundedDict[tuple[str, bytes], tuple[Caller, float]] = BoundedDict(MAX_FOUND)
        # with the dialect in which it is a key; empty if in none
        self._not_found: TTLCache[tuple[str, bytes], str]
        self._not_found = TTLCache(MAX_NOT_FOUND, NOT_FOUND_TTL_S, timer=monotonic)
        self._lookups: GroupedCalls[tuple[str, bytes], Caller | str]
        self._lookups = GroupedCalls(self._look_up, max_group=KEYS_PER_QUERY)

    async def find(self, dialect: str, credential: str) -> Caller | None:
        """The caller; None if the key is unknown, revoked, or of another dialect.

        Raises StoreError.
        """
        if len(credential) > MAX_KEY_CHARACTERS:
            return None
        key = (dialect, key_digest(credential))
        cached = self._found.get(key)
        if cached is not None and cached[1] > self._monotonic():
            return cached[0]
        if key in self._not_found:
            return None
        caller = await self._lookups.call(key)
        if isinstance(caller, Caller):
            self._found[key] = (caller, self._monotonic() + FOUND_TTL_S)
            return caller
        self._found.pop(key, None)
        self._not_found[key] = caller
        return None

    async def find_by_id(self, key_id: int) -> Caller | None:
        """The caller with a stored key; None if it is revoked. Raises StoreError."""
        rows = await self._store.fetch_all(_WITH_ACCOUNTS.where(keys.c.id == key_id))
        return self._to_caller(rows[0]) if rows else None

    def _to_caller(self, row: Row[Any]) -> Caller:
        return Caller(
            account_id=row.account_id,
            key_id=row.id,
            dialect=row.dialect,
            test=row.test,
            plan=self._plans.plan_for(row.dialect, row.plan),
            status=AccountStatus(row.status),
            owner_email=row.owner_email,
            key_label=row.label or row.hint,
            has_credits=row.credits is not None,
        )

    def other_dialect(self, dialect: str, credential: str) -> str | None:
        """The dialect that has a key which `find` has just not found in `dialect`."""
        return self._not_found.get((dialect, key_digest(credential))) or None

    def clear(self) -> None:
        """Empty the cache, after this process has changed an account or a key."""
        self._found.clear()
        self._not_found.clear()

    async def aclose(self) -> None:
        await self._lookups.aclose()

    async def _look_up(self, keys_wanted: list[tuple[str, bytes]]) -> Sequence[Caller | str]:
        """The callers; for a key of another dialect its name, and an empty text for no key."""
        hashes = list({hash_ for _, hash_ in keys_wanted})
        rows = await self._store.fetch_all(_WITH_ACCOUNTS.where(keys.c.hash.in_(hashes)))
        found = {(row.dialect, row.hash): row for row in rows}
        dialects = {row.hash: row.dialect for row in found.values()}
        callers: list[Caller | str] = []
        for dialect, hash_ in keys_wanted:
            row = found.get((dialect, hash_))
            if row is None or not hmac.compare_digest(row.hash, hash_):
                callers.append(dialects.get(hash_, ""))
                continue
            callers.append(self._to_caller(row))
        return callers


_WITH_ACCOUNTS = (
    select(
        keys.c.id,
        keys.c.account_id,
        keys.c.dialect,
        keys.c.hash,
        keys.c.test,
        keys.c.hint,
        keys.c.label,
        accounts.c.status,
        accounts.c.plan,
        accounts.c.owner_email,
        accounts.c.credits,
    )
    .join_from(keys, accounts, keys.c.account_id == accounts.c.id)
    .where(keys.c.revoked_at.is_(None))
)
