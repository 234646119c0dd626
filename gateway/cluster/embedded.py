"""The dispatch of one process alone: a loop looks for work, and is woken when there is some."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.cluster.ports import ChunkWorker, DispatchState
from gateway.errors import StorageUnavailable
from gateway.tasks import WorkLoop, in_background

log = logging.getLogger(__name__)


async def run_logged(name: str, work: Callable[[], Awaitable[object]]) -> None:
    """Run periodic work; what it raises is logged."""
    try:
        await work()
    except StorageUnavailable as exc:
        log.warning("periodic.failed", extra={"work": name, "error": str(exc)})
    except Exception:
        log.exception("periodic.crashed", extra={"work": name})


@dataclass(frozen=True, slots=True)
class _Periodic:
    name: str
    interval_s: float
    work: Callable[[], Awaitable[object]]
    loop: WorkLoop = field(default_factory=WorkLoop)

    async def run(self) -> None:
        while True:
            await run_logged(self.name, self.work)
            await self.loop.pause(self.interval_s)


class EmbeddedDispatch:
    """`gateway.cluster.ports.Dispatch` without other processes and without turns: the worker looks
    at the tables by itself."""

    is_alone = True
    is_stuck = False

    def __init__(self) -> None:
        self._periodic: dict[str, _Periodic] = {}

    def state(self) -> DispatchState:
        return DispatchState({}, 0, 0, 0.0)

    async def waiting_turns(self, connection: AsyncConnection) -> Mapping[str, int]:
        return {}

    async def count_workers(self, connection: AsyncConnection) -> int | None:
        return None

    async def due(
        self, connection: AsyncConnection, at: float, count: int = 1, *, egress: str = ""
    ) -> None:
        pass

    async def due_first(self, connection: AsyncConnection) -> None:
        pass

    async def top_up(self, connection: AsyncConnection, due: Mapping[str, int]) -> int:
        return 0

    async def tell_at(self, connection: AsyncConnection, what: str, at: float) -> None:
        pass

    def when_told(self, what: str, work: Callable[[], None]) -> None:
        """Who sends webhooks is woken by this process, and looks at the outbox anyway."""

    def every(self, name: str, interval_s: float, work: Callable[[], Awaitable[object]]) -> None:
        self._periodic[name] = _Periodic(name, interval_s, work)

    def soon(self, name: str) -> None:
        self._periodic[name].loop.wake()

    async def living(self) -> frozenset[str] | None:
        return None

    async def drain(self, hurry: asyncio.Event) -> None:
        """A chunk ends as soon as the worker does."""

    @contextlib.asynccontextmanager
    async def running(self, worker: ChunkWorker) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for periodic in self._periodic.values():
                # one that is cancelled in the middle is completed after the next start
                await stack.enter_async_context(in_background(periodic.run()))
            await stack.enter_async_context(worker.running())
            yield
