"""Whether a process can do its work: what `/readyz` and `/livez` say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sqlalchemy import text

from gateway.store import Store, StoreError

ANSWER_WITHIN_S = 2.0
"""A database that takes longer does not answer."""
CHECK_EVERY_S = 1.0
"""An answer counts for so long, however often the process is asked."""


class DatabaseCheck:
    """Asks the database whether it answers, once for all who want to know."""

    def __init__(self, store: Store, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._asking: asyncio.Task[bool] | None = None
        self._answered_at = float("-inf")

    async def answers(self) -> bool:
        """Whether it answers within `ANSWER_WITHIN_S`. A question without an answer goes on."""
        if self._monotonic() - self._answered_at < CHECK_EVERY_S:
            return True
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        await asyncio.wait({self._asking}, timeout=ANSWER_WITHIN_S)
        return self._asking.done() and self._asking.result()

    async def aclose(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self) -> bool:
        try:
            async with self._store.read() as connection:
                await connection.execute(text("SELECT 1"))
        except StoreError:
            return False
        self._answered_at = self._monotonic()
        return True
