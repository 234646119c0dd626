"""Vendor jobs: created once for the addresses of a chunk, then polled to their end.

After any failure the addresses without a result are left to the next source.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from adapters.contract.upstream import Fault, FaultKind
from adapters.contract.upstream_jobs import ResultPage, VendorJobs
from engine.model import Address
from gateway.store import StoreConflict, StoreError
from gateway.tasks import merge
from gateway.upstreams.batches.polling import (
    CALL_TIMEOUT_S,
    JobPoller,
    VendorRow,
    VendorRows,
    kind_of,
    parse_reply,
    rows_of_page,
    send,
)
from gateway.upstreams.batches.records import VendorJob, VendorJobInput, VendorJobRecords, hash_key
from gateway.upstreams.routing.budgets import Budgets
from gateway.upstreams.source.circuit import Admission
from gateway.upstreams.source.faults import IMPLICATIONS
from gateway.upstreams.source.keys import UpstreamKey
from gateway.upstreams.source.upstream import UpstreamSource

log = logging.getLogger(__name__)

CONCURRENT_JOBS = 4
"""Jobs of one chunk at a time, if it is too large for one."""
CREATE_PAUSE_S = 60.0
"""Between a refused create and the next, unless the upstream says how long. Addresses are
verified one by one meanwhile."""


@dataclass(frozen=True, slots=True)
class _AnsweredJob:
    """A job whose results came with the reply to its creation."""

    job: VendorJob
    rows: list[VendorRow]


_Created = str | ResultPage | Fault
"""The reply to a create: the job's id, or the results at once."""


