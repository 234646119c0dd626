"""Addresses from arguments and standard input, and results in the order of the addresses."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from typing import Any, TypeVar

from gateway.cli.terminal import CommandError

MAX_CONCURRENT = 1_000
"""Verifications that run at the same time."""
MAX_FINISHED_AHEAD = 1_000
"""Results that may wait until an earlier one has been printed."""
MAX_LINE_BYTES = 4_096
"""A longer line is no address; the rest of it is skipped."""
CHUNK_BYTES = 65_536
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


async def read_addresses(given: Iterable[str]) -> AsyncIterator[str]:
    """The arguments, with the lines of standard input in place of `-`. Blank lines are skipped."""
    for text in given:
        if text == "-":
            async for line in read_lines(_stdin_fd()):
                yield line
        else:
            yield text


def _stdin_fd() -> int:
    try:
        return sys.stdin.fileno()
    except (AttributeError, ValueError, OSError) as exc:
        raise CommandError("there is no standard input to read addresses from") from exc


async def read_lines(fd: int) -> AsyncIterator[str]:
    """The lines of a file, pipe or terminal as they arrive, without surrounding whitespace.

    Raises CommandError if it cannot be read.
    """
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes | OSError] = asyncio.Queue(1)

    def read() -> None:
        # A thread, since not every event loop can wait for every kind of file; a daemon, since
        # nothing can interrupt its reading from an idle terminal.
        while True:
            try:
                chunk: bytes | OSError = os.read(fd, CHUNK_BYTES)
            except OSError as exc:
                chunk = exc
            try:
                asyncio.run_coroutine_threadsafe(chunks.put(chunk), loop).result()
            except (RuntimeError, asyncio.CancelledError):  # the loop has ended
                return
            if not chunk or isinstance(chunk, OSError):
                return

    threading.Thread(target=read, name="standard input", daemon=True).start()
    splitter = LineSplitter()
    while True:
        chunk = await chunks.get()
        if isinstance(chunk, OSError):
            raise CommandError(f"cannot read standard input: {chunk.strerror}")
        for line in splitter.feed(chunk):
            yield line
        if not chunk:
            return


class LineSplitter:
    """Splits bytes into lines of text, without blank ones. An empty chunk is the end."""

    def __init__(self) -> None:
        self._partial_line = b""

    def feed(self, chunk: bytes) -> list[str]:
        *whole, rest = (self._partial_line + chunk).split(b"\n")
        if chunk:
            # one byte more than the limit, so that a line that was cut stays too long
            self._partial_line = rest[: MAX_LINE_BYTES + 1]
        else:
            whole.append(rest)
            self._partial_line = b""
        decoded = (line[:MAX_LINE_BYTES].decode("utf-8", "replace") for line in whole)
        stripped = (line.strip().removeprefix("\N{BYTE ORDER MARK}").strip() for line in decoded)
        return [line for line in stripped if line]
