"""A vendor on loopback that also takes lists, by its dialect's own writers."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from adapters.contract.batch_rules import IdSource
from adapters.contract.jobs import Job, JobRow, JobRows, JobState
from adapters.contract.operations import (
    JobOperation,
    ReadRows,
    ReadRowsByToken,
    RowsOperation,
    ShowJobs,
    StartJob,
    SubmitJob,
    Verify,
    VerifyMany,
)
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.streaming import render_body
from adapters.contract.wire import Reply, WireReply, WireRequest
from engine.address import syntax
from engine.model import Verification
from gateway.batches.model import rules_of
from gateway.web.routing import VendorPath, VendorRoutes
from tests.fakes.vendor import _PROBLEMS, Mood, Vendor


@dataclass(eq=False)
class ListVendor(Vendor):
    """Counts what it was given; a list is done after `polls_until_done` questions about it."""

    create_mood: Mood = Mood.GOOD
    poll_mood: Mood = Mood.GOOD
    polls_until_done: int = 1
    stays: JobState = JobState.COMPLETED
    """The state that lists come to."""
    lost: set[str] = field(default_factory=set)
    """Addresses that its lists have no row for."""
    created: list[list[str]] = field(default_factory=list)
    retried: list[bool] = field(default_factory=list)
    """Of each batch in a dialect that has the option: whether greylisted addresses are retried."""
    polled: asyncio.Condition = field(default_factory=asyncio.Condition)
    polls: int = 0
    list_keys: list[str] = field(default_factory=list)

    async def _reply(self, request: WireRequest) -> WireReply | None:
        endpoint, params, _ = VendorRoutes([self.dialect]).find_endpoint(
            VendorPath(self.dialect, request.path), request.method
        )
        if endpoint is None:
            return await super()._reply(request)
        request = WireRequest(
            request.method,
            request.path,
            request.query_string,
            request.headers,
            request.body,
            path_params=params,
        )
        try:
            op = endpoint.read(request)
        except Problem:
            return await super()._reply(request)
        if not isinstance(op, JobOperation | RowsOperation | VerifyMany):
            return await super()._reply(request)
        try:
            if endpoint.needs_key:
                key = self.dialect.credential_for(endpoint).read(request)
                if key not in self.keys:
                    raise Problem(ProblemKind.BAD_CREDENTIAL)
                self.list_keys.append(key)
            if isinstance(op, SubmitJob):
                # a vendor that breaks down afterwards has the list all the same
                self.created.append([entry.email for entry in op.entries])
                self.retried.append(op.retry_greylisted)
                if await self._breaks_down(self.create_mood):
                    return None
                outcome: object = self._job(len(self.created))
            elif isinstance(op, VerifyMany):
                self.created.append(list(op.emails))
                if await self._breaks_down(self.create_mood):
                    return None
                outcome = tuple(self._verified(e) for e in op.emails if e not in self.lost)
            else:
                await self._count()
                if await self._breaks_down(self.poll_mood):
                    return None
                outcome = self._outcome(op)
            written = endpoint.write(op, outcome)
            return await _whole(written)
        except Problem as problem:
            return self.dialect.write_problem(request, problem, endpoint)

    async def _count(self) -> None:
        async with self.polled:
            self.polls += 1
            self.polled.notify_all()

    async def poll(self) -> None:
        """Wait for a request about a list."""
        async with self.polled:
            await self.polled.wait()

    async def _breaks_down(self, mood: Mood) -> bool:
        if mood is Mood.HANG:
            async with self.polled:
                self.polled.notify_all()
            await self._never.wait()
        if mood in _PROBLEMS:
            raise Problem(_PROBLEMS[mood], retry_after_s=self.retry_after_s, limit=1, used=1)
        return mood is Mood.RESET

    def _outcome(self, op: JobOperation[object] | RowsOperation) -> object:
        if isinstance(op, ShowJobs):
            return tuple(self._job(self._number(job_id)) for job_id in op.job_ids)
        if isinstance(op, ReadRowsByToken):
            number = int(op.token)
        else:
            number = self._number(getattr(op, "job_id", ""))
        job = self._job(number)
        if isinstance(op, ReadRows | ReadRowsByToken):
            return JobRows(job, job.done_count, self._rows(number, op))
        if isinstance(op, StartJob):
            self.stays = JobState.COMPLETED
        return job

    def _number(self, job_id: str) -> int:
        numbers = {self._id(n): n for n in range(1, len(self.created) + 1)}
        if job_id not in numbers:
            raise Problem(ProblemKind.JOB_UNKNOWN)
        return numbers[job_id]

    def _id(self, number: int) -> str:
        return rules_of(self.dialect).new_id(IdSource(number, lambda bound: number % bound))

    def _job(self, number: int) -> Job:
        rules = rules_of(self.dialect)
        emails = self.created[number - 1]
        done = self.polls >= self.polls_until_done
        state = self.stays if done else JobState.RUNNING
        kept = [email for email in emails if email not in self.lost]
        counts: dict[str, int] = {}
        if state is JobState.COMPLETED:
            for email in kept:
                v = self._verified(email)
                for name in (rules.row_word(v), *rules.extra_counters(v)):
                    counts[name] = counts.get(name, 0) + 1
        moment = datetime(2026, 5, 15, 10, 30, tzinfo=UTC)
        return Job(
            id=self._id(number),
            state=state,
            created_at=moment,
            started_at=moment,
            finished_at=moment if state.is_final else None,
            total=len(kept),
            row_count=len(kept),
            valid_count=len(kept),
            done_count=len(kept) if state is JobState.COMPLETED else 0,
            counts=counts,
            headers=("email",),
            base_url=self.base_url.removesuffix(self.dialect.base_path),
            token=str(number),
            link_token=str(number),
        )

    def _verified(self, email: str) -> Verification:
        return self._verification(Verify(email=email))

    async def _rows(self, number: int, op: RowsOperation) -> AsyncIterator[JobRow]:
        job = self._job(number)
        if job.state is not JobState.COMPLETED:
            return
        rules = rules_of(self.dialect)
        kept = [email for email in self.created[number - 1] if email not in self.lost]
        stop = None if op.limit is None else op.offset + op.limit
        # not in the order that they came in
        for email in kept[::-1][op.offset : stop]:
            assert syntax.parse_address(email).valid
            v = self._verified(email)
            if op.row_words is None or rules.row_word(v) in op.row_words:
                yield JobRow(email, (email,), v, rules.row_word(v))


async def _whole(written: Reply) -> WireReply:
    if isinstance(written, WireReply):
        return written
    body = b"".join([chunk async for chunk in render_body(written)])
    return WireReply(written.status, body, written.media_type, written.headers)
