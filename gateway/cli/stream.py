"""Addresses from arguments and standard input, and their answers in the order asked."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

from gateway.cli.terminal import Refusal

AT_ONCE = 64
"""Verifications under way at the same time."""
MAX_AHEAD = 1_000
"""Answers that may wait for an earlier one to be printed first."""
MAX_LINE_BYTES = 4_096
"""What is longer is no address; the rest of such a line is skipped."""
CHUNK_BYTES = 65_536

In = TypeVar("In")
Out = TypeVar("Out")


async def in_order(
    asked: AsyncIterator[In],
    answer: Callable[[In], Awaitable[Out]],
    show: Callable[[Out], None],
    *,
    at_once: int = AT_ONCE,
) -> None:
    """Answer side by side, and show each answer as soon as those before it are shown.

    What `answer` or `show` raises ends everything that is under way, and is raised.
    """
    slots = asyncio.Semaphore(at_once)
    waiting: asyncio.Queue[asyncio.Task[Out] | None] = asyncio.Queue(MAX_AHEAD)

    async def one(question: In) -> Out:
        try:
            return await answer(question)
        finally:
            slots.release()

    async def ask(group: asyncio.TaskGroup) -> None:
        async for question in asked:
            await slots.acquire()
            await waiting.put(group.create_task(one(question)))
        await waiting.put(None)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(group))
            while (task := await waiting.get()) is not None:
                show(await task)
    except BaseExceptionGroup as several:
        # A reader who left matters more than what stopping on its account brought up.
        left = several.subgroup(BrokenPipeError)
        raise (left or several).exceptions[0] from None


async def addresses(given: Iterable[str]) -> AsyncIterator[str]:
    """The arguments, with standard input in the place of `-`. Blank lines are skipped."""
    for text in given:
        if text == "-":
            async for line in lines(_standard_input()):
                yield line
        else:
            yield text


def _standard_input() -> int:
    try:
        return sys.stdin.fileno()
    except (AttributeError, ValueError, OSError) as exc:
        raise Refusal("there is no standard input to read addresses from") from exc


async def lines(fd: int) -> AsyncIterator[str]:
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
            raise Refusal(f"cannot read standard input: {chunk.strerror}")
        for line in splitter.feed(chunk):
            yield line
        if not chunk:
            return


class LineSplitter:
    """Bytes in, lines of text out; blank ones are left out. An empty chunk is the end."""

    def __init__(self) -> None:
        self._start = b""

    def feed(self, chunk: bytes) -> list[str]:
        *whole, rest = (self._start + chunk).split(b"\n")
        if chunk:
            # One byte more than is kept, so that what was cut is still too long.
            self._start = rest[: MAX_LINE_BYTES + 1]
        else:
            whole.append(rest)
            self._start = b""
        decoded = (line[:MAX_LINE_BYTES].decode("utf-8", "replace") for line in whole)
        stripped = (line.strip().removeprefix("\N{BYTE ORDER MARK}").strip() for line in decoded)
        return [line for line in stripped if line]
