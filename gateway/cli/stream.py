"""Addresses from arguments and standard input, and their answers in the order asked."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from typing import Any, TypeVar

from gateway.cli.terminal import CommandError

MAX_CONCURRENT = 64
"""Verifications under way at the same time."""
MAX_FINISHED_AHEAD = 1_000
"""Answers that may wait for an earlier one to be printed first."""
MAX_LINE_BYTES = 4_096
"""What is longer is no address; the rest of such a line is skipped."""
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
    """Answer side by side, and show each answer as soon as those before it are shown.

    What `asked`, `answer` or `show` raises ends everything that is under way, and is raised.
    """
    slots = asyncio.Semaphore(concurrency)
    ahead = asyncio.Semaphore(MAX_FINISHED_AHEAD)
    waiting: asyncio.Queue[asyncio.Task[Out] | None] = asyncio.Queue()
    running: set[asyncio.Task[Out]] = set()

    async def one(question: In) -> Out:
        try:
            return await process(question)
        finally:
            slots.release()

    async def ask() -> None:
        async for question in inputs:
            await ahead.acquire()
            await slots.acquire()
            task = asyncio.create_task(one(question))
            running.add(task)
            task.add_done_callback(running.discard)
            waiting.put_nowait(task)

    asking = asyncio.create_task(ask())
    asking.add_done_callback(lambda _: waiting.put_nowait(None))
    try:
        while (task := await waiting.get()) is not None:
            # not `await task`: Ctrl-C would be handed down to it, and be lost if it is lost there
            # (see `_end`)
            await asyncio.wait({task})
            emit(task.result())
            ahead.release()
        await asking
    finally:
        await _cancel_all({asking, *running})


async def _cancel_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they are gone, whatever they say to it.

    Again and again, since before Python 3.12 `asyncio.wait_for`, which libraries use, loses a
    cancellation that arrives together with what it waits for (bpo-37658).
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_RETRY_S)
    await asyncio.gather(*tasks, return_exceptions=True)


async def read_addresses(given: Iterable[str]) -> AsyncIterator[str]:
    """The arguments, with standard input in the place of `-`. Blank lines are skipped."""
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
    """The lines of a file, pipe or terminal as they come, without surrounding blanks.

    Raises Refusal when it cannot be read.
    """
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes | OSError] = asyncio.Queue(1)

    def read() -> None:
        # A thread, since neither every file nor every event loop can be waited for; a daemon,
        # since nothing can wake it from a terminal where nobody types.
        while True:
            try:
                chunk: bytes | OSError = os.read(fd, CHUNK_BYTES)
            except OSError as exc:
                chunk = exc
            try:
                asyncio.run_coroutine_threadsafe(chunks.put(chunk), loop).result()
            except (RuntimeError, asyncio.CancelledError):  # nobody is listening any more
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
    """Bytes in, lines of text out; blank ones are left out. An empty chunk is the end."""

    def __init__(self) -> None:
        self._partial_line = b""

    def feed(self, chunk: bytes) -> list[str]:
        *whole, rest = (self._partial_line + chunk).split(b"\n")
        if chunk:
            # One byte more than is kept, so that what was cut is still too long.
            self._partial_line = rest[: MAX_LINE_BYTES + 1]
        else:
            whole.append(rest)
            self._partial_line = b""
        decoded = (line[:MAX_LINE_BYTES].decode("utf-8", "replace") for line in whole)
        stripped = (line.strip().removeprefix("\N{BYTE ORDER MARK}").strip() for line in decoded)
        return [line for line in stripped if line]
