"""Many verifications at the same time, and their results in the order of the addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any, TypeVar

MAX_CONCURRENT = 1_000
"""Verifications that run at the same time."""
MAX_FINISHED_AHEAD = 1_000
"""Results that may wait until an earlier one has been printed."""
CANCEL_RETRY_S = 0.2

In = TypeVar("In")
Out = TypeVar("Out")


async def map_in_order(
    inputs: AsyncIterator[In],
    process: Callable[[In], Awaitable[Out]],
    emit: Callable[[Out], None],
    *,
    concurrency: int = MAX_CONCURRENT,
) -> None:
    """Process inputs concurrently, and emit each output once those before it were emitted.

    An exception of `inputs`, `process` or `emit` cancels everything that runs, and is raised.
    """
    slots = asyncio.Semaphore(concurrency)
    ahead = asyncio.Semaphore(MAX_FINISHED_AHEAD)
    waiting: asyncio.Queue[asyncio.Task[Out] | None] = asyncio.Queue()
    running: set[asyncio.Task[Out]] = set()

    async def process_one(item: In) -> Out:
        try:
            return await process(item)
        finally:
            slots.release()

    async def start_all() -> None:
        async for item in inputs:
            await ahead.acquire()
            await slots.acquire()
            task = asyncio.create_task(process_one(item))
            running.add(task)
            task.add_done_callback(running.discard)
            waiting.put_nowait(task)

    starting = asyncio.create_task(start_all())
    starting.add_done_callback(lambda _: waiting.put_nowait(None))
    try:
        while (task := await waiting.get()) is not None:
            # not `await task`: Ctrl-C would cancel the task, which may lose the cancellation
            # (see `cancel_all`)
            await asyncio.wait({task})
            emit(task.result())
            ahead.release()
        await starting
    finally:
        await cancel_all({starting, *running})


async def cancel_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks until all have ended.

    This takes repeated cancellation: before Python 3.12 `asyncio.wait_for`, which libraries use,
    loses a cancellation that arrives together with the result that it waits for (bpo-37658).
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_RETRY_S)
    await asyncio.gather(*tasks, return_exceptions=True)
