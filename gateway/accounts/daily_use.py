"""Use by day in the database: what verifications resulted in, for vendors that show it.

Nothing is billed by it, so that counts stay in memory for `FLUSH_AFTER_S` until they are written.
A kill may lose as much.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime

from sqlalchemy import func, select

from gateway.store import Store, StoreError
from gateway.store.tables import daily_use

log = logging.getLogger(__name__)

FLUSH_AFTER_S = 0.5
ROWS_PER_INSERT = 500

_Key = tuple[int, str, str, str]
"""Account, dialect, day and word."""


class SqlDailyUse:
    """`gateway.accounts.account_state.DailyUse` over the tables. `clock` is Unix time."""

    def __init__(self, store: Store, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._counts: Counter[_Key] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._flushing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def count(self, account_id: int, dialect: str, words: Iterable[str]) -> None:
        day = datetime.fromtimestamp(self._clock(), UTC).date().isoformat()
        self._counts.update((account_id, dialect, day, word) for word in words)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self._start_flush)

    async def between(
        self, account_id: int, dialect: str, first: date, last: date
    ) -> Mapping[str, int]:
        await self._flush()
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

    async def aclose(self) -> None:
        """Write everything that is still to be written."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        try:
            await self._flush()
        except StoreError as exc:
            log.error("daily_use.lost", extra={"error": str(exc)})

    def _start_flush(self) -> None:
        self._timer = None
        task = asyncio.create_task(self._try_to_flush())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try_to_flush(self) -> None:
        try:
            await self._flush()
        except StoreError as exc:
            log.warning("daily_use.write_delayed", extra={"error": str(exc)})
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self._start_flush)

    async def _flush(self) -> None:
        """Write the counts. Raises StoreError; then they are pending again."""
        async with self._flushing:
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
