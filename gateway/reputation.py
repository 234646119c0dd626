"""Our reputation in the database: refusals by egress, operator, meaning and hour, and pauses.

The engine counts (`engine.smtp.reputation`); the sums here outlive the process, and all processes
on one database share them. Counts are written every two seconds, so a kill loses that much. No
mailbox is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, and_, case, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.model import Meaning
from engine.smtp.meanings import REFUSAL_WEIGHTS
from engine.smtp.reputation import PauseState, RefusalCount, ReputationTracker
from gateway.store import Store, StoreError, open_store
from gateway.store.tables import egress_pauses as pauses
from gateway.store.tables import egress_refusals as refusals
from gateway.tasks import in_background

log = logging.getLogger(__name__)

WRITE_EVERY_S = 2.0
RELOAD_EVERY_S = 10.0
"""After this time at most, a pause of another process holds in this one too."""
PURGE_EVERY_S = 600.0
KEPT_DAYS = 30
MAX_ROWS = 100_000
"""Rows of `refusals`; beyond it the oldest hours are deleted first."""
MAX_PAUSES = 20_000
MAX_UNWRITTEN = 10_000
"""Rows of `refusals` kept in memory while the database cannot be written."""
MAX_BLOCK_LIST_CHARACTERS = 255
"""Of a block list's name, which a mail server may have made up."""

HOUR_S = 3_600
DAY_S = 86_400
RECENT_DAYS = 7

Clock = Callable[[], float]
_RefusalKey = tuple[str, str, str, str, int]
"""The key of `refusals`: egress, operator, meaning, block list, hour."""
_REFUSAL_KEY = ("egress", "operator", "meaning", "block_list", "hour")
_PauseKey = tuple[str, str, str | None]
"""The key of `pauses`: egress, operator, host."""

_STORED_MEANINGS = tuple(meaning.value for meaning in REFUSAL_WEIGHTS)


@dataclass(frozen=True, slots=True)
class RecentRefusals:
    """Refusals of one egress by one operator with one meaning and block list, of the last days."""

    egress: str
    operator: str
    meaning: Meaning
    block_list: str | None
    day: int
    """Refusals in the last 24 hours, to the hour."""
    week: int
    """Refusals in the last 7 days."""
    since: datetime
    """Time of the first refusal that is stored."""
    last_at: datetime
    host: str
    """The host that refused last."""
    text: str | None
    """Its reply, without mailboxes."""
    paused_s: int
    """Until the last pause of the operator or of its hosts is over; 0 without one."""
    paused_hosts: int
    """How many of its hosts are paused; 0 with `paused_s` means that the whole operator is."""


