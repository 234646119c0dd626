"""The living processes of one database: for people, and to divide limits among them.

Each process writes when it was last seen, every ten seconds. A count that is some seconds old makes
a share too large or too small for as long; nothing else depends on it. Leases do not: the dispatch
says whose are freed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version

from sqlalchemy import delete, select

from gateway.store import Store, StoreError
from gateway.store.tables import processes
from gateway.tasks import in_background

log = logging.getLogger(__name__)

BEAT_EVERY_S = 10.0
LIVING_FOR_S = 30
"""A process that was not seen for longer is not counted."""
KEPT_FOR_S = 86_400
"""Rows of processes that were killed are deleted after this time."""
MAX_NAME_CHARACTERS = 255


class ProcessKind(StrEnum):
    """The command that a process runs."""

    SERVE = "serve"
    WORKER = "worker"


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """A process as others see it."""

    id: str
    name: str
    kind: str
    version: str
    egresses: frozenset[str]
    """Names of the egresses by which it probes."""
    started_at: int
    """Unix time in seconds."""
    seen_at: int


class LivingProcesses:
    """This process among those of its database. `clock` is Unix time in seconds."""

    def __init__(
        self,
        store: Store,
        kind: ProcessKind,
        egresses: Collection[str],
        *,
        clock: Callable[[], float],
        name: str = "",
    ) -> None:
        self._store = store
        self._clock = clock
        self.this = ProcessInfo(
            id=secrets.token_hex(8),
            name=(name or f"{socket.gethostname()}:{os.getpid()}")[-MAX_NAME_CHARACTERS:],
            kind=kind.value,
            version=version("veriplex"),
            egresses=frozenset(egresses),
            started_at=int(clock()),
            seen_at=int(clock()),
        )
        self.living: Sequence[ProcessInfo] = (self.this,)
        """As of the last beat, this one included."""
        self._by_kind: dict[str, int] = {}
        self._by_egress: dict[str, int] = {}
        self._count()

    @property
    def total(self) -> int:
        """Living processes, at least 1."""
        return len(self.living)

    def count(self, kind: ProcessKind) -> int:
        """Living processes of that kind, at least 1."""
        return self._by_kind.get(kind, 1)

    def count_with_egress(self, egress: str) -> int:
        """Living processes that probe by the egress of that name, at least 1."""
        return self._by_egress.get(egress, 1)

    async def beat(self) -> None:
        """Write that this process is alive, and read who else is. Raises StoreError."""
        now = int(self._clock())
        row = {
            "id": self.this.id,
            "name": self.this.name,
            "kind": self.this.kind,
            "version": self.this.version,
            "egress": " ".join(sorted(self.this.egresses)),
            "started_at": self.this.started_at,
            "seen_at": now,
        }
        insert = self._store.insert(processes)
        seen = insert.on_conflict_do_update(index_elements=["id"], set_={"seen_at": now})
        async with self._store.write() as connection:
            await connection.execute(seen, row)
            gone = processes.c.seen_at < now - KEPT_FOR_S
            await connection.execute(delete(processes).where(gone))
        found = await living_processes(self._store, now)
        self.living = [self.this, *(one for one in found if one.id != self.this.id)]
        self._count()

    async def beat_periodically(self) -> None:
        """`beat` until cancelled. While the database is away, the last count stays."""
        is_failing = False
        while True:
            await asyncio.sleep(BEAT_EVERY_S)
            try:
                await self.beat()
                is_failing = False
            except StoreError as exc:
                if not is_failing:
                    log.warning("process.not_recorded", extra={"error": str(exc)})
                is_failing = True

    async def leave(self) -> None:
        """Delete this process's row. Raises StoreError."""
        async with self._store.write() as connection:
            await connection.execute(delete(processes).where(processes.c.id == self.this.id))

    def _count(self) -> None:
        by_kind: dict[str, int] = {}
        by_egress: dict[str, int] = {}
        for one in self.living:
            by_kind[one.kind] = by_kind.get(one.kind, 0) + 1
            for egress in one.egresses:
                by_egress[egress] = by_egress.get(egress, 0) + 1
        self._by_kind, self._by_egress = by_kind, by_egress


@contextlib.asynccontextmanager
async def open_processes(
    store: Store,
    kind: ProcessKind,
    egresses: Collection[str],
    *,
    clock: Callable[[], float],
) -> AsyncIterator[LivingProcesses]:
    """This process is among the living ones while inside. Raises StoreError."""
    living = LivingProcesses(store, kind, egresses, clock=clock)
    await living.beat()
    try:
        async with in_background(living.beat_periodically()):
            yield living
    finally:
        with contextlib.suppress(StoreError):  # then it is not counted after half a minute
            await living.leave()


async def living_processes(store: Store, now: float) -> list[ProcessInfo]:
    """The processes seen lately, the oldest first. Raises StoreError."""
    query = (
        select(processes)
        .where(processes.c.seen_at > int(now) - LIVING_FOR_S)
        .order_by(processes.c.started_at, processes.c.id)
    )
    return [
        ProcessInfo(
            id=row.id,
            name=row.name,
            kind=row.kind,
            version=row.version,
            egresses=frozenset(row.egress.split()),
            started_at=row.started_at,
            seen_at=row.seen_at,
        )
        for row in await store.fetch_all(query)
    ]
