"""Lists at upstreams: created once, polled politely, fetched, and made use of.

Whatever goes wrong, the addresses that there is no answer for are somebody else's to ask about.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

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
ROWS_PER_SLICE = 200
"""Rows taken at once, before others get their turn."""
PARSE_IN_THREAD_BYTES = 64 * 1024
"""A longer body is parsed beside the loop."""

POSSIBLY_CREATED = POSSIBLY_BILLED | {FaultKind.SERVER_ERROR}
"""Faults of a create after which the list may exist."""
TRANSIENT_FAULTS = SOURCE_FAILURES | {FaultKind.TOO_FAST, FaultKind.BUSY}
"""Faults of a poll after which the next may be answered."""

T = TypeVar("T")

OnRow = Callable[[str, UpstreamResult, float], None]
"""Takes an address as the vendor writes it, what it says of it, and Unix time in seconds."""


@dataclass(frozen=True, slots=True)
class VendorJobInput:
    """What lists are made of, and who pays."""

    origin_chunk: OriginChunk
    addresses: Sequence[Address]
    checks: Checks
    scopes: tuple[SpendingScope, ...]


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

    async def run_jobs(self, source: UpstreamSource, work: VendorJobInput, on_row: OnRow) -> bool:
        """Give it the addresses, or go on with what it was given before; hear its rows.

        Comes back when no more rows are to be had; False if it is rather to be asked about
        them one by one. Raises StoreError.
        """
        api = source.vendor_api.dialect.vendor_jobs
        if api is None or source.min_job_size is None:
            return False
        earlier = await self._records.find_earlier(work.origin_chunk, source.name)
        if earlier.of_this_chunk:
            # what is not in these may have been billed all the same: nothing more is created
            steps = [
                self._poll_until_done(source, api, given, work, on_row)
                for given in earlier.of_this_chunk
            ]
        elif source.unusable_fault or source.ready_in_s > 0:
            return True
        elif (
            earlier.any_lost or self._is_paused(source) or len(work.addresses) < source.min_job_size
        ):
            return False
        else:
            size = source.max_job_size
            steps = [
                self._create_and_poll(
                    source,
                    api,
                    replace(work, addresses=work.addresses[start : start + size]),
                    start // size,
                    on_row,
                )
                for start in range(0, len(work.addresses), size)
            ]
        return all(await _gather_limited(steps))

    def _is_paused(self, source: UpstreamSource) -> bool:
        """Whether it took no list a moment ago."""
        return self._monotonic() < self._creates_paused_until.get(source.name, 0.0)

    async def _create_and_poll(
        self,
        source: UpstreamSource,
        api: VendorJobs,
        work: VendorJobInput,
        part: int,
        on_row: OnRow,
    ) -> bool:
        given = await self._create(source, api, work, part, on_row)
        if given is None:
            return True
        if isinstance(given, VendorJob):
            return await self._poll_until_done(source, api, given, work, on_row)
        # it is away, and whoever comes next has a try; else it only takes no list now
        return given in SOURCE_FAILURES or given in (FaultKind.DEAD_KEY, FaultKind.BANNED)

    async def _create(
        self,
        source: UpstreamSource,
        api: VendorJobs,
        work: VendorJobInput,
        part: int,
        on_row: OnRow,
    ) -> VendorJob | FaultKind | None:
        """The job, or why it was not created; None if the vendor answered at once."""
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
            await _deliver_rows(created, received_at, on_row)
            await self._records.delete_job(given)
            log.info("vendor_job.answered", extra=_log_fields(given) | {"rows": len(created.rows)})
            return None
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
        on_row: OnRow,
    ) -> bool:
        """Poll it and hear its rows; False if nobody knows whether it was created."""
        if job.job_id is None:
            return False
        keys = source.keys.keys
        # of the same account, if the one that created it is gone
        key = next((key for key in keys if hash_key(key.value) == job.key_hash), keys[0])
        following = _JobPoller(source, api, key.value, job.job_id, work, on_row)
        why = await following.run(self._clock, self._rng, job.created_at + source.job_deadline_s)
        if why is not None:
            extra = {"job_id": job.job_id, "fault": why}
            log.warning("vendor_job.abandoned", extra=_log_fields(job) | extra)
        return True


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


async def _deliver_rows(page: ResultPage, received_at: float, on_row: OnRow) -> None:
    for count, (email, result) in enumerate(page.rows, start=1):
        on_row(email, result, received_at)
        if count % ROWS_PER_SLICE == 0:
            await asyncio.sleep(0)


def _kind_of(found: ResultPage | Pending | Fault) -> str:
    """What was read in a reply, as recorded fixtures name it."""
    return found.kind if isinstance(found, Fault) else type(found).__name__.lower()


async def _gather_limited(steps: Sequence[Coroutine[Any, Any, bool]]) -> list[bool]:
    """Do all of them, a few at a time; raises what the first that failed raised."""
    places = asyncio.Semaphore(CONCURRENT_JOBS)

    async def within(step: Coroutine[Any, Any, bool]) -> bool:
        async with places:
            return await step

    tasks = [asyncio.create_task(within(step)) for step in steps]
    try:
        await asyncio.wait(tasks)
    finally:
        for task in tasks:
            task.cancel()
    return [task.result() for task in tasks]


class _JobPoller:
    """A list that exists, until its last row."""

    def __init__(
        self,
        source: UpstreamSource,
        api: VendorJobs,
        key: str,
        job_id: str,
        work: VendorJobInput,
        on_row: OnRow,
    ) -> None:
        self._source = source
        self._api = api
        self._key = key
        self._job_id = job_id
        self._work = work
        self._on_row = on_row
        self._page_token = ""  # which page to fetch; none: poll
        self._rows = 0

    async def run(
        self, clock: Callable[[], float], rng: random.Random, give_up_at: float
    ) -> FaultKind | None:
        """Until the end; why it was given up, or None. `give_up_at` is Unix time in seconds."""
        pause_s = growing_s = self._api.first_poll_delay_s
        heard_at = clock()
        asked_again = False
        while True:
            await asyncio.sleep(pause_s * rng.uniform(0.9, 1.2))
            found = await self._next()
            pause_s = growing_s = min(growing_s * POLL_PAUSE_GROWTH, self._api.max_poll_delay_s)
            match found:
                case ResultPage():
                    heard_at = clock()
                    self._page_token = found.next_page
                    if found.next_page:
                        pause_s = 0.0
                    elif asked_again or self._rows >= len(self._work.addresses):
                        return None
                    else:
                        # what is missing may be there a moment later
                        asked_again, self._rows = True, 0
                case Pending():
                    heard_at = clock()
                    self._page_token = ""
                case Fault():
                    if (
                        found.kind not in TRANSIENT_FAULTS
                        or clock() - heard_at > UNREACHABLE_LIMIT_S
                    ):
                        return found.kind
                    if found.kind is FaultKind.TOO_FAST and found.retry_after_s is None:
                        pause_s = max(pause_s, self._source.min_wait_s)
                    pause_s = max(pause_s, found.retry_after_s or 0.0)
            if clock() > give_up_at:
                return FaultKind.PENDING

    async def _next(self) -> ResultPage | Pending | Fault:
        job = JobQuery(self._job_id, self._work.checks, self._page_token)
        call = self._api.page if job.page and self._api.page else self._api.poll
        request = call.build(self._key, job)
        reply = await _send(self._source, request)
        if isinstance(reply, Fault):
            return reply
        found = await _parse_reply(reply, partial(call.parse, reply, job))
        if self._source.recorder is not None:
            self._source.recorder.record_job_step(
                self._key, self._job_id, self._work.addresses, request, reply, _kind_of(found)
            )
        if isinstance(found, ResultPage):
            self._rows += len(found.rows)
            await _deliver_rows(found, reply.received_at, self._on_row)
        return found
