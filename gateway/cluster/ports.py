"""What the workers need to share batches and other background work with other processes.

Work exists because a row of our tables says so; a turn is only a knock at the door. A turn that is
lost delays the work, a turn too many finds nothing to do. `tests/gateway/cluster/test_dispatch.py`
is the contract that an implementation of `Dispatch` must pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

WEBHOOKS = "webhooks"
"""What `Dispatch.tell_at` tells of: webhooks are due."""


class TurnOutcome(StrEnum):
    """What came of a turn."""

    WORKED = "worked"
    NOTHING_DUE = "nothing_due"
    LOST = "lost"
    """The lease went to another worker meanwhile."""
    FAILED = "failed"
    RELEASED = "released"
    """The worker stops: it wrote the results that it had, and the chunk is due for another one."""
    GIVEN_BACK = "given_back"
    """The worker stops: another one is to take the turn."""


class ChunkWorker(Protocol):
    """Works on chunks of batches (`gateway.batches.runner.Runner`)."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Look for chunks and work on them while inside, without any turns."""
        ...

    def taking_turns(self) -> AbstractAsyncContextManager[None]:
        """Allow `take_turn` while inside; at the end, write the results there are, and release."""
        ...

    async def take_turn(self, holder: str, *, only_idle_batches: bool = False) -> TurnOutcome:
        """Claim the chunk that is next, in the name of `holder`, and work on it.

        With `only_idle_batches` it is one of a batch of which no chunk is in flight anywhere.
        """
        ...

    async def free_leases_of_dead(self) -> None:
        """Free the leases of holders that are not among `Dispatch.living`. Raises StoreError."""
        ...

    async def reconcile(self) -> None:
        """See that a turn waits for each chunk that is due (`Dispatch.top_up`). Raises
        StoreError."""
        ...


@dataclass(frozen=True, slots=True)
class DispatchState:
    """What a process's dispatch has done."""

    turns: Mapping[TurnOutcome, int]
    restarts: int
    """How often one of the engine's workers ended and another one was started."""
    freed: int
    """Jobs of dead workers that were made available again."""
    last_answer_s: float
    """Seconds since the database answered the engine."""


class Dispatch(Protocol):
    """Says when there is work, which process does it, and which processes are alive."""

    is_alone: bool
    """Whether no other process shares the work by turns."""

    @property
    def is_stuck(self) -> bool:
        """Whether the engine waits for the database, and will go on doing so for ever if the
        database answers others."""
        ...

    def state(self) -> DispatchState: ...

    async def waiting_turns(self, connection: AsyncConnection) -> Mapping[str, int]:
        """The turns of all processes that are due and wait, by egress. Raises StoreError."""
        ...

    async def due(
        self, connection: AsyncConnection, at: float, count: int = 1, *, egress: str = ""
    ) -> None:
        """`count` chunks are due at `at` (Unix time, s), if the connection's transaction commits.

        With `egress` a process with the egress of that name is preferred. Raises StoreError.
        """
        ...

    async def due_first(self, connection: AsyncConnection) -> None:
        """A batch starts: it goes before others, which have chunks in flight. Raises StoreError."""
        ...

    async def top_up(self, connection: AsyncConnection, due: Mapping[str, int]) -> int:
        """See that as many turns wait as chunks are due, by egress; returns how many were missing.

        Raises StoreError.
        """
        ...

    async def tell_at(self, connection: AsyncConnection, what: str, at: float) -> None:
        """Run what `when_told` was given, in some process at `at` (Unix time, s), if the
        transaction commits. Raises StoreError."""
        ...

    async def count_workers(self, connection: AsyncConnection) -> int | None:
        """The engine's living workers, of all processes; None if there is no engine.

        Raises StoreError.
        """
        ...

    def when_told(self, what: str, work: Callable[[], None]) -> None:
        """`work` is run for `tell_at`. To be called before `running`."""
        ...

    def every(self, name: str, interval_s: float, work: Callable[[], Awaitable[object]]) -> None:
        """Run `work` every so often, in one of all processes. To be called before `running`.

        What it raises is logged.
        """
        ...

    def soon(self, name: str) -> None:
        """What `every` was given under that name has something to do; it may run at once."""
        ...

    async def living(self) -> frozenset[str] | None:
        """The holders of leases that are alive; None if that cannot be judged now.

        Each process that was alive when the call began is among them, or has died since.
        """
        ...

    async def drain(self, hurry: asyncio.Event) -> None:
        """Take no more work, and let the chunks under way end.

        What is under way when the time for it is over, or `hurry` is set, is left to others.
        """
        ...

    def running(self, worker: ChunkWorker) -> AbstractAsyncContextManager[None]:
        """Take part in the work while inside."""
        ...
