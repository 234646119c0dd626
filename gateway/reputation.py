"""Our standing in the database: who refused us, for what, hour by hour, and whom we leave alone.

Counted in the engine (`engine.smtp.reputation`), added up here over processes and restarts.
Written a little later and together: a kill takes the last seconds' counts with it. No mailbox is
kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, and_, case, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.model import Meaning
from engine.smtp.meanings import REFUSAL_WEIGHTS
from engine.smtp.reputation import PauseState, RefusalCount, ReputationTracker
from gateway.store import Store, StoreError, open_store
from gateway.store.tables import pauses, refusals
from gateway.tasks import in_background

log = logging.getLogger(__name__)

WRITE_EVERY_S = 2.0
RELOAD_EVERY_S = 10.0
"""How soon a pause of another process is ours too."""
PURGE_EVERY_S = 600.0
KEPT_DAYS = 30
MAX_ROWS = 100_000
"""Kinds of refusals an hour that are kept; beyond it the oldest hours go first."""
MAX_PAUSES = 20_000
MAX_UNWRITTEN = 10_000
"""Kinds of refusals that are kept here while the database cannot be written."""
MAX_BLOCK_LIST_CHARACTERS = 255
"""Characters of a block list's name, which is whatever a server calls it."""

HOUR_S = 3_600
DAY_S = 86_400
RECENT_DAYS = 7

Clock = Callable[[], float]
_RefusalKey = tuple[str, str, str, int]
"""The key of `refusals`: operator, meaning, block list, hour."""

_STORED_MEANINGS = tuple(meaning.value for meaning in REFUSAL_WEIGHTS)


@dataclass(frozen=True, slots=True)
class RecentRefusals:
    """Refusals of one kind by one operator in the last days, by all processes."""

    operator: str
    meaning: Meaning
    block_list: str | None
    day: int
    """In the last 24 hours, to the hour."""
    week: int
    """In the last 7 days."""
    since: datetime
    """The first of those that are kept."""
    last_at: datetime
    host: str
    """Which refused last."""
    text: str | None
    """What it said, without mailboxes."""
    paused_s: int
    """Until all that is paused of the operator's may be asked again; 0 if nothing is."""
    paused_hosts: int
    """How many of its hosts are paused; 0 with `paused_s` means all of them together."""


class ReputationStore:
    """Writes what a `ReputationTracker` counts, and tells it of the pauses of others.

    `clock` is Unix time in seconds.
    """

    def __init__(
        self, store: Store, reputation: ReputationTracker, *, clock: Clock, max_rows: int = MAX_ROWS
    ) -> None:
        self._max_rows = max_rows
        self._store = store
        self._reputation = reputation
        self._clock = clock
        self._unwritten_refusals: dict[_RefusalKey, RefusalCount] = {}
        self._unwritten_pauses: dict[tuple[str, str | None], PauseState] = {}

    async def load_pauses(self) -> None:
        """Go on with the pauses that are written down. Raises StoreError."""
        now = int(self._clock())
        known = pauses.c.meaning.in_(_STORED_MEANINGS)
        query = select(pauses).where(pauses.c.until > now, known).limit(MAX_PAUSES)
        async with self._store.read() as connection:
            rows = list(await connection.execute(query))
        for row in rows:
            self._reputation.restore_pause(
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
        """Write what is new, look at others' pauses and delete what is old, until cancelled."""
        look_at = self._clock() + RELOAD_EVERY_S
        tidy_at = self._clock() + PURGE_EVERY_S
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            now = self._clock()
            try:
                await self.write()
                if now >= look_at:
                    look_at = now + RELOAD_EVERY_S
                    await self.load_pauses()
                if now >= tidy_at:
                    tidy_at = now + PURGE_EVERY_S
                    await self.purge()
            except StoreError as exc:
                log.warning("reputation.write_delayed", extra={"error": str(exc)})

    async def write(self) -> None:
        """Write what is new. Raises StoreError, and keeps it for the next time then."""
        for counted in self._reputation.drain_refusals():
            _merge_refusals(self._unwritten_refusals, counted)
        self._unwritten_pauses |= {
            (rest.operator, rest.host): rest for rest in self._reputation.drain_pauses()
        }
        waiting, rests = self._unwritten_refusals, self._unwritten_pauses
        if not waiting and not rests:
            return
        self._unwritten_refusals, self._unwritten_pauses = {}, {}
        try:
            async with self._store.write() as connection:
                await _upsert_refusals(self._store, connection, list(waiting.values()))
                await self._write_pauses(connection, list(rests.values()))
        except StoreError:
            self._unwritten_refusals, self._unwritten_pauses = (
                waiting,
                rests | self._unwritten_pauses,
            )
            raise

    async def _write_pauses(self, connection: AsyncConnection, rests: Sequence[PauseState]) -> None:
        now = int(self._clock())
        for rest in rests:
            if not rest.left_s:
                here = and_(pauses.c.operator == rest.operator, pauses.c.host == (rest.host or ""))
                await connection.execute(delete(pauses).where(here))
        rows = [
            {
                "operator": rest.operator,
                "host": rest.host or "",
                "until": now + round(rest.left_s),
                "meaning": rest.meaning.value,
                "block_list": (rest.block_list or "")[:MAX_BLOCK_LIST_CHARACTERS],
                "refusals": rest.refusals,
                "growth": rest.consecutive_pauses,
            }
            for rest in rests
            if rest.left_s
        ]
        if rows:
            insert = self._store.insert(pauses)
            new = {name: insert.excluded[name] for name in pauses.c.keys()[2:]}
            upsert = insert.on_conflict_do_update(index_elements=["operator", "host"], set_=new)
            await connection.execute(upsert, rows)

    async def recent_refusals(self, limit: int) -> list[RecentRefusals]:
        """`recent`, with what is not written yet if that can be. Raises StoreError."""
        with contextlib.suppress(StoreError):
            await self.write()
        return await recent_refusals(self._store, self._clock(), limit)

    async def purge(self) -> None:
        """Delete what is too old, or too much. Raises StoreError."""
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
    store: Store, reputation: ReputationTracker, *, clock: Clock
) -> AsyncIterator[ReputationStore]:
    """Keep `standing` while inside. Raises StoreError."""
    kept = ReputationStore(store, reputation, clock=clock)
    await kept.load_pauses()
    try:
        async with in_background(kept.run()):
            yield kept
    finally:
        await kept.write()


