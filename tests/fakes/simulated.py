"""Time that passes only when everything waits, and vendors whose state depends on it.

Nothing here uses a socket, a thread or the real clock, so that hours of outages are simulated in
seconds, and each run is repeatable.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from enum import StrEnum
from typing import Any, TypeVar

import orjson
from sqlalchemy import Connection, create_engine
from sqlalchemy.dialects.sqlite import Insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.pool import StaticPool
from sqlalchemy.schema import Table

from adapters.contract.upstream import Fault, FaultKind, UpstreamReply, UpstreamRequest
from gateway.store.tables import metadata, spending
from gateway.upstreams.transport.client import UpstreamLocation

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Waits for nothing: time jumps to the next timer."""

    def __init__(self, jump: Callable[[float | None], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout != 0:
            self._jump(timeout)
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own, which begins at 0."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Jumping(self._jump))

    def time(self) -> float:
        return self.now

    def _jump(self, seconds: float | None) -> None:
        if seconds is None:
            raise RuntimeError("all tasks wait for something that never happens")
        self.now += seconds


def simulate(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in simulated time."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(main)


class State(StrEnum):
    """How a vendor is."""

    WELL = "well"
    REFUSES = "refuses"
    HANGS = "hangs"
    BREAKS = "breaks"
    FAILS = "fails"
    THROTTLES = "throttles"
    GARBAGE = "garbage"
    SLOW = "slow"


SLOW_S = 3.0
RETRY_AFTER_S = 1
RESULT = orjson.dumps({"state": "deliverable", "reason": "accepted_email", "score": 100})
REPLIES: Mapping[State, tuple[int, bytes, dict[str, str]]] = {
    State.WELL: (200, RESULT, {}),
    State.SLOW: (200, RESULT, {}),
    State.FAILS: (500, b"{}", {}),
    State.THROTTLES: (429, b"{}", {"retry-after": str(RETRY_AFTER_S)}),
    State.GARBAGE: (200, b"<html>maintenance</html>", {}),
}
BILLED = frozenset({State.WELL, State.SLOW})
"""States in which a call is answered, and paid."""


class SimulatedVendor:
    """Takes the place of an `UpstreamClient`; speaks Emailable's dialect."""

    def __init__(self, state_at: Callable[[float], State], latency_s: float) -> None:
        self._state_at = state_at
        self._latency_s = latency_s
        self.calls: list[tuple[float, State, str]] = []
        """When each was made, the state then, and the address."""

    @property
    def state(self) -> State:
        return self._state_at(asyncio.get_running_loop().time())

    async def send(
        self,
        location: UpstreamLocation,
        request: UpstreamRequest,
        *,
        connect_timeout_s: float,
        timeout_s: float,
        max_body_bytes: int = 0,
    ) -> UpstreamReply | Fault:
        now = asyncio.get_running_loop().time()
        state = self.state
        self.calls.append((now, state, request.query["email"]))
        takes_s = {State.SLOW: SLOW_S, State.HANGS: timeout_s}.get(state, self._latency_s)
        await asyncio.sleep(min(takes_s, timeout_s))
        if takes_s >= timeout_s:
            return Fault(FaultKind.TIMED_OUT)
        if state is State.REFUSES:
            return Fault(FaultKind.UNREACHABLE)
        if state is State.BREAKS:
            return Fault(FaultKind.BROKEN)
        status, body, headers = REPLIES[state]
        return UpstreamReply(status, headers, body, received_at=now + takes_s)


class _Connection:
    """A connection whose statements are executed at once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(self, statement: Any) -> Any:
        return self._connection.execute(statement)


class SimulatedStore:
    """Takes the place of a `Store`, for the table of spending alone: in memory, in no thread."""

    def __init__(self) -> None:
        self._engine = create_engine("sqlite://", poolclass=StaticPool)
        metadata.create_all(self._engine, [spending])

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[_Connection]:
        async with self.write() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[_Connection]:
        with self._engine.begin() as connection:
            yield _Connection(connection)

    async def lock(self, connection: _Connection, name: str) -> None:
        """There is one connection, so that no two transactions overlap."""

    @staticmethod
    def insert(into: Table) -> Insert:
        return sqlite_insert(into)

    def close(self) -> None:
        self._engine.dispose()