class VendorJobRunner:
    """Creates jobs at upstreams. `clock` is Unix time, `monotonic` any steady clock, in seconds."""

    def __init__(
        self,
        records: VendorJobRecords,
        budgets: Budgets,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.records = records
        self.budgets = budgets
        self.clock = clock
        self.rng = rng
        self._monotonic = monotonic
        self._creates_paused_until: dict[str, float] = {}

    async def prepare(
        self,
        source: UpstreamSource,
        work: VendorJobInput,
        others_can_take: Callable[[], bool] = lambda: False,
    ) -> ChunkJobs | None:
        """The jobs that the addresses make, or that the source has of them from before.

        `others_can_take`: whether another source can take the addresses now.

        None if the source takes no job of them, so that it verifies them one by one. Raises
        StoreError.
        """
        api = source.vendor_api.dialect.vendor_jobs
        if api is None or source.min_job_size is None:
            return None
        jobs = ChunkJobs(self, source, api, work, others_can_take)
        earlier = await self.records.find_earlier(work.origin_chunk, source.name)
        if earlier.of_this_chunk:
            # Addresses that are not in these jobs may have been billed all the same: no further
            # job is created.
            jobs.resume(earlier.of_this_chunk)
        elif not source.unusable_fault and source.ready_in_s <= 0:
            if earlier.any_lost or self._is_paused(source):
                return None
            if len(work.addresses) < source.min_job_size:
                return None
            jobs.create()
        # A source that is out of rotation gets no job; the next source gets the addresses.
        return jobs

    def pause_creates(self, source: UpstreamSource, seconds: float) -> None:
        """Create no job at a source for a while."""
        self._creates_paused_until[source.name] = self._monotonic() + seconds

    def _is_paused(self, source: UpstreamSource) -> bool:
        return self._monotonic() < self._creates_paused_until.get(source.name, 0.0)


class ChunkJobs:
    """The jobs of one chunk at one source."""

    def __init__(
        self,
        runner: VendorJobRunner,
        source: UpstreamSource,
        api: VendorJobs,
        work: VendorJobInput,
        others_can_take: Callable[[], bool],
    ) -> None:
        self._runner = runner
        self._source = source
        self._api = api
        self._work = work
        self._others_can_take = others_can_take
        self._parts: list[VendorRows] = []
        self.failures: list[tuple[FaultKind, Sequence[Address]]] = []
        """Jobs that were abandoned, or that may exist although their creation failed: why, and of
        which addresses. They may have been billed. Known when `rows` has ended."""
        self.refused = False
        """Whether the source refused a job, so that it verifies the addresses left one by one.
        Known when `rows` has ended."""

    def resume(self, jobs: list[VendorJob]) -> None:
        """Go on with jobs that exist."""
        self._parts = [self._poll_until_done(job, self._work) for job in jobs]

    def create(self) -> None:
        """Create as many jobs as the addresses fill."""
        size = self._source.max_job_size
        starts = range(0, len(self._work.addresses), size)
        self._parts = [
            self._create_and_poll(
                replace(self._work, addresses=self._work.addresses[start : start + size]), number
            )
            for number, start in enumerate(starts)
        ]

    def rows(self) -> VendorRows:
        """The rows of all jobs, in any order; an address may have several. Raises StoreError."""
        return merge(self._parts, max_running=CONCURRENT_JOBS)

    async def _create_and_poll(self, work: VendorJobInput, part_number: int) -> VendorRows:
        created = await self._create(work, part_number)
        match created:
            case VendorJob():
                async with aclosing(self._poll_until_done(created, work)) as rows:
                    async for row in rows:
                        yield row
            case _AnsweredJob():
                for row in created.rows:
                    yield row
                await self._runner.records.delete_job(created.job)
                extra = {"rows": len(created.rows)}
                log.info("vendor_job.answered", extra=_log_fields(created.job) | extra)
            case FaultKind() if not (
                IMPLICATIONS[created].opens_circuit or IMPLICATIONS[created].is_account
            ):
                self.refused = True
        if isinstance(created, FaultKind) and IMPLICATIONS[created].may_have_created:
            self.failures.append((created, work.addresses))

    # -- creating ------------------------------------------------------------------------

    async def _create(
        self, work: VendorJobInput, part_number: int
    ) -> VendorJob | _AnsweredJob | FaultKind:
        """Create one job; the fault if that failed."""
        source, records = self._source, self._runner.records
        key = source.keys.pick()
        if key is None:
            return FaultKind.DEAD_KEY
        price = source.price * len(work.addresses)
        async with self._runner.budgets.reserved(work.scopes, price) as reservation:
            if reservation is None:
                # There may be enough for some of the addresses.
                return FaultKind.NO_CREDITS
            if source.admit() is Admission.NO:
                return FaultKind.UNREACHABLE
            with source.admitted_request() as request:
                try:
                    job = await records.insert_pending(
                        work.origin_chunk, source.name, part_number, key.value
                    )
                except StoreConflict:  # a chunk that was put off from the same one is creating it
                    return FaultKind.BUSY
                reservation.is_billed = True
                created, received_at = await self._send_create(key, work)
                fault = created if isinstance(created, Fault) else None
                request.report(fault)
                reservation.is_billed = fault is None or IMPLICATIONS[fault.kind].may_be_billed
        match created:
            case Fault():
                await self._on_create_failed(job, key, created)
                return created.kind
            case ResultPage():
                return _AnsweredJob(job, rows_of_page(created, received_at))
            case str():
                return await self._on_created(job, created, len(work.addresses))

    async def _send_create(self, key: UpstreamKey, work: VendorJobInput) -> tuple[_Created, float]:
        """The reply to a create, and when it arrived (Unix time in seconds)."""
        source, create = self._source, self._api.create
        request = create.build(key.value, work.addresses, work.checks)
        if self._api.without_retries is not None and not work.retries:
            request = self._api.without_retries(request)
        reply = await send(source, request, self._api.create_timeout_s)
        created: _Created
        if isinstance(reply, Fault):
            created, received_at = reply, self._runner.clock()
        else:
            parse = partial(create.parse, reply, work.addresses, work.checks)
            created, received_at = await parse_reply(reply, parse), reply.received_at
        if isinstance(created, Fault):
            created = await source.explain_refusal(created, key, CALL_TIMEOUT_S)
        if source.recorder is not None:
            job_id, kind = (
                (created, "created") if isinstance(created, str) else ("", kind_of(created))
            )
            source.recorder.record_job_step(key.value, job_id, work.addresses, request, reply, kind)
        return created, received_at

    async def _on_created(self, job: VendorJob, job_id: str, address_count: int) -> VendorJob:
        extra = {"job_id": job_id, "addresses": address_count}
        log.info("vendor_job.created", extra=_log_fields(job) | extra)
        try:
            await self._runner.records.set_job_id(job, job_id)
        except StoreError as exc:
            extra = {"job_id": job_id, "error": str(exc)}
            log.warning("vendor_job.id_not_stored", extra=_log_fields(job) | extra)
        return replace(job, job_id=job_id)

    async def _on_create_failed(self, job: VendorJob, key: UpstreamKey, fault: Fault) -> None:
        extra = {"fault": fault.kind, "status": fault.status, "retry_after_s": fault.retry_after_s}
        log.warning("vendor_job.rejected", extra=_log_fields(job) | extra)
        if fault.kind is FaultKind.DEAD_KEY:
            self._source.keys.mark_refused(key)
        self._runner.pause_creates(self._source, fault.retry_after_s or CREATE_PAUSE_S)
        if IMPLICATIONS[fault.kind].may_have_created:
            await self._runner.records.mark_lost(job)
        else:
            await self._runner.records.delete_job(job)

    # -- polling -------------------------------------------------------------------------

    async def _poll_until_done(self, job: VendorJob, work: VendorJobInput) -> VendorRows:
        source = self._source
        if job.job_id is None:
            # It is unknown whether this job was created.
            self.refused = True
            return
        keys = source.keys.keys
        # If the key that created the job is gone, another of the same account.
        key = next((key for key in keys if hash_key(key.value) == job.key_hash), keys[0])
        poller = JobPoller(
            source,
            self._api,
            key.value,
            job.job_id,
            work,
            others_can_take=self._others_can_take,
        )
        give_up_at = job.created_at + source.job_deadline_s
        async with aclosing(poller.rows(self._runner.clock, self._runner.rng, give_up_at)) as rows:
            async for row in rows:
                yield row
        if poller.fault is not None:
            self.failures.append((poller.fault, work.addresses))
            extra = {"job_id": job.job_id, "fault": poller.fault}
            log.warning("vendor_job.abandoned", extra=_log_fields(job) | extra)


def _log_fields(job: VendorJob) -> dict[str, object]:
    chunk = job.origin_chunk
    return {
        "source": job.source,
        "batch": chunk.batch_id,
        "chunk": chunk.origin,
        "part": job.part_number,
    }
