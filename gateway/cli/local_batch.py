"""A batch without a server: one list in a database of its own, verified by the local probe."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.contract.dialect import Dialect, KeyShape
from adapters.contract.jobs import BatchRules, Entry, Job, ListJobs, ReadRows, Row, SubmitJob
from adapters.contract.operations import UNLIMITED
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply
from engine.model import Checks, Verdict
from gateway.accounts.caller import Caller, Charge, Status
from gateway.batches.holder import holder, is_dead
from gateway.batches.ports import always
from gateway.batches.queue import SqlQueue
from gateway.batches.records import Records
from gateway.batches.runner import Runner
from gateway.reputation import count_once
from gateway.settings import Settings
from gateway.store import Store, open_store
from gateway.verdicts.cache import Verdicts
from gateway.verdicts.verifier import BulkVerifier

LOCAL = Dialect(
    name="local",
    title="Local",
    hosts=(),
    base_path="",
    root_paths=(),
    endpoints=(),
    credential=lambda _: None,
    write_problem=lambda *_: WireReply(500),
    key_shape=KeyShape(),
    sandbox_key="",
    batches=BatchRules(
        new_id=lambda number, _: str(number),
        word=lambda v: v.verdict.value,
        kept_s=lambda _: None,
    ),
)
"""What the batch is written in: our own verdicts, nothing charged, nothing forgotten."""

OWNER = Caller(
    account_id=0,
    key_id=0,
    dialect=LOCAL.name,
    test=False,
    plan=UNLIMITED,
    status=Status.ACTIVE,
    owner_email="",
    key_label="",
    has_credits=False,
)


class _NoPurse:
    async def charge_within(
        self, connection: AsyncConnection, caller: Caller, units: int
    ) -> Charge:
        return Charge(caller.account_id, "", 0)


class LocalBatch:
    """The one batch of a database. Every method may raise StoreError."""

    def __init__(self, records: Records, runner: Runner) -> None:
        self._records = records
        self._runner = runner

    async def earlier(self) -> Job | None:
        """The batch that an earlier run left."""
        page = await self._records.page(OWNER, ListJobs(oldest_first=True, per_page=1))
        return page.jobs[0] if page.jobs else None

    async def submit(
        self,
        entries: Iterable[Entry],
        *,
        headers: tuple[str, ...],
        checks: Checks,
        retries: bool,
        options: Mapping[str, Any],
    ) -> Job:
        """Take a list in; whatever `entries` raises is raised."""
        return await self._records.submit(
            LOCAL,
            OWNER,
            SubmitJob(
                entries=entries, headers=headers, checks=checks, retries=retries, options=options
            ),
        )

    async def show(self) -> Job:
        job = await self.earlier()
        if job is None:
            raise Problem(ProblemKind.JOB_UNKNOWN)
        return job

    def working(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Verify while inside."""
        return self._runner.running()

    async def drain(self) -> None:
        """Do all that is due now."""
        await self._runner.drain()

    def rows(self, job: Job) -> AsyncIterator[Row]:
        return self._records.found(job, ReadRows()).rows


@contextlib.asynccontextmanager
async def open_local_batch(
    settings: Settings, path: str, *, verifier: BulkVerifier | None = None
) -> AsyncIterator[LocalBatch]:
    """A database at `path`, in memory if that is empty. Raises StoreError."""
    from gateway.app import open_engine

    async with contextlib.AsyncExitStack() as stack:
        url = f"sqlite:///{path or ':memory:'}"
        store: Store = await stack.enter_async_context(open_store(url))
        engine = await stack.enter_async_context(open_engine(settings))
        stack.push_async_callback(count_once, settings.storage.url, engine.standing)
        ttl_s = {verdict: getattr(settings.cache.ttl_s, verdict) for verdict in Verdict}
        verdicts = Verdicts(engine, ttl_s=ttl_s, clock=time.time)
        by_name = {LOCAL.name: LOCAL}
        queue = SqlQueue(store, by_name, clock=time.time)
        me = holder(secrets.token_hex(8))
        await queue.recover(lambda of: is_dead(of, me=me))
        records = Records(
            store,
            _NoPurse(),
            by_name,
            clock=time.time,
            randbelow=secrets.randbelow,
            base_url=str,
        )
        runner = Runner(
            queue,
            always(verifier or engine),
            verdicts,
            holder=me,
            retries_s=settings.engine.greylist_retries_s,
            clock=time.time,
        )
        yield LocalBatch(records, runner)
