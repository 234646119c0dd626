"""Tells the queries that wait for a source that one is back."""

from __future__ import annotations

import asyncio


class Changes:
    """One event for all that wait; each notification wakes all of them, once."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def notify(self) -> None:
        if self._next is not None and not self._next.done():
            self._next.set_result(None)
        self._next = None

    @property
    def next(self) -> asyncio.Future[None]:
        """Done at the next notification. It is shared: wait for it with `asyncio.wait`."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return self._next
