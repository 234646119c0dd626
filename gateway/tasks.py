"""Tasks beside the requests: work in the background, long computations, and calls in groups."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Sequence,
)
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from engine.turns import NO_PARTY, FairQueue, FairSlots, Party, acting_for
from gateway.errors import StorageUnavailable

Arg = TypeVar("Arg")
Result = TypeVar("Result")
Item = TypeVar("Item")

MAX_PENDING = 50_000
"""Calls that wait for their group; one more is refused."""
MAX_MERGED_AHEAD = 100
"""Items of merged streams that wait for their consumer."""
SLICE_S = 0.001
"""Of a long computation, between two turns of the event loop."""


@contextlib.asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` while inside; on leaving it is cancelled and waited for."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def merge(
    streams: Iterable[AsyncGenerator[Item, None]], *, max_running: int | None = None
) -> AsyncGenerator[Item, None]:
    """The items of several streams, as they come; at most `max_running` are read at a time.

    A slow consumer slows the streams. When the others have ended too, the first exception that
    a stream raised is raised. A consumer that may stop early closes the merged stream
    (`contextlib.aclosing`), which closes the others.
    """
    items: asyncio.Queue[tuple[Item] | None] = asyncio.Queue(MAX_MERGED_AHEAD)
    slots = contextlib.nullcontext() if max_running is None else asyncio.Semaphore(max_running)

    async def read(stream: AsyncGenerator[Item, None]) -> None:
        async with slots, contextlib.aclosing(stream):
            async for item in stream:
                await items.put((item,))

    async def read_all() -> list[BaseException | None]:
        failures = await asyncio.gather(*map(read, streams), return_exceptions=True)
        await items.put(None)
        return failures

    reading = asyncio.create_task(read_all())
    try:
        while (found := await items.get()) is not None:
            yield found[0]
        for failure in await reading:
            if failure is not None:
                raise failure
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


class WorkLoop:
    """A loop in the background that can be woken, and that ends between two rounds of work.

    Its coroutine does what is due, then `pause`s, until `stopping`.
    """

    def __init__(self) -> None:
        self._wake = asyncio.Event()
        self._stopped: asyncio.Future[None] | None = None

    @property
    def stopping(self) -> bool:
        return self._stopped is not None and self._stopped.done()

    def wake(self) -> None:
        """End the pause, or the next one if there is none now."""
        self._wake.set()

    async def pause(self, timeout_s: float | None) -> None:
        """Wait until woken or stopped, at most so long. None waits without limit."""
        if not self.stopping:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
        self._wake.clear()

    async def wait_for(self, task: asyncio.Future[Any], timeout_s: float | None = None) -> None:
        """Wait until `task` is done or the loop is stopped, at most so long."""
        ends = {task} if self._stopped is None else {task, self._stopped}
        await asyncio.wait(ends, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)

    async def wait_for_stop(self, timeout_s: float) -> None:
        """Wait until the loop is stopped, at most so long; `wake` does not end it."""
        assert self._stopped is not None
        await asyncio.wait({self._stopped}, timeout=timeout_s)

    @contextlib.asynccontextmanager
    async def running(self, work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        """Run the loop's coroutine while inside; on leaving it is stopped and waited for."""
        self._stopped = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(work)
        try:
            yield
        finally:
            self._stopped.set_result(None)
            self._wake.set()
            await task


