"""A batch without a server: one list, in its own database, verified by the local probe."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.contract.batch_rules import BatchRules
from adapters.contract.credential import Credential
from adapters.contract.dialect import Dialect, KeyShape
from adapters.contract.jobs import BatchEntry, Job, JobRow
from adapters.contract.operations import UNLIMITED, ListJobs, ReadRows, SubmitJob
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply
from engine.address.syntax import parse_address
from engine.model import Checks
from engine.smtp.egress import EgressSet
from gateway.accounts.caller import AccountStatus, Caller, Charge
from gateway.batches.holder import is_holder_dead, lease_holder_name
from gateway.batches.ports import always_use
from gateway.batches.queue import SqlChunkQueue
from gateway.batches.records import BatchRecords
from gateway.batches.runner import Runner
from gateway.cli.progress import NO_ADDRESS
from gateway.reputation import add_refusals_once
from gateway.settings import Settings
from gateway.store import Store, open_store
from gateway.verdicts.cache import VerdictCache
from gateway.verdicts.verifier import BulkVerifier

LOCAL_DIALECT = Dialect(
    name="local",
    title="Local",
    hosts=(),
    base_path="",
    root_paths=(),
    endpoints=(),
    credential=Credential(()),
    write_problem=lambda *_: WireReply(500),
    key_shape=KeyShape(),
    sandbox_key="",
    batch_rules=BatchRules(
        new_id=lambda source: str(source.number),
        row_word=lambda v: v.verdict.value if v.address.raw else NO_ADDRESS,
        retention_s=lambda _: None,
    ),
)
"""The batch's dialect: it counts our own verdicts, charges nothing and keeps rows for ever."""

LOCAL_CALLER = Caller(
    account_id=0,
    key_id=0,
    dialect=LOCAL_DIALECT.name,
    test=False,
    plan=UNLIMITED,
    status=AccountStatus.ACTIVE,
    owner_email="",
    key_label="",
    has_credits=False,
)


class _NoBilling:
    async def charge_in_transaction(
        self, connection: AsyncConnection, caller: Caller, units: int
    ) -> Charge:
        return Charge(caller.account_id, "", 0)


class LocalBatch:
    """The one batch of a database. Every method may raise StoreError."""

    def __init__(self, records: BatchRecords, runner: Runner, egresses: EgressSet) -> None:
        self._records = records
        self.egresses = egresses
        self._runner = runner

    async def existing_job(self) -> Job | None:
        """The batch of an earlier run, if there is one."""
        page = await self._records.list_page(LOCAL_CALLER, ListJobs(oldest_first=True, per_page=1))
        return page.jobs[0] if page.jobs else None

    async def submit(
        self,
        entries: Iterable[BatchEntry],
        *,
        headers: tuple[str, ...],
        checks: Checks,
        retries: bool,
        options: Mapping[str, Any],
    ) -> Job:
        """Store a list as the batch. An exception of `entries` is raised."""
        return await self._records.submit(
            LOCAL_DIALECT,
            LOCAL_CALLER,
            SubmitJob(
                entries=entries,
                headers=headers,
                checks=checks,
                retry_greylisted=retries,
                options=options,
            ),
        )

    async def get_job(self) -> Job:
        job = await self.existing_job()
        if job is None:
            raise Problem(ProblemKind.JOB_UNKNOWN)
        return job

    def running(self) -> contextlib.AbstractAsyncContextManager[None]:
        """A context in which the batch is verified."""
        return self._runner.running()

    async def drain(self) -> None:
        """Verify everything that is due now."""
        await self._runner.drain()

    async def unfinished_domains(self, job: Job, *, limit: int) -> list[str]:
        """The domains of all addresses without a result; none if there are more than `limit`."""
        if job.row_count - job.done_count > limit:
            return []
        emails = await self._records.unfinished_emails(job, limit)
        return [parse_address(email).domain for email in emails]

    def rows(self, job: Job) -> AsyncIterator[JobRow]:
        return self._records.job_rows(job, ReadRows(job_id=job.id)).rows


@contextlib.asynccontextmanager
async def open_local_batch(
    settings: Settings, path: str, *, verifier: BulkVerifier | None = None
) -> AsyncIterator[LocalBatch]:
    """The batch in the database at `path`, in memory if that is empty. Raises StoreError."""
    from gateway.app import open_engine

    async with contextlib.AsyncExitStack() as stack:
        url = f"sqlite:///{path or ':memory:'}"
        store: Store = await stack.enter_async_context(open_store(url))
        engine = await stack.enter_async_context(open_engine(settings))
        stack.push_async_callback(
            add_refusals_once, settings.storage.full_url, engine.egresses.reputations
        )
        verdicts = VerdictCache(ttl_s=settings.cache.ttl_s.by_verdict(), clock=time.time)
        by_name = {LOCAL_DIALECT.name: LOCAL_DIALECT}
        queue = SqlChunkQueue(store, by_name, clock=time.time)
        me = lease_holder_name(secrets.token_hex(8))
        await queue.free_dead_leases(lambda of: is_holder_dead(of, own_name=me))
        records = BatchRecords(
            store,
            _NoBilling(),
            by_name,
            clock=time.time,
            randbelow=secrets.randbelow,
            base_url=str,
        )
        runner = Runner(
            queue,
            always_use(verifier or engine),
            verdicts,
            holder=me,
            retries_s=settings.engine.greylist_retries_s,
            clock=time.time,
        )
        yield LocalBatch(records, runner, engine.egresses)
