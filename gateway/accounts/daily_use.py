"""Use by day in the database: what verifications resulted in, for vendors that show it.

Nothing is billed by it, so that counts stay in memory until the next write; a kill may lose them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import UTC, date, datetime

from sqlalchemy import func, select

from gateway.errors import StorageUnavailable
from gateway.store import Store
from gateway.store.tables import daily_use
from gateway.tasks import PeriodicWrites

log = logging.getLogger(__name__)

WRITE_EVERY_S = 0.5
ROWS_PER_INSERT = 500

_Key = tuple[int, str, str, str]
"""Account, dialect, day and word."""


class SqlDailyUse:
    """`gateway.accounts.account_state.DailyUse` over the tables. `clock` is Unix time."""

    def __init__(self, store: Store, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._counts: Counter[_Key] = Counter()
        self._writing = asyncio.Lock()

    def count(self, account_id: int, dialect: str, words: Iterable[str]) -> None:
        day = datetime.fromtimestamp(self._clock(), UTC).date().isoformat()
        self._counts.update((account_id, dialect, day, word) for word in words)

    async def between(
        self, account_id: int, dialect: str, first: date, last: date
    ) -> Mapping[str, int]:
        await self.write()
        total = func.sum(daily_use.c.count).label("total")
        query = (
            select(daily_use.c.word, total)
            .where(
                daily_use.c.account_id == account_id,
                daily_use.c.dialect == dialect,
                daily_use.c.day.between(first.isoformat(), last.isoformat()),
            )
            .group_by(daily_use.c.word)
        )
        return {row.word: int(row.total) for row in await self._store.fetch_all(query)}

    async def write(self) -> None:
        """Write the counts. Raises StoreError; then they are pending again."""
        async with self._writing:
            counts, self._counts = self._counts, Counter()
            # in one order, so that no two processes wait for each other's rows
            rows = [
                {"account_id": account, "dialect": dialect, "day": day, "word": word, "count": n}
                for (account, dialect, day, word), n in sorted(counts.items())
            ]
            if not rows:
                return
            try:
                async with self._store.write() as connection:
                    insert = self._store.insert(daily_use)
                    adding = insert.on_conflict_do_update(
                        index_elements=["account_id", "dialect", "day", "word"],
                        set_={"count": daily_use.c.count + insert.excluded.count},
                    )
                    for start in range(0, len(rows), ROWS_PER_INSERT):
                        await connection.execute(adding, rows[start : start + ROWS_PER_INSERT])
            except BaseException:
                self._counts.update(counts)
                raise


@contextlib.asynccontextmanager
async def open_daily_use(store: Store, *, clock: Callable[[], float]) -> AsyncIterator[SqlDailyUse]:
    """Counts are written while inside, and the rest on leaving."""
    use = SqlDailyUse(store, clock=clock)
    async with PeriodicWrites(use.write, _report_failure, every_s=WRITE_EVERY_S).running():
        yield use


def _report_failure(error: StorageUnavailable, is_last: bool) -> None:
    if is_last:
        log.error("daily_use.lost", extra={"error": str(error)})
    else:
        log.warning("daily_use.write_delayed", extra={"error": str(error)})
