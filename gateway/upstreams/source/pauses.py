"""The sources that an operator has taken out of use, in the database, so that all processes obey.

Such a pause is an order, not advice: a paused source is not asked, not even as a last resort.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy import delete, select

from gateway.store import Store, StoreError
from gateway.store.tables import source_pauses

log = logging.getLogger(__name__)

READ_EVERY_S = 2.0
"""After this time at most, a pause of another process holds in this one too."""
PAUSED = "paused"
"""In the place of a fault, among the attempts of a verification."""


class Pauses:
    """The paused sources by name. `clock` is Unix time in seconds; methods raise StoreError."""

    def __init__(
        self, store: Store, *, clock: Callable[[], float], on_resume: Callable[[], None]
    ) -> None:
        """`on_resume` is called when a source may be used again."""
        self._store = store
        self._clock = clock
        self._on_resume = on_resume
        self.since: dict[str, int] = {}
        """Unix time of each pause."""

    def fault_of(self, source: str) -> str:
        """`PAUSED`, or nothing for a source that is in use."""
        return PAUSED if source in self.since else ""

    async def pause(self, source: str) -> None:
        row = {"source": source, "paused_at": int(self._clock())}
        statement = self._store.insert(source_pauses).values(row).on_conflict_do_nothing()
        async with self._store.write() as connection:
            await connection.execute(statement)
        await self.read()

    async def resume(self, source: str) -> None:
        async with self._store.write() as connection:
            await connection.execute(delete(source_pauses).where(source_pauses.c.source == source))
        await self.read()

    async def read(self) -> None:
        """Take over what is stored."""
        rows = await self._store.fetch_all(select(source_pauses))
        before, self.since = self.since, {row.source: row.paused_at for row in rows}
        if before.keys() - self.since.keys():
            self._on_resume()

    async def read_periodically(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(READ_EVERY_S)
            try:
                await self.read()
            except StoreError as exc:
                log.debug("pauses.unread", extra={"error": str(exc)})
