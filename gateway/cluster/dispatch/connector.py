"""procrastinate's connections: bounded calls that outlive a restart of the database.

Left to itself, a call that meets a half-open connection never ends, and a listener that meets a
database in the middle of its restart ends its worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar

import psycopg
from procrastinate import PsycopgConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager

from gateway.store.postgres import session_parameters

log = logging.getLogger(__name__)

CONNECTIONS = 4
"""For all of a process's workers; each of them has one more, on which it listens."""
CALL_TIMEOUT_S = 10.0
"""Of one call, which takes milliseconds."""
STUCK_AFTER_S = 60.0
RETRY_FOR_S = 4.0
"""How long a call is repeated while the database is away: longer than it takes to restart."""
RETRY_PAUSE_S = 0.2
LISTEN_PAUSE_S = 1.0

Result = TypeVar("Result")


class Connector(PsycopgConnector):
    """The pool of one process."""

    def __init__(self, url: str, *, trouble_after_s: float) -> None:
        """A call that takes longer than `trouble_after_s` counts as trouble."""
        super().__init__(
            conninfo=url,
            kwargs=session_parameters(CALL_TIMEOUT_S / 2),
            configure=_commit_each_statement,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=CALL_TIMEOUT_S / 2,
            # a pool that gave up tries anew at the next call, instead of ever more seldom
            reconnect_timeout=2.0,
        )
        self._trouble_after_s = trouble_after_s
        self._trouble_at = self._answered_at = time.monotonic()
        self._begun: dict[object, float] = {}
        """When the calls in flight began."""

    @property
    def since_trouble_s(self) -> float:
        """Seconds since the database was last away or slow, or since this process was suspended."""
        return time.monotonic() - self._trouble_at

    @property
    def last_answer_s(self) -> float:
        return time.monotonic() - self._answered_at

    @property
    def is_stuck(self) -> bool:
        now = time.monotonic()
        oldest = min(self._begun.values(), default=now)
        return now - oldest > STUCK_AFTER_S or self.last_answer_s > STUCK_AFTER_S

    async def execute_query_async(self, query: Any, **arguments: Any) -> None:
        call = super().execute_query_async
        await self._bounded(lambda: call(query, **arguments))

    async def execute_query_one_async(self, query: Any, **arguments: Any) -> dict[str, Any]:
        call = super().execute_query_one_async
        return await self._bounded(lambda: call(query, **arguments))

    async def execute_query_all_async(self, query: Any, **arguments: Any) -> list[dict[str, Any]]:
        call = super().execute_query_all_async
        return await self._bounded(lambda: call(query, **arguments))

    async def _bounded(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """Raises ConnectorException."""
        give_up_at = time.monotonic() + RETRY_FOR_S
        while True:
            try:
                with self._observed():
                    async with asyncio.timeout(CALL_TIMEOUT_S):
                        return await call()
            except TimeoutError as exc:
                self._trouble_at = time.monotonic()
                raise ConnectorException("the database does not answer") from exc
            except ConnectorException as exc:
                if not isinstance(exc.__cause__, psycopg.OperationalError):
                    raise  # a statement that the server refused would be refused again
                self._trouble_at = time.monotonic()
                if self._trouble_at >= give_up_at:
                    raise
            await asyncio.sleep(RETRY_PAUSE_S)

    @contextlib.contextmanager
    def _observed(self) -> Iterator[None]:
        token = object()
        began = self._begun[token] = time.monotonic()
        try:
            yield
        finally:
            del self._begun[token]
        self._answered_at = time.monotonic()
        if self._answered_at - began > self._trouble_after_s:
            self._trouble_at = self._answered_at

    async def listen_notify(self, on_notification: Any, channels: Iterable[str]) -> None:
        """Listen until cancelled, with a new connection after each that is lost."""
        while True:
            with contextlib.suppress(ConnectorException, psycopg.Error):
                await super().listen_notify(on_notification, channels)
            # until then jobs are found by polling
            await asyncio.sleep(LISTEN_PAUSE_S)


async def _commit_each_statement(connection: psycopg.AsyncConnection) -> None:
    """A process that is suspended between a statement and its commit would keep the locks."""
    await connection.set_autocommit(True)


class QuietJobs(JobManager):
    """Finishes jobs that are finished already, without an error: another process had them when this
    one was suspended, or while the database was away."""

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        try:
            await super().finish_job(job, status, delete_job)
        except ConnectorException as exc:
            log.debug("dispatch.job_not_finished", extra={"job": job.id, "error": str(exc)})

    async def retry_job(self, job: Job, *args: Any, **kwargs: Any) -> None:
        try:
            await super().retry_job(job, *args, **kwargs)
        except ConnectorException as exc:
            log.debug("dispatch.job_not_retried", extra={"job": job.id, "error": str(exc)})