class ReputationStore:
    """Stores what `ReputationTracker`s count, and gives them the pauses of other processes.

    `reputations` are by the name of their egress. `clock` is Unix time in seconds.
    """

    def __init__(
        self,
        store: Store,
        reputations: Mapping[str, ReputationTracker],
        *,
        clock: Clock,
        max_rows: int = MAX_ROWS,
    ) -> None:
        self._max_rows = max_rows
        self._store = store
        self._reputations = reputations
        self._clock = clock
        self._unwritten_refusals: dict[_RefusalKey, RefusalCount] = {}
        self._unwritten_pauses: dict[_PauseKey, PauseState] = {}

    async def load_pauses(self) -> None:
        """Take over the stored pauses. Raises StoreError."""
        now = int(self._clock())
        known = pauses.c.meaning.in_(_STORED_MEANINGS)
        query = select(pauses).where(pauses.c.until > now, known).limit(MAX_PAUSES)
        async with self._store.read() as connection:
            rows = list(await connection.execute(query))
        for row in rows:
            reputation = self._reputations.get(row.egress)
            if reputation is None:
                continue  # of an egress that is not configured any more
            reputation.restore_pause(
                PauseState(
                    row.operator,
                    row.host or None,
                    row.until - now,
                    Meaning(row.meaning),
                    row.block_list or None,
                    row.refusals,
                    row.growth,
                )
            )

    async def run(self) -> None:
        """Write counts, load pauses and purge old rows, until cancelled."""
        reload_at = self._clock() + RELOAD_EVERY_S
        purge_at = self._clock() + PURGE_EVERY_S
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            now = self._clock()
            try:
                await self.write()
                if now >= reload_at:
                    reload_at = now + RELOAD_EVERY_S
                    await self.load_pauses()
                if now >= purge_at:
                    purge_at = now + PURGE_EVERY_S
                    await self.purge()
            except StoreError as exc:
                log.warning("reputation.write_delayed", extra={"error": str(exc)})

    async def write(self) -> None:
        """Write what is new. If that raises StoreError, it is written the next time."""
        for egress, reputation in self._reputations.items():
            for count in reputation.drain_refusals():
                _merge_refusals(self._unwritten_refusals, egress, count)
            self._unwritten_pauses |= {
                (egress, pause.operator, pause.host): pause for pause in reputation.drain_pauses()
            }
        new_refusals, new_pauses = self._unwritten_refusals, self._unwritten_pauses
        if not new_refusals and not new_pauses:
            return
        self._unwritten_refusals, self._unwritten_pauses = {}, {}
        try:
            async with self._store.write() as connection:
                await _upsert_refusals(self._store, connection, new_refusals)
                await self._write_pauses(connection, new_pauses)
        except StoreError:
            self._unwritten_refusals = new_refusals
            self._unwritten_pauses = new_pauses | self._unwritten_pauses
            raise

    async def _write_pauses(
        self, connection: AsyncConnection, states: Mapping[_PauseKey, PauseState]
    ) -> None:
        now = int(self._clock())
        for (egress, operator, host), state in states.items():
            if not state.left_s:
                ended = and_(
                    pauses.c.egress == egress,
                    pauses.c.operator == operator,
                    pauses.c.host == (host or ""),
                )
                await connection.execute(delete(pauses).where(ended))
        rows = [
            {
                "egress": egress,
                "operator": operator,
                "host": host or "",
                "until": now + round(state.left_s),
                "meaning": state.meaning.value,
                "block_list": (state.block_list or "")[:MAX_BLOCK_LIST_CHARACTERS],
                "refusals": state.refusals,
                "growth": state.consecutive_pauses,
            }
            for (egress, operator, host), state in sorted(
                states.items(), key=lambda one: (one[0][0], one[0][1], one[0][2] or "")
            )
            if state.left_s
        ]
        if rows:
            insert = self._store.insert(pauses)
            new = {name: insert.excluded[name] for name in pauses.c.keys()[3:]}
            upsert = insert.on_conflict_do_update(
                index_elements=["egress", "operator", "host"],
                set_=new,
                # another process may know of a longer one, which then grows from there
                where=pauses.c.until <= insert.excluded.until,
            )
            await connection.execute(upsert, rows)

    async def recent_refusals(self, limit: int) -> list[RecentRefusals]:
        """`recent_refusals`, after writing what is new if that is possible. Raises StoreError."""
        with contextlib.suppress(StoreError):
            await self.write()
        return await recent_refusals(self._store, self._clock(), limit)

    async def purge(self) -> None:
        """Delete rows that are too old, or too many. Raises StoreError."""
        now = int(self._clock())
        oldest = now // HOUR_S - KEPT_DAYS * 24
        count = select(func.count()).select_from(refusals)
        async with self._store.write() as connection:
            await connection.execute(delete(refusals).where(refusals.c.hour < oldest))
            await connection.execute(delete(pauses).where(pauses.c.until < now))
            if ((await connection.scalar(count)) or 0) > self._max_rows:
                newest_first = select(refusals.c.hour).order_by(refusals.c.hour.desc())
                last_hour = await connection.scalar(
                    newest_first.offset(self._max_rows - 1).limit(1)
                )
                await connection.execute(delete(refusals).where(refusals.c.hour < last_hour))


@contextlib.asynccontextmanager
async def open_reputation_store(
    store: Store, reputations: Mapping[str, ReputationTracker], *, clock: Clock
) -> AsyncIterator[ReputationStore]:
    """Load the stored pauses into `reputations`, and store their counts while inside.

    Raises StoreError.
    """
    reputation_store = ReputationStore(store, reputations, clock=clock)
    await reputation_store.load_pauses()
    try:
        async with in_background(reputation_store.run()):
            yield reputation_store
    finally:
        await reputation_store.write()


async def add_refusals_once(url: str, reputations: Mapping[str, ReputationTracker]) -> None:
    """Add the counts of `reputations` to an existing database; without one they are dropped.

    For commands that verify and end: they neither create a database nor wait long for one.
    """
    counts: dict[_RefusalKey, RefusalCount] = {}
    for egress, reputation in reputations.items():
        for count in reputation.drain_refusals():
            _merge_refusals(counts, egress, count)
    if not counts:
        return
    try:
        async with open_store(url, busy_timeout_s=1.0, existing_only=True) as store:
            if await store.has_table(refusals):
                async with store.write() as connection:
                    await _upsert_refusals(store, connection, counts)
    except StoreError as exc:
        log.debug("reputation.not_written", extra={"error": str(exc)})


