"""Lists at upstreams: created once, polled politely, fetched, and made use of.

Whatever goes wrong, the addresses that there is no answer for are somebody else's to ask about.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from adapters.contract.upstream import (
    Fault,
    FaultKind,
    Pending,
    UpstreamReply,
    UpstreamRequest,
    UpstreamResult,
)
from adapters.contract.upstream_jobs import MAX_RESULT_PAGE_BYTES, JobQuery, ResultPage, VendorJobs
from engine.model import Address, Checks
from gateway.store import StoreConflict, StoreError
from gateway.tasks import merge
from gateway.upstreams.batches.records import OriginChunk, VendorJob, VendorJobRecords, hash_key
from gateway.upstreams.routing.budgets import Budgets, SpendingScope
from gateway.upstreams.source.circuit import Admission
from gateway.upstreams.source.source import POSSIBLY_BILLED, SOURCE_FAILURES, UpstreamSource

log = logging.getLogger(__name__)

CONCURRENT_JOBS = 4
"""Of one piece of work, where it is too large for one."""
CALL_TIMEOUT_S = 60.0
"""For one request; a create with many addresses, or a page of many rows, takes its time."""
POLL_PAUSE_GROWTH = 1.5
"""Of the pause between two polls."""
UNREACHABLE_LIMIT_S = 600.0
"""Without one good poll, a list is given up."""
CREATE_PAUSE_S = 60.0
"""After a refused create, unless the upstream says how long; single questions go on."""
PARSE_IN_THREAD_BYTES = 64 * 1024
"""A longer body is parsed beside the loop."""

POSSIBLY_CREATED = POSSIBLY_BILLED | {FaultKind.SERVER_ERROR}
"""Faults of a create after which the list may exist."""
TRANSIENT_FAULTS = SOURCE_FAILURES | {FaultKind.TOO_FAST, FaultKind.BUSY}
"""Faults of a poll after which the next may be answered."""
UNUSABLE_FAULTS = SOURCE_FAILURES | {FaultKind.DEAD_KEY, FaultKind.BANNED}
"""Faults of a create after which the next source is tried with the list. After another fault
this source only takes no list now, and is asked one by one."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class VendorRow:
    """A result of a vendor job."""

    email: str
    """As the vendor writes it."""
    result: UpstreamResult
    at: float
    """Unix time in seconds."""


VendorRows = AsyncGenerator[VendorRow, None]


@dataclass(frozen=True, slots=True)
class VendorJobInput:
    """What lists are made of, and who pays."""

    origin_chunk: OriginChunk
    addresses: Sequence[Address]
    checks: Checks
    scopes: tuple[SpendingScope, ...]


class ChunkJobs:
    """The jobs of one chunk at one source."""

    def __init__(self) -> None:
        self.parts: list[VendorRows] = []
        """The rows of each job."""
        self.refused = False
        """Whether the source refused a job; known when the rows have ended. The addresses left
        are then verified one by one."""

    def rows(self) -> VendorRows:
        """The rows of all jobs, in any order; several may be of one address. Raises StoreError."""
        return merge(self.parts, max_running=CONCURRENT_JOBS)


@dataclass(frozen=True, slots=True)
class _AnsweredJob:
    """A job whose results came with the reply to its creation."""

    job: VendorJob
    rows: list[VendorRow]