class PeriodicWrites:
    """Writes to the database what has been collected, every few seconds and at the end.

    A write is never cancelled: it has taken what it writes out of the collection, and would lose
    it. The database bounds the time that a write takes.
    """

    def __init__(
        self,
        write: Callable[[], Awaitable[None]],
        on_failure: Callable[[StorageUnavailable, bool], None],
        *,
        every_s: float,
        purge: Callable[[], Awaitable[None]] | None = None,
        purge_every_s: float = math.inf,
    ) -> None:
        """`on_failure` is given what a write or a purge raised, and whether it was the last one:
        then what it should have written is lost. A purge follows a write."""
        self._write = write
        self._on_failure = on_failure
        self._every_s = every_s
        self._purge = purge
        self._purge_every_s = purge_every_s
        self._loop = WorkLoop()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write while inside, and the rest on leaving."""
        try:
            async with self._loop.running(self._work()):
                yield
        finally:
            try:
                await self._write()
            except StorageUnavailable as exc:
                self._on_failure(exc, True)

    async def _work(self) -> None:
        purge_at = 0.0
        while True:
            await self._loop.pause(self._every_s)
            if self._loop.stopping:
                return
            try:
                await self._write()
                if self._purge is not None and time.monotonic() >= purge_at:
                    purge_at = time.monotonic() + self._purge_every_s
                    await self._purge()
            except StorageUnavailable as exc:
                self._on_failure(exc, False)


class TimeSlices:
    """Lets long computations take turns on the event loop, for `SLICE_S` each, and the parties that
    they are for (`engine.turns`).

    Between two turns of the loop at most one of them runs, however many there are, so that a
    request is late by a slice for each turn that it takes. (A thread would be worse: the loop waits
    up to 5 ms for the interpreter's lock each time that it has released it.)
    """

    def __init__(
        self, rest_s: float = 0.0, *, timer: Callable[[], float] = time.perf_counter
    ) -> None:
        """After each slice all of them rest for `rest_s` at least, in which the threads of the
        database, say, get the interpreter's lock."""
        self._turn = FairSlots(1, is_strict=True)
        self._rest_s = rest_s
        self._timer = timer

    @contextlib.asynccontextmanager
    async def computing(self, party: Party) -> AsyncIterator[Computation]:
        """A context for one computation, which begins with its first slice.

        None is a party, too: all scopes of a sandbox together.
        """
        own = NO_PARTY if party is None else party
        computation = Computation(self._turn, own, self._rest_s, self._timer)
        await computation.begin_slice()
        try:
            yield computation
        finally:
            computation.end_slice()


class Computation:
    """A long computation. It calls `pause` when `is_over` says so, and awaits nothing else."""

    def __init__(
        self, turn: FairSlots, party: Party, rest_s: float, timer: Callable[[], float]
    ) -> None:
        self._turn = turn
        self._party = party
        self._rest_s = rest_s
        self._timer = timer
        self._has_turn = False
        self._ends_at = 0.0

    @property
    def is_over(self) -> bool:
        """Whether the slice is over."""
        return self._timer() >= self._ends_at

    async def pause(self) -> None:
        """Let requests and other computations go first, then begin another slice."""
        # with the turn, so that no other computation begins meanwhile
        await asyncio.sleep(self._rest_s)
        self.end_slice()
        await self.begin_slice()

    async def begin_slice(self) -> None:
        await self._turn.acquire(self._party)
        self._has_turn = True
        self._ends_at = self._timer() + SLICE_S

    def end_slice(self) -> None:
        # a computation that is cancelled while it waits has no turn to give back
        if self._has_turn:
            self._has_turn = False
            self._turn.release(self._party)


@dataclass(slots=True, eq=False)
class _Call(Generic[Arg, Result]):
    arg: Arg
    future: asyncio.Future[Result]


class GroupedCalls(Generic[Arg, Result]):
    """Runs calls in groups: calls that arrive while a group runs form the next one.

    If they are more than a group, parties take turns (`engine.turns`). `run` gets the arguments of
    up to `max_group` calls, and returns a result, or an
    exception to raise, for each. An exception that `run` itself raises is raised by all of them. A
    call that was cancelled before its group runs is dropped.
    """

    def __init__(
        self,
        run: Callable[[list[Arg]], Awaitable[Sequence[Result | Exception]]],
        *,
        max_group: int,
    ) -> None:
        self._run = run
        self._max_group = max_group
        self._pending: FairQueue[_Call[Arg, Result]] = FairQueue()
        self._task: asyncio.Task[None] | None = None

    async def call(self, arg: Arg) -> Result:
        """Raises StorageUnavailable if too many calls wait, and what `run` returns for this one."""
        return await self.begin(arg)

    def begin(self, arg: Arg) -> asyncio.Future[Result]:
        """Call without waiting. Raises StorageUnavailable if too many calls wait."""
        if len(self._pending) >= MAX_PENDING:
            raise StorageUnavailable("the database: too much is waiting for it")
        return self.submit(arg)

    def submit(self, arg: Arg) -> asyncio.Future[Result]:
        """Call without waiting, however many calls wait."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._pending.put(_Call(arg, future))
        if self._task is None:
            # A task of its own, since the caller that starts it may be cancelled before the others.
            with acting_for(NO_PARTY):
                self._task = asyncio.create_task(self._run_groups())
        return future

    async def aclose(self) -> None:
        """Wait until no call is pending."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _run_groups(self) -> None:
        try:
            while self._pending:
                group = self._take_group()
                if group:
                    await self._run_group(group)
        finally:
            self._task = None

    def _take_group(self) -> list[_Call[Arg, Result]]:
        taken = [self._pending.pop() for _ in range(min(self._max_group, len(self._pending)))]
        return [call for call in taken if not call.future.done()]

    async def _run_group(self, group: list[_Call[Arg, Result]]) -> None:
        results: Sequence[Result | Exception]
        try:
            results = await self._run([call.arg for call in group])
        except Exception as exc:
            results = [exc] * len(group)
        for call, result in zip(group, results, strict=True):
            if call.future.done():
                continue
            if isinstance(result, Exception):
                call.future.set_exception(result)
            else:
                call.future.set_result(result)