async def recent_refusals(store: Store, now: float, limit: int) -> list[RecentRefusals]:
    """The refusals of the seven days before Unix time `now`, the most of the last day first.

    At most `limit` of them. Raises StoreError.
    """
    r = refusals.c
    hour = int(now) // HOUR_S
    kind = (r.egress, r.operator, r.meaning, r.block_list)
    day, week = (
        func.sum(case((r.hour >= hour - 24 * days, r.count), else_=0)) for days in (1, RECENT_DAYS)
    )
    sums = (
        select(
            *kind,
            day.label("day"),
            week.label("week"),
            func.min(r.first_at).label("since"),
            func.max(r.hour).label("hour"),
        )
        .where(r.hour >= hour - 24 * KEPT_DAYS, r.meaning.in_(_STORED_MEANINGS))
        .group_by(*kind)
        .having(func.max(r.hour) >= hour - 24 * RECENT_DAYS)
        .order_by(day.desc(), week.desc(), *kind)
        .limit(limit)
        .subquery()
    )
    same = [sums.c[column.name] == column for column in (*kind, r.hour)]
    query = (
        select(sums.c.day, sums.c.week, sums.c.since, refusals)
        .join(refusals, and_(*same))
        .order_by(sums.c.day.desc(), sums.c.week.desc(), *kind)
    )
    paused = select(pauses).where(pauses.c.until > int(now)).limit(MAX_PAUSES)
    async with store.read() as connection:
        rows = list(await connection.execute(query))
        pauses_of = defaultdict(list)
        for row in await connection.execute(paused):
            pauses_of[row.egress, row.operator].append(row)
    return [_to_recent_refusals(row, pauses_of[row.egress, row.operator], now) for row in rows]


def _to_recent_refusals(
    row: Row[Any], paused_rows: Sequence[Row[Any]], now: float
) -> RecentRefusals:
    return RecentRefusals(
        egress=row.egress,
        operator=row.operator,
        meaning=Meaning(row.meaning),
        block_list=row.block_list or None,
        day=int(row.day),
        week=int(row.week),
        since=datetime.fromtimestamp(row.since, UTC),
        last_at=datetime.fromtimestamp(row.last_at, UTC),
        host=row.host,
        text=row.text,
        paused_s=max((pause.until - int(now) for pause in paused_rows), default=0),
        paused_hosts=0 if any(not pause.host for pause in paused_rows) else len(paused_rows),
    )


def _merge_refusals(
    sums: dict[_RefusalKey, RefusalCount], egress: str, added: RefusalCount
) -> None:
    key = _refusal_key(egress, added)
    earlier = sums.get(key)
    if earlier is not None:
        count = earlier.count + added.count
        sums[key] = replace(added, count=count, first_at=earlier.first_at)
    elif len(sums) < MAX_UNWRITTEN:
        sums[key] = added


def _refusal_key(egress: str, count: RefusalCount) -> _RefusalKey:
    return (
        egress,
        count.operator,
        count.meaning.value,
        (count.block_list or "")[:MAX_BLOCK_LIST_CHARACTERS],
        int(count.last_at.timestamp()) // HOUR_S,
    )


async def _upsert_refusals(
    store: Store, connection: AsyncConnection, counts: Mapping[_RefusalKey, RefusalCount]
) -> None:
    """Add counts to the stored ones of the same hour."""
    if not counts:
        return
    insert = store.insert(refusals)
    old, new = refusals.c, insert.excluded
    newer = new.last_at >= old.last_at
    upsert = insert.on_conflict_do_update(
        index_elements=_REFUSAL_KEY,
        set_={
            "count": old.count + new.count,
            "first_at": case((new.first_at < old.first_at, new.first_at), else_=old.first_at),
            "last_at": case((newer, new.last_at), else_=old.last_at),
            "host": case((newer, new.host), else_=old.host),
            "text": case((newer, new.text), else_=old.text),
        },
    )
    rows = [
        {
            **dict(zip(_REFUSAL_KEY, key, strict=True)),
            "count": count.count,
            "first_at": int(count.first_at.timestamp()),
            "last_at": int(count.last_at.timestamp()),
            "host": count.host,
            "text": count.text,
        }
        for key, count in sorted(counts.items())
    ]
    await connection.execute(upsert, rows)
