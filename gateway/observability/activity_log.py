"""The counts of `gateway.observability.activity` in the database, in buckets of time.

A task adds what was counted every few seconds, so that the counts outlive the process and are those
of all processes on one database; a kill loses a few seconds. Each count is added to a bucket of
each span; the finer the span, the sooner its buckets are deleted.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from sqlalchemy import delete, select

from gateway.errors import StorageUnavailable
from gateway.observability.activity import ActivityCounter, Counts, Tally
from gateway.store import Store, StoreError
from gateway.store.tables import activity
from gateway.tasks import PeriodicWrites

log = logging.getLogger(__name__)

WRITE_EVERY_S = 3.0
PURGE_EVERY_S = 300.0

MINUTE_S, QUARTER_S, QUARTER_DAY_S = 60, 900, 21_600
KEPT_S = {MINUTE_S: 3 * 3600, QUARTER_S: 3 * 86_400, QUARTER_DAY_S: 400 * 86_400}
"""How long the buckets of each span are stored."""


class ActivityLog:
    """The buckets of one database. `clock` is Unix time in seconds; methods raise StoreError."""

    def __init__(self, store: Store, counter: ActivityCounter, clock: Callable[[], float]) -> None:
        self._store = store
        self._counter = counter
        self._clock = clock

    async def write(self) -> None:
        """Add what was counted to the bucket of now, of each span."""
        counts = self._counter.take()
        if not counts:
            return
        now = int(self._clock())
        rows = [
            {
                "span": span,
                "start": now - now % span,
                "subject": subject,
                "name": name,
                "count": tally.count,
                "total": tally.total,
            }
            for span in KEPT_S
            # in one order everywhere, so that two processes do not wait for each other's rows
            for (subject, name), tally in sorted(counts.items(), key=lambda each: each[0])
        ]
        upsert = self._store.insert(activity)
        upsert = upsert.on_conflict_do_update(
            index_elements=list(activity.primary_key),
            set_={
                "count": activity.c.count + upsert.excluded.count,
                "total": activity.c.total + upsert.excluded.total,
            },
        )
        try:
            async with self._store.write() as connection:
                await connection.execute(upsert, rows)
        except StoreError:
            self._counter.put_back(counts)
            raise

    async def purge(self) -> None:
        """Delete the buckets that are too old."""
        now = int(self._clock())
        async with self._store.write() as connection:
            for span, kept_s in KEPT_S.items():
                too_old = activity.c.start < now - kept_s
                await connection.execute(delete(activity).where(activity.c.span == span, too_old))

    async def read(self, span: int, since: int) -> dict[int, Counts]:
        """The counts of each bucket of a span that began at Unix time `since` or later."""
        columns = activity.c
        query = select(
            columns.start, columns.subject, columns.name, columns.count, columns.total
        ).where(columns.span == span, columns.start >= since)
        buckets: dict[int, Counts] = {}
        for row in await self._store.fetch_all(query):
            start, subject, name, count, total = tuple(row)
            buckets.setdefault(start, {})[subject, name] = Tally(count, total)
        return buckets


def _report_failure(error: StorageUnavailable, is_last: bool) -> None:
    if is_last:
        log.warning("activity.lost", extra={"error": str(error)})
    else:
        log.warning("activity.write_delayed", extra={"error": str(error)})


@contextlib.asynccontextmanager
async def open_activity_log(
    store: Store, counter: ActivityCounter, *, clock: Callable[[], float]
) -> AsyncIterator[ActivityLog]:
    """Store what `counter` counts while inside, and the rest on leaving."""
    activity_log = ActivityLog(store, counter, clock)
    writes = PeriodicWrites(
        activity_log.write,
        _report_failure,
        every_s=WRITE_EVERY_S,
        purge=activity_log.purge,
        purge_every_s=PURGE_EVERY_S,
    )
    async with writes.running():
        yield activity_log
