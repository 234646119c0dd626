"""The time of the database, which all its processes agree on.

Leases and due times are written by one machine and judged by another. A machine whose clock is an
hour ahead would steal every lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from statistics import median

from sqlalchemy import text

from gateway.store import Store, StoreError
from gateway.tasks import in_background

log = logging.getLogger(__name__)

READ_EVERY_S = 60.0
READS = 3
"""Their median counts, since one of them may have waited."""
WARN_FROM_S = 5.0
"""A clock of this machine that is further off is reported: logs and TLS need a right one."""


class DatabaseClock:
    """Call it for the Unix time in seconds. Before the first reading it is that of `local`."""

    def __init__(
        self,
        local: Callable[[], float] = time.time,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._local = local
        self._monotonic = monotonic
        self._at_zero = local() - monotonic()

    def __call__(self) -> float:
        return self._monotonic() + self._at_zero

    @property
    def offset_s(self) -> float:
        """How far the database's clock is ahead of this machine's."""
        return self() - self._local()

    @contextlib.asynccontextmanager
    async def following(self, store: Store) -> AsyncIterator[None]:
        """Read the database's clock now, and again and again while inside. Raises StoreError."""
        await self.read(store)
        if abs(self.offset_s) > WARN_FROM_S:
            log.warning("clock.differs", extra={"offset_s": round(self.offset_s, 1)})
        async with in_background(self._follow(store)):
            yield

    async def read(self, store: Store) -> None:
        """Raises StoreError."""
        found = []
        async with store.read() as connection:
            for _ in range(READS):
                began = self._monotonic()
                now = await connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())"))
                assert now is not None
                found.append(float(now) - (began + self._monotonic()) / 2)
        self._at_zero = median(found)

    async def _follow(self, store: Store) -> None:
        while True:
            await asyncio.sleep(READ_EVERY_S)
            with contextlib.suppress(StoreError):  # then the last reading counts
                await self.read(store)
