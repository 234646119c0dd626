"""Polls a vendor job until it is done, and fetches its results page by page."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
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
from gateway.upstreams.batches.records import VendorJobInput
from gateway.upstreams.source.faults import IMPLICATIONS
from gateway.upstreams.source.upstream import UpstreamSource

CALL_TIMEOUT_S = 60.0
"""For one request: a page of many rows takes its time."""
POLL_PAUSE_GROWTH = 1.5
"""Each pause between two polls is so many times the one before."""
UNREACHABLE_LIMIT_S = 600.0
"""A job is abandoned when no poll has succeeded for so long."""
DEAD_LIMIT_S = 45.0
"""It is abandoned when its vendor has been dead for so long, and another source can take its
addresses."""
MIN_CALL_TIMEOUT_S = 5.0
"""For a request as that limit comes near."""
PARSE_IN_THREAD_BYTES = 64 * 1024
"""A longer body is parsed in a thread, so that the event loop goes on."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class VendorRow:
    """One address's result in a vendor job."""

    email: str
    """As the vendor writes it."""
    result: UpstreamResult
    received_at: float
    """Unix time in seconds."""


VendorRows = AsyncGenerator[VendorRow, None]


class JobPoller:
    """One job that exists at the vendor."""

    def __init__(
        self,
        source: UpstreamSource,
        api: VendorJobs,
        key: str,
        job_id: str,
        work: VendorJobInput,
        *,
        others_can_take: Callable[[], bool],
    ) -> None:
        """`others_can_take`: whether another source can take the addresses now."""
        self._others_can_take = others_can_take
        self._source = source
        self._api = api
        self._key = key
        self._job_id = job_id
        self._work = work
        self._page_token = ""
        """The page to fetch next; empty polls the job."""
        self._row_count = 0
        self.fault: FaultKind | None = None
        """Why the job was abandoned; None while it was not. Set before `rows` ends."""

    async def rows(
        self, clock: Callable[[], float], rng: random.Random, give_up_at: float
    ) -> VendorRows:
        """The rows until the job's end. `clock` and `give_up_at` are Unix time in seconds."""
        pause_s = next_pause_s = self._api.first_poll_delay_s
        succeeded_at = alive_at = clock()
        is_second_pass = False
        while True:
            await asyncio.sleep(pause_s * rng.uniform(0.9, 1.2))
            found, received_at = await self._fetch(alive_at + DEAD_LIMIT_S - clock())
            next_pause_s = min(next_pause_s * POLL_PAUSE_GROWTH, self._api.max_poll_delay_s)
            pause_s = next_pause_s
            if not isinstance(found, Fault):
                succeeded_at = alive_at = clock()
            match found:
                case ResultPage():
                    for row in rows_of_page(found, received_at):
                        yield row
                    self._row_count += len(found.rows)
                    self._page_token = found.next_page
                    if found.next_page:
                        pause_s = 0.0
                    elif is_second_pass or self._row_count >= len(self._work.addresses):
                        return
                    else:
                        # Rows that are missing may be there a moment later.
                        is_second_pass, self._row_count = True, 0
                case Pending():
                    self._page_token = ""
                case Fault():
                    now, implied = clock(), IMPLICATIONS[found.kind]
                    if not implied.opens_circuit:
                        alive_at = now
                    is_dead = now - alive_at >= DEAD_LIMIT_S and self._others_can_take()
                    is_unreachable = now - succeeded_at > UNREACHABLE_LIMIT_S
                    if is_dead or is_unreachable or not implied.may_pass:
                        self.fault = found.kind
                        return
                    pause_s = max(pause_s, self._requested_pause_s(found))
                    if implied.opens_circuit and now - alive_at < DEAD_LIMIT_S:
                        pause_s = min(pause_s, alive_at + DEAD_LIMIT_S - now)
            if clock() > give_up_at:
                self.fault = FaultKind.PENDING
                return

    def _requested_pause_s(self, fault: Fault) -> float:
        if fault.kind is FaultKind.TOO_FAST and fault.retry_after_s is None:
            return self._source.min_wait_s
        return fault.retry_after_s or 0.0

    async def _fetch(self, left_s: float) -> tuple[ResultPage | Pending | Fault, float]:
        """The next page or the state of the job, and when it arrived (Unix time in seconds).

        `left_s`: until the vendor counts as dead, if that matters.
        """
        query = JobQuery(self._job_id, self._work.checks, self._page_token)
        call = self._api.page if query.page and self._api.page else self._api.poll
        request = call.build(self._key, query)
        timeout_s = CALL_TIMEOUT_S
        if self._others_can_take():
            timeout_s = min(timeout_s, max(left_s, MIN_CALL_TIMEOUT_S))
        reply = await send(self._source, request, timeout_s)
        if isinstance(reply, Fault):
            return reply, 0.0
        found = await parse_reply(reply, partial(call.parse, reply, query))
        if self._source.recorder is not None:
            self._source.recorder.record_job_step(
                self._key, self._job_id, self._work.addresses, request, reply, kind_of(found)
            )
        return found, reply.received_at


async def send(
    source: UpstreamSource, request: UpstreamRequest, timeout_s: float = CALL_TIMEOUT_S
) -> UpstreamReply | Fault:
    """Send a request about a job."""
    return await source.send_request(request, timeout_s, MAX_RESULT_PAGE_BYTES)


async def parse_reply(reply: UpstreamReply, parse: Callable[[], T]) -> T:
    """Parse a reply, in a thread if it is large."""
    return await asyncio.to_thread(parse) if len(reply.body) > PARSE_IN_THREAD_BYTES else parse()


def rows_of_page(page: ResultPage, received_at: float) -> list[VendorRow]:
    return [VendorRow(email, result, received_at) for email, result in page.rows]


def kind_of(found: ResultPage | Pending | Fault) -> str:
    """What a reply holds, as recorded fixtures name it."""
    return found.kind if isinstance(found, Fault) else type(found).__name__.lower()
