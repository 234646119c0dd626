"""The dispatch of many processes: procrastinate, on PostgreSQL.

Its jobs are turns and notices, which carry nothing that is not in our tables. They are deferred on
the connection of our own transaction, so that they exist if and only if it commits.

Each process that works has three of procrastinate's workers, since a slot of one is taken as long
as its job runs: `pieces` for chunks, `first` for batches that begin, and `house` for notices and
periodic work. A worker of procrastinate ends when one of its own tasks fails, such as its heartbeat
while the database is away; then another one is started, under a new id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from procrastinate import App, BaseRetryStrategy, JobContext, RetryDecision
from procrastinate.exceptions import ConnectorException, ProcrastinateException
from procrastinate.jobs import Job
from procrastinate.types import JSONDict
from procrastinate.worker import Worker
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.cluster.dispatch.connector import Connector, QuietJobs
from gateway.cluster.embedded import run_logged
from gateway.cluster.ports import ChunkWorker, DispatchState, TurnOutcome
from gateway.store import StoreError
from gateway.tasks import in_background

log = logging.getLogger(__name__)

PIECES, FIRST, HOUSE = "pieces", "first", "house"
TURN, NOTICE = "veriplex.turn", "veriplex.notice"
VERSION = 1
"""Of what a job carries. A job of an unknown version is left to processes that know it."""
FIRST_SLOTS = 2
HOUSE_SLOTS = 2
POLL_S = 1.0
"""How often turns that were put off are looked for: the database does not announce them."""
IDLE_POLL_S = 5.0
"""The same for the other queues, whose jobs are announced when they are made."""
WATCH_EVERY_S = 1.0
RECONCILE_EVERY_S = 60.0
"""How long work waits at most whose turn was lost."""
PRUNE_AFTER_S = 120.0
"""When the row of a worker is deleted; long after it counts as dead, since one that is only
suspended ends if its row is gone."""
ABORT_AFTER_S = 2.0
"""How long a worker that failed waits for its jobs."""
DRAIN_S = 10.0
"""How long chunks in flight may go on after the process was told to stop."""
RESTART_PAUSES_S = (0.5, 10.0)
"""The first and the longest pause before a worker that ended is started anew."""
TURNS_PER_STATEMENT = 1_000

_LIVING = """
SELECT id FROM procrastinate_workers
WHERE last_heartbeat > now() - make_interval(secs => %(seconds)s)
"""
_WAITING = """
SELECT queue_name, count(*) AS count FROM procrastinate_jobs
WHERE status = 'todo' AND task_name = %(task)s AND queue_name LIKE %(queues)s
AND (scheduled_at IS NULL OR scheduled_at <= now()) GROUP BY queue_name
"""
_FORGET = """
DELETE FROM procrastinate_jobs WHERE status = 'todo' AND task_name = %(task)s
AND queue_name LIKE %(queues)s AND scheduled_at < now() - interval '1 hour' RETURNING id
"""
"""Turns of an egress that no process has any more; their chunks have gone to others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchConfig:
    """How one process takes part."""

    url: str
    """Of the database, with the password, past a pooler."""
    pieces: int = 8
    """Chunks in flight."""
    heartbeat_s: float = 2.0
    dead_after_s: float = 6.0
    egresses: frozenset[str] = frozenset({"default"})
    drain_s: float = DRAIN_S


class _GivenBack(Exception):
    """A job is to be done by another process."""