async def add_refusals_once(url: str, reputation: ReputationTracker) -> None:
    """Add what `standing` counted to a database that is there already; else let it go.

    For commands that verify and end: they make no database, nor wait long for one.
    """
    counted = reputation.drain_refusals()
    if not counted:
        return
    try:
        async with open_store(url, busy_timeout_s=1.0, existing_only=True) as store:
            if await store.has_table(refusals):
                async with store.write() as connection:
                    await _upsert_refusals(store, connection, counted)
    except StoreError as exc:
        log.debug("reputation.not_written", extra={"error": str(exc)})


async def recent_refusals(store: Store, now: float, limit: int) -> list[RecentRefusals]:
    """Who refused us within a week of Unix time `now`, the worst of the last day first.

    `most` of them. Raises StoreError.
    """
    r = refusals.c
    hour = int(now) // HOUR_S
    kind = (r.operator, r.meaning, r.block_list)
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
        resting = defaultdict(list)
        for row in await connection.execute(paused):
            resting[row.operator].append(row)
    return [_to_recent_refusals(row, resting[row.operator], now) for row in rows]


def _to_recent_refusals(row: Row[Any], resting: Sequence[Row[Any]], now: float) -> RecentRefusals:
    return RecentRefusals(
        operator=row.operator,
        meaning=Meaning(row.meaning),
        block_list=row.block_list or None,
        day=int(row.day),
        week=int(row.week),
        since=datetime.fromtimestamp(row.since, UTC),
        last_at=datetime.fromtimestamp(row.last_at, UTC),
        host=row.host,
        text=row.text,
        paused_s=max((pause.until - int(now) for pause in resting), default=0),
        paused_hosts=0 if any(not p.host for p in resting) else len(resting),
    )


def _merge_refusals(sums: dict[_RefusalKey, RefusalCount], counted: RefusalCount) -> None:
    place = _refusal_key(counted)
    earlier = sums.get(place)
    if earlier is not None:
        count = earlier.count + counted.count
        sums[place] = replace(counted, count=count, first_at=earlier.first_at)
    elif len(sums) < MAX_UNWRITTEN:
        sums[place] = counted


def _refusal_key(counted: RefusalCount) -> _RefusalKey:
    return (
        counted.operator,
        counted.meaning.value,
        (counted.block_list or "")[:MAX_BLOCK_LIST_CHARACTERS],
        int(counted.last_at.timestamp()) // HOUR_S,
    )


async def _upsert_refusals(
    store: Store, connection: AsyncConnection, counted: Sequence[RefusalCount]
) -> None:
    """Add counts to those of the same hour."""
    if not counted:
        return
    insert = store.insert(refusals)
    old, new = refusals.c, insert.excluded
    newer = new.last_at >= old.last_at
    upsert = insert.on_conflict_do_update(
        index_elements=["operator", "meaning", "block_list", "hour"],
        set_={
            "count": old.count + new.count,
            "first_at": case((new.first_at < old.first_at, new.first_at), else_=old.first_at),
            "last_at": case((newer, new.last_at), else_=old.last_at),
            "host": case((newer, new.host), else_=old.host),
            "text": case((newer, new.text), else_=old.text),
        },
    )
    names = ("operator", "meaning", "block_list", "hour")
    rows = [
        {
            **dict(zip(names, _refusal_key(one), strict=True)),
            "count": one.count,
            "first_at": int(one.first_at.timestamp()),
            "last_at": int(one.last_at.timestamp()),
            "host": one.host,
            "text": one.text,
        }
        for one in counted
    ]
    await connection.execute(upsert, rows)