class VendorJobRunner:
    """Gives lists to upstreams. `clock` is Unix time, `monotonic` anything steady, in seconds."""

    def __init__(
        self,
        records: VendorJobRecords,
        budgets: Budgets,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._records = records
        self._budgets = budgets
        self._clock = clock
        self._monotonic = monotonic
        self._rng = rng
        self._creates_paused_until: dict[str, float] = {}

    async def prepare(self, source: UpstreamSource, work: VendorJobInput) -> ChunkJobs | None:
        """The jobs that the addresses make, or that a source was given for them before.

        None if the source takes no list of them, so that they are verified one by one. Raises
        StoreError.
        """
        api = source.vendor_api.dialect.vendor_jobs
        if api is None or source.min_job_size is None:
            return None
        jobs = ChunkJobs()
        earlier = await self._records.find_earlier(work.origin_chunk, source.name)
        if earlier.of_this_chunk:
            # Addresses that are not in these jobs may have been billed all the same: no further
            # job is created.
            jobs.parts = [
                self._poll_until_done(source, api, job, work, jobs) for job in earlier.of_this_chunk
            ]
        elif source.unusable_fault or source.ready_in_s > 0:
            pass
        elif (
            earlier.any_lost or self._is_paused(source) or len(work.addresses) < source.min_job_size
        ):
            return None
        else:
            size = source.max_job_size
            jobs.parts = [
                self._create_and_poll(
                    source,
                    api,
                    replace(work, addresses=work.addresses[start : start + size]),
                    start // size,
                    jobs,
                )
                for start in range(0, len(work.addresses), size)
            ]
        return jobs

    def _is_paused(self, source: UpstreamSource) -> bool:
        """Whether it took no list a moment ago."""
        return self._monotonic() < self._creates_paused_until.get(source.name, 0.0)

    async def _create_and_poll(
        self,
        source: UpstreamSource,
        api: VendorJobs,
        work: VendorJobInput,
        part: int,
        jobs: ChunkJobs,
    ) -> VendorRows:
        created = await self._create(source, api, work, part)
        match created:
            case VendorJob():
                polled = self._poll_until_done(source, api, created, work, jobs)
                async with aclosing(polled) as rows:
                    async for row in rows:
                        yield row
            case _AnsweredJob():
                for row in created.rows:
                    yield row
                await self._records.delete_job(created.job)
                extra = {"rows": len(created.rows)}
                log.info("vendor_job.answered", extra=_log_fields(created.job) | extra)
            case FaultKind() if created not in UNUSABLE_FAULTS:
                jobs.refused = True

    async def _create(
        self,
        source: UpstreamSource,
        api: VendorJobs,
        work: VendorJobInput,
        part: int,
    ) -> VendorJob | _AnsweredJob | FaultKind:
        """The job, or why it was not created."""
        key = source.keys.pick()
        price = source.price * len(work.addresses)
        if key is None:
            return FaultKind.DEAD_KEY
        if not await self._budgets.reserve(work.scopes, price):
            # there may be enough for some of them
            return FaultKind.NO_CREDITS
        spent, settled = False, True
        try:
            if source.admit() is Admission.NO:
                return FaultKind.UNREACHABLE
            settled = False
            try:
                given = await self._records.insert_pending(
                    work.origin_chunk, source.name, part, key.value
                )
            except StoreConflict:  # another piece of the same origin is at it
                return FaultKind.BUSY
            spent = True  # whoever is cancelled now does not know
            request = api.create.build(key.value, work.addresses, work.checks)
            reply = await _send(source, request, api.create_timeout_s)
            created: str | ResultPage | Fault
            if isinstance(reply, Fault):
                created, received_at = reply, self._clock()
            else:
                parse = partial(api.create.parse, reply, work.addresses, work.checks)
                created, received_at = await _parse_reply(reply, parse), reply.received_at
            if isinstance(created, Fault):
                created = await source.explain_refusal(created, key, CALL_TIMEOUT_S)
            if source.recorder is not None:
                source.recorder.record_job_step(
                    key.value,
                    created if isinstance(created, str) else "",
                    work.addresses,
                    request,
                    reply,
                    "created" if isinstance(created, str) else _kind_of(created),
                )
            source.report_outcome(created if isinstance(created, Fault) else None)
            settled = True
            if isinstance(created, Fault):
                spent = created.kind in POSSIBLY_BILLED
                if created.kind is FaultKind.DEAD_KEY:
                    source.keys.mark_refused(key)
                await self._on_create_failed(source, given, created)
                return created.kind
        finally:
            if not spent:
                self._budgets.release(work.scopes, price)
            if not settled:
                source.circuit.record_neutral()
        if isinstance(created, ResultPage):
            return _AnsweredJob(given, _rows_of(created, received_at))
        extra = {"job_id": created, "addresses": len(work.addresses)}
        log.info("vendor_job.created", extra=_log_fields(given) | extra)
        try:
            await self._records.set_job_id(given, created)
        except StoreError as exc:
            extra = {"job_id": created, "error": str(exc)}
            log.warning("vendor_job.id_not_stored", extra=_log_fields(given) | extra)
        return replace(given, job_id=created)

    async def _on_create_failed(self, source: UpstreamSource, job: VendorJob, fault: Fault) -> None:
        log.warning(
            "vendor_job.rejected",
            extra={
                **_log_fields(job),
                "fault": fault.kind,
                "status": fault.status,
                "retry_after_s": fault.retry_after_s,
            },
        )
        pause_s = fault.retry_after_s or CREATE_PAUSE_S
        self._creates_paused_until[source.name] = self._monotonic() + pause_s
        if fault.kind in POSSIBLY_CREATED:
            await self._records.mark_lost(job)
        else:
            await self._records.delete_job(job)

    async def _poll_until_done(
        self,
        source: UpstreamSource,
        api: VendorJobs,
        job: VendorJob,
        work: VendorJobInput,
        jobs: ChunkJobs,
    ) -> VendorRows:
        if job.job_id is None:
            # It is unknown whether this job was created.
            jobs.refused = True
            return
        keys = source.keys.keys
        # of the same account, if the one that created it is gone
        key = next((key for key in keys if hash_key(key.value) == job.key_hash), keys[0])
        poller = _JobPoller(source, api, key.value, job.job_id, work)
        give_up_at = job.created_at + source.job_deadline_s
        async with aclosing(poller.rows(self._clock, self._rng, give_up_at)) as rows:
            async for row in rows:
                yield row
        if poller.fault is not None:
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


async def _send(
    source: UpstreamSource, request: UpstreamRequest, timeout_s: float = CALL_TIMEOUT_S
) -> UpstreamReply | Fault:
    return await source.send_request(request, timeout_s, MAX_RESULT_PAGE_BYTES)


async def _parse_reply(reply: UpstreamReply, parse: Callable[[], T]) -> T:
    """Parse a reply, a large one beside the event loop."""
    return await asyncio.to_thread(parse) if len(reply.body) > PARSE_IN_THREAD_BYTES else parse()


def _rows_of(page: ResultPage, received_at: float) -> list[VendorRow]:
    return [VendorRow(email, result, received_at) for email, result in page.rows]


def _kind_of(found: ResultPage | Pending | Fault) -> str:
    """What was read in a reply, as recorded fixtures name it."""
    return found.kind if isinstance(found, Fault) else type(found).__name__.lower()


class _JobPoller:
    """A list that exists, until its last row."""

    def __init__(
        self,
        source: UpstreamSource,
        api: VendorJobs,
        key: str,
        job_id: str,
        work: VendorJobInput,
    ) -> None:
        self._source = source
        self._api = api
        self._key = key
        self._job_id = job_id
        self._work = work
        self._page_token = ""  # which page to fetch; none: poll
        self._row_count = 0
        self.fault: FaultKind | None = None
        """Why the job was given up, after its last row; None if it was not."""

    async def rows(
        self, clock: Callable[[], float], rng: random.Random, give_up_at: float
    ) -> VendorRows:
        """The rows until the job's end. `give_up_at` is Unix time in seconds."""
        pause_s = growing_s = self._api.first_poll_delay_s
        answered_at = clock()
        asked_again = False
        while True:
            await asyncio.sleep(pause_s * rng.uniform(0.9, 1.2))
            found, received_at = await self._next()
            pause_s = growing_s = min(growing_s * POLL_PAUSE_GROWTH, self._api.max_poll_delay_s)
            match found:
                case ResultPage():
                    for row in _rows_of(found, received_at):
                        yield row
                    answered_at = clock()
                    self._row_count += len(found.rows)
                    self._page_token = found.next_page
                    if found.next_page:
                        pause_s = 0.0
                    elif asked_again or self._row_count >= len(self._work.addresses):
                        return
                    else:
                        # A row that is missing may be there a moment later.
                        asked_again, self._row_count = True, 0
                case Pending():
                    answered_at = clock()
                    self._page_token = ""
                case Fault():
                    unreachable_s = clock() - answered_at
                    if found.kind not in TRANSIENT_FAULTS or unreachable_s > UNREACHABLE_LIMIT_S:
                        self.fault = found.kind
                        return
                    if found.kind is FaultKind.TOO_FAST and found.retry_after_s is None:
                        pause_s = max(pause_s, self._source.min_wait_s)
                    pause_s = max(pause_s, found.retry_after_s or 0.0)
            if clock() > give_up_at:
                self.fault = FaultKind.PENDING
                return

    async def _next(self) -> tuple[ResultPage | Pending | Fault, float]:
        """The next page or state of the job, and when it arrived (Unix time in seconds)."""
        job = JobQuery(self._job_id, self._work.checks, self._page_token)
        call = self._api.page if job.page and self._api.page else self._api.poll
        request = call.build(self._key, job)
        reply = await _send(self._source, request)
        if isinstance(reply, Fault):
            return reply, 0.0
        found = await _parse_reply(reply, partial(call.parse, reply, job))
        if self._source.recorder is not None:
            self._source.recorder.record_job_step(
                self._key, self._job_id, self._work.addresses, request, reply, _kind_of(found)
            )
        return found, reply.received_at
