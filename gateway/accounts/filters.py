"""Filters of accounts in the database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from cachetools import TTLCache
from sqlalchemy import delete, func, select

from adapters.contract.filters import MAX_FILTERS, AddressFilter, Filters, FilterTarget
from gateway.store import Store
from gateway.store.tables import address_filters

CACHED_S = 2.0
"""How long a process may use filters that another one has changed."""
MAX_CACHED = 10_000
"""Accounts whose filters are in memory."""


class SqlFilters:
    """`gateway.accounts.account_state.FilterStore` over the tables.

    `clock` is Unix time, `monotonic` a steady clock, in seconds.
    """

    def __init__(
        self, store: Store, *, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._store = store
        self._clock = clock
        self._cached: TTLCache[tuple[int, str], Filters] = TTLCache(
            MAX_CACHED, CACHED_S, timer=monotonic
        )

    async def find(self, account_id: int, dialect: str) -> Filters:
        cached = self._cached.get((account_id, dialect))
        if cached is not None:
            return cached
        query = (
            select(address_filters)
            .where(*_belongs_to(account_id, dialect))
            .order_by(
                address_filters.c.created_at, address_filters.c.target, address_filters.c.value
            )
        )
        rows = await self._store.fetch_all(query)
        found = Filters(
            AddressFilter(row.allows, FilterTarget(row.target), row.value) for row in rows
        )
        self._cached[account_id, dialect] = found
        return found

    async def add(self, account_id: int, dialect: str, new: AddressFilter) -> bool:
        key = {
            "account_id": account_id,
            "dialect": dialect,
            "target": new.target.value,
            "value": new.value,
        }
        async with self._store.write() as connection:
            await self._store.lock(connection, f"filters:{account_id}")
            # a filter in the place of another one needs no room
            others = (address_filters.c.target != new.target.value) | (
                address_filters.c.value != new.value
            )
            count = await connection.scalar(
                select(func.count()).where(*_belongs_to(account_id, dialect), others)
            )
            if int(count or 0) >= MAX_FILTERS:
                return False
            created_at = datetime.fromtimestamp(self._clock(), UTC)
            insert = self._store.insert(address_filters).values(
                **key, allows=new.allows, created_at=created_at
            )
            await connection.execute(
                insert.on_conflict_do_update(
                    index_elements=list(key), set_={"allows": insert.excluded.allows}
                )
            )
        self._cached.pop((account_id, dialect), None)
        return True

    async def delete(self, account_id: int, dialect: str, old: AddressFilter) -> bool:
        async with self._store.write() as connection:
            gone = await connection.execute(
                delete(address_filters).where(
                    *_belongs_to(account_id, dialect),
                    address_filters.c.target == old.target.value,
                    address_filters.c.value == old.value,
                    address_filters.c.allows == old.allows,
                )
            )
        self._cached.pop((account_id, dialect), None)
        return bool(gone.rowcount)


def _belongs_to(account_id: int, dialect: str) -> tuple[Any, ...]:
    return (address_filters.c.account_id == account_id, address_filters.c.dialect == dialect)
