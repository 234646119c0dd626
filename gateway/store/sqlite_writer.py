"""Whole transactions of SQLite in a thread.

Through aiosqlite each statement is several trips to a thread, and each trip waits for the
interpreter's lock on its way there and for the event loop on its way back: on a busy server a
transaction of ten statements takes 50 ms, and all other writers wait for it. Here a transaction is
one trip. Its coroutine is run in the thread, over a connection that does what it is asked there and
then, so that it never has to wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sqlite3
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeAlias

from aiosqlite import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.store.backend import Result

Work: TypeAlias = Callable[[AsyncConnection], Coroutine[Any, Any, Result]]

ROWS_PER_FETCH = 64
"""aiosqlite's own default."""


class ImmediateConnection(Connection):
    """A connection whose calls are done in the calling thread, before they return."""

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(partial(sqlite3.connect, path, **options), ROWS_PER_FETCH)

    async def _connect(self) -> Connection:
        self._connection = self._connector()
        return self

    def __await__(self) -> Any:
        return self._connect().__await__()

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    def stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Abandoned(Exception):
    """Nobody waits for the transaction any more."""


class TransactionThread:
    """Runs transactions one after the other. The engine's connections are immediate."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, "transactions")

    async def run(self, work: Work[Result]) -> Result:
        """What `work` returns, once it is committed. If this is cancelled before, it is rolled
        back, and in any case it is over when this ends."""
        is_abandoned = False

        async def transaction() -> Result:
            # not `self._engine.begin()`, which closes the connection in a task of its own
            connection = await self._engine.connect()
            try:
                async with connection.begin():
                    result = await work(connection)
                    if is_abandoned:
                        raise Abandoned
                return result
            finally:
                await connection.close()

        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._thread, context.run, _finish, transaction())
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            is_abandoned = True
            while not running.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([running])
            running.exception()  # is not of interest
            raise

    async def aclose(self) -> None:
        """Close the connections, when the last transaction is over."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, _finish, self._engine.dispose())
        self._thread.shutdown()


def _finish(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that never has to wait."""
    try:
        coroutine.send(None)
    except StopIteration as exc:
        result: Result = exc.value
        return result
    coroutine.close()
    raise RuntimeError("a transaction may wait for its connection alone")