class _GiveBack(BaseRetryStrategy):
    """A job that was given back is due at once; any other that fails is not repeated."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        return RetryDecision(retry_in={"seconds": 0}) if isinstance(exception, _GivenBack) else None


class ProcrastinateDispatch:
    """`gateway.cluster.ports.Dispatch` over procrastinate."""

    is_alone = False

    def __init__(self, config: DispatchConfig, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` is the Unix time of the database, in seconds."""
        self._config = config
        self._clock = clock
        self._connector = Connector(config.url, trouble_after_s=config.heartbeat_s)
        self._app = App(connector=self._connector)
        self._app.job_manager = QuietJobs(self._connector)
        self._notices: dict[str, Callable[[], None]] = {}
        self._worker: ChunkWorker | None = None
        self._engine_workers: dict[str, Worker] = {}
        self._is_stopping = self._is_drained = False
        self._running: list[asyncio.Task[None]] = []
        self._turns: dict[TurnOutcome, int] = dict.fromkeys(TurnOutcome, 0)
        self._must_reconcile = False
        """Whether turns were lost since the last time, while the database was away."""
        self._restarts = 0
        self._freed = 0
        self._turn = self._app.task(name=TURN, pass_context=True, retry=_GiveBack())(
            self._take_turn
        )
        self._notice = self._app.task(name=NOTICE, queue=HOUSE)(self._on_notice)
        self.every("reconcile", RECONCILE_EVERY_S, self._reconcile)

    # -- saying what is due --------------------------------------------------------------

    async def due(
        self, connection: AsyncConnection, at: float, count: int = 1, *, egress: str = ""
    ) -> None:
        queue = f"{PIECES}:{egress}" if egress else PIECES
        await self._defer(connection, self._turn, queue, at, [{"v": VERSION}] * count)

    async def due_first(self, connection: AsyncConnection) -> None:
        await self._defer(connection, self._turn, FIRST, 0.0, [{"v": VERSION}])

    async def tell_at(self, connection: AsyncConnection, what: str, at: float) -> None:
        await self._defer(connection, self._notice, HOUSE, at, [{"v": VERSION, "what": what}])

    async def top_up(self, connection: AsyncConnection, due: Mapping[str, int]) -> int:
        await _raw(connection, self._connector, _FORGET, task=TURN, queues=f"{PIECES}:%")
        waiting = await self.waiting_turns(connection)
        missing = {egress: due[egress] - waiting.get(egress, 0) for egress in due}
        for egress, count in missing.items():
            if count > 0:
                await self.due(connection, 0.0, count, egress=egress)
        return sum(max(count, 0) for count in missing.values())

    async def waiting_turns(self, connection: AsyncConnection) -> dict[str, int]:
        """The turns that wait and are due, by egress."""
        arguments = {"task": TURN, "queues": f"{PIECES}%"}
        rows = await _raw(connection, self._connector, _WAITING, **arguments)
        return {row["queue_name"].removeprefix(PIECES)[1:]: int(row["count"]) for row in rows}

    async def count_workers(self, connection: AsyncConnection) -> int | None:
        seconds = self._config.dead_after_s
        return len(await _raw(connection, self._connector, _LIVING, seconds=seconds))

    async def _defer(
        self,
        connection: AsyncConnection,
        task: Any,
        queue: str,
        at: float,
        jobs: Sequence[JSONDict],
    ) -> None:
        """Defer jobs in the connection's transaction. Raises psycopg.Error."""
        raw = (await connection.get_raw_connection()).driver_connection
        is_later = at > self._clock()
        deferrer = task.configure(
            queue=queue,
            schedule_at=datetime.fromtimestamp(at, UTC) if is_later else None,
            connection=raw,
        )
        with _driver_errors():
            for start in range(0, len(jobs), TURNS_PER_STATEMENT):
                await deferrer.batch_defer_async(*jobs[start : start + TURNS_PER_STATEMENT])

    # -- being told ----------------------------------------------------------------------

    def when_told(self, what: str, work: Callable[[], None]) -> None:
        self._notices[what] = work

    def every(self, name: str, interval_s: float, work: Callable[[], Awaitable[object]]) -> None:
        async def run(timestamp: int) -> None:
            await run_logged(name, work)

        task = self._app.task(name=f"veriplex.every.{name}", queue=HOUSE)(run)
        self._app.periodic(cron=_cron(interval_s), periodic_id=name)(task)

    def soon(self, name: str) -> None:
        """It runs at its time, in whichever process."""

    async def _on_notice(self, v: int, what: str = "") -> None:
        if v == VERSION and what in self._notices:
            self._notices[what]()

    async def _reconcile(self) -> None:
        if self._worker is not None:
            self._must_reconcile = False
            try:
                await self._worker.reconcile()
            except StoreError:
                self._must_reconcile = True
                raise

    async def _take_turn(self, context: JobContext, v: int) -> None:
        assert self._worker is not None
        if v != VERSION:
            raise _GivenBack
        try:
            outcome = await self._worker.take_turn(
                str(context.job.worker_id), only_idle_batches=context.job.queue == FIRST
            )
        except StoreError as exc:
            log.warning("claim.failed", extra={"error": str(exc)})
            outcome = TurnOutcome.FAILED
            self._must_reconcile = True
        except Exception:
            log.exception("dispatch.turn_failed")
            outcome = TurnOutcome.FAILED
        self._turns[outcome] += 1
        if outcome is TurnOutcome.GIVEN_BACK:
            raise _GivenBack

    # -- who is alive --------------------------------------------------------------------

    async def living(self) -> frozenset[str] | None:
        # After the database was away, nobody else has had the time for a sign of life.
        grace_s = self._config.dead_after_s + self._config.heartbeat_s
        if self._connector.since_trouble_s < grace_s:
            return None
        rows = await self._connector.execute_query_all_async(
            _LIVING, seconds=self._config.dead_after_s
        )
        return frozenset(str(row["id"]) for row in rows)

    @property
    def is_stuck(self) -> bool:
        """Whether a call has waited for so long that its connection must be dead."""
        return bool(self._engine_workers) and self._connector.is_stuck

    def state(self) -> DispatchState:
        last_answer_s = self._connector.last_answer_s if self._engine_workers else 0.0
        return DispatchState(dict(self._turns), self._restarts, self._freed, last_answer_s)

    async def _watch(self, worker: ChunkWorker) -> None:
        """Put back what dead workers had. In a loop, since a job would wait for a slot."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            try:
                if self._must_reconcile:
                    await self._reconcile()
                if await self.living() is None:
                    continue
                # first, since a job may be locked for a while by who had it
                await worker.free_leases_of_dead()
                await self._free_jobs()
            except (ProcrastinateException, StoreError) as exc:
                log.debug("dispatch.watch_failed", extra={"error": str(exc)})
            except Exception:
                log.exception("dispatch.watch_crashed")

    async def _free_jobs(self) -> None:
        manager = self._app.job_manager
        stalled: Iterable[Job] = await manager.get_stalled_jobs(
            seconds_since_heartbeat=self._config.dead_after_s
        )
        for job in stalled:
            # another process may have come first
            with contextlib.suppress(ConnectorException):
                assert job.id is not None
                await manager.retry_job_by_id_async(job.id, datetime.now(UTC))
                self._freed += 1

    # -- running -------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def running(self, worker: ChunkWorker) -> AsyncIterator[None]:
        self._worker, self._is_stopping, self._is_drained = worker, False, False
        await self._connector.open_async()
        try:
            async with in_background(self._watch(worker)):
                pieces = [PIECES, *(f"{PIECES}:{name}" for name in sorted(self._config.egresses))]
                running = self._running = [
                    asyncio.create_task(self._keep_running(name, queues, slots, poll_s))
                    for name, queues, slots, poll_s in (
                        (PIECES, pieces, self._config.pieces, POLL_S),
                        (FIRST, [FIRST], FIRST_SLOTS, IDLE_POLL_S),
                        (HOUSE, [HOUSE], HOUSE_SLOTS, IDLE_POLL_S),
                    )
                ]
                try:
                    async with worker.taking_turns():
                        try:
                            yield
                        finally:
                            self._stop_fetching()
                            drain_s = 0.0 if self._is_drained else self._config.drain_s
                            await asyncio.wait(running, timeout=drain_s)
                    # chunks are released now, and their turns end
                    await asyncio.wait(running, timeout=ABORT_AFTER_S)
                finally:
                    for task in running:
                        task.cancel()
                    await asyncio.gather(*running, return_exceptions=True)
        finally:
            self._engine_workers.clear()
            self._running = []
            await self._connector.close_async()

    async def drain(self, hurry: asyncio.Event) -> None:
        if not self._running:
            return
        self._stop_fetching()
        self._is_drained = True
        hurried = asyncio.create_task(hurry.wait())
        ended = asyncio.create_task(asyncio.wait(self._running, timeout=self._config.drain_s))
        try:
            await asyncio.wait((hurried, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurried.cancel()
            ended.cancel()
            await asyncio.gather(hurried, ended, return_exceptions=True)

    def _stop_fetching(self) -> None:
        self._is_stopping = True
        for engine_worker in self._engine_workers.values():
            engine_worker.shutdown_graceful_timeout = self._config.drain_s + ABORT_AFTER_S
            engine_worker.stop()  # type: ignore[no-untyped-call]

    async def _keep_running(
        self, name: str, queues: Sequence[str], slots: int, poll_s: float
    ) -> None:
        """Run a worker of procrastinate, and another one when it ends."""
        pause_s, longest_s = RESTART_PAUSES_S
        while not self._is_stopping:
            began = time.monotonic()
            try:
                await self._run_once(name, queues, slots, poll_s)
                error = ""
            except Exception as exc:
                error = str(exc) or type(exc).__name__
            if self._is_stopping:
                return
            self._restarts += 1
            if time.monotonic() - began > longest_s:
                pause_s = RESTART_PAUSES_S[0]
            log.warning("dispatch.worker_ended", extra={"queue": name, "error": error})
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311
            pause_s = min(2 * pause_s, longest_s)

    async def _run_once(self, name: str, queues: Sequence[str], slots: int, poll_s: float) -> None:
        engine_worker = self._engine_workers[name] = Worker(
            app=self._app,
            queues=queues,
            name=name,
            concurrency=slots,
            fetch_job_polling_interval=poll_s,
            shutdown_graceful_timeout=ABORT_AFTER_S,
            delete_jobs="always",
            install_signal_handlers=False,
            update_heartbeat_interval=self._config.heartbeat_s,
            stalled_worker_timeout=max(PRUNE_AFTER_S, 2 * self._config.dead_after_s),
        )
        await engine_worker.run()  # type: ignore[no-untyped-call]


def _cron(interval_s: float) -> str:
    """Seconds to cron's form: whole minutes, or seconds that divide one."""
    seconds = int(interval_s)
    if seconds != interval_s or seconds <= 0 or 3600 % seconds or (seconds > 60 and seconds % 60):
        raise ValueError(f"not a part of an hour: {interval_s} s")
    if seconds < 60:
        return f"* * * * * */{seconds}"
    return f"*/{seconds // 60} * * * *" if seconds < 3600 else "0 * * * *"


@contextlib.contextmanager
def _driver_errors() -> Iterator[None]:
    """Raise the driver's errors instead of procrastinate's, for the store to translate."""
    try:
        yield
    except ConnectorException as exc:
        if isinstance(exc.__cause__, psycopg.Error):
            raise exc.__cause__ from exc
        raise


async def _raw(
    connection: AsyncConnection, connector: Connector, query: Any, **arguments: Any
) -> list[dict[str, Any]]:
    raw: Any = (await connection.get_raw_connection()).driver_connection
    with _driver_errors():
        found: list[dict[str, Any]] = await connector.execute_query_all_async_with_connection(
            raw, query, **arguments
        )
    return found
