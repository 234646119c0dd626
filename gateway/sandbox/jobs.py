"""Batches of test keys: in memory, complete at the first look, with a sample for each row.

The results of a batch follow from its entries, so that only the entries are stored. `MAX_JOBS` and
`MAX_ENTRIES` are the bounds; beyond them the oldest batches are removed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from adapters.contract.batch_rules import BatchRules, CompletionWebhook
from adapters.contract.dialect import Dialect
from adapters.contract.jobs import BatchEntry, Job, JobPage, JobRow, JobRows, JobState
from adapters.contract.operations import (
    DeleteJob,
    JobRunner,
    ListJobs,
    ReadRows,
    ReadRowsByToken,
    RowsOperation,
    ShowJob,
    ShowJobs,
    StartJob,
    SubmitJob,
)
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.streaming import render_body
from adapters.contract.wire import WireReply
from engine.address import syntax
from engine.model import Checks, Verification
from gateway.sandbox.clock import Clocks
from gateway.sandbox.samples import Samples
from gateway.sandbox.simulate import (
    JOB_WORDS,
    PROBLEM_WORDS,
    SLOW_JOB_S,
    SLOW_JOB_WORD,
    SimulatedProblem,
    word_in_email,
)

MAX_JOBS = 1_000
MAX_ENTRIES = 100_000
"""Of all batches together. A single larger batch is kept until the next is submitted."""
ROWS_PER_YIELD = 100
"""Rows that are sampled before other tasks may run."""

HALF_DONE_STATES = (JobState.RUNNING, JobState.PAUSED, JobState.FAILED, JobState.CANCELLED)
"""Simulated states with half of the rows answered; other unfinished states have none."""

EXAMPLE_ENTRIES = (BatchEntry("john.smith@gmail.com"), BatchEntry("jane.doe@example.com"))
"""The entries of the batches in `Dialect.example_job_ids`."""


@dataclass(slots=True)
class SandboxBatch:
    """One submitted batch."""

    id: str
    number: int
    scope: int
    dialect: Dialect
    checks: Checks
    created_at: float
    total: int
    entries: tuple[BatchEntry, ...]
    """Its rows; without duplicates if the dialect merges them."""
    valid: int
    headers: tuple[str, ...]
    options: Mapping[str, object]
    started_at: float | None
    simulation_word: str = ""
    """The word in one of its addresses for the state, or the pace, to show."""
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    counts_by_done: dict[int, Counter[str]] = field(default_factory=dict)
    """Counters, by the number of answered rows."""


ScheduleWebhook = Callable[
    [int, str, CompletionWebhook, str, Callable[[], Awaitable[bytes | None]]], None
]
"""Takes the scope, the dialect's name and its webhook rule, the URL, and a function that reads the
body, which is None until the batch is complete."""


class SandboxJobs:
    """The batches of all test keys, each timed by the clock of its scope."""

    def __init__(
        self, samples: Samples, clocks: Clocks, schedule_webhook: ScheduleWebhook | None = None
    ) -> None:
        """Without `schedule_webhook` no webhooks are sent."""
        self._schedule_webhook = schedule_webhook
        self._samples = samples
        self._clocks = clocks
        self._batches: dict[tuple[str, str], SandboxBatch] = {}
        self._by_token: dict[str, SandboxBatch] = {}
        self._entries = 0
        self._number = 0

    def __len__(self) -> int:
        return len(self._batches)

    def jobs_of(
        self, dialect: Dialect, scope: int, simulation_word: str, base_url: str
    ) -> JobRunner:
        """The batches of one test key. `base_url` is the dialect's root on this server.

        `simulation_word` is that of the request or the key. Raises `SimulatedProblem`, as do the
        methods of the runner.
        """
        if simulation_word in PROBLEM_WORDS and simulation_word not in JOB_WORDS:
            raise SimulatedProblem(simulation_word)
        return _KeyJobs(self, dialect, scope, simulation_word, base_url)

    async def rows_by_token(
        self, dialect: Dialect, op: ReadRowsByToken, base_url: str
    ) -> JobRows | None:
        """The rows behind a link that needs no key; None if it belongs to no batch here."""
        batch = self._by_token.get(op.token)
        if batch is None or batch.dialect.name != dialect.name:
            return None
        return self.select_rows(batch, await self.job_now(batch, "", base_url), op)

    def clear(self, scope: int | None) -> None:
        """Remove a scope's batches; for None all batches."""
        for batch in [b for b in self._batches.values() if scope in (None, b.scope)]:
            self._remove(batch)

    async def _webhook_body(self, batch: SandboxBatch, webhook: CompletionWebhook) -> bytes | None:
        """The body of a batch's webhook; None until the batch is complete."""
        job = await self.job_now(batch, "", "")
        if not job.state.is_final:
            return None
        op = webhook.build_operation(batch.id)
        reply = webhook.write_body(op, self.select_rows(batch, job, op))
        if isinstance(reply, WireReply):
            return reply.body
        return b"".join([chunk async for chunk in render_body(reply)])

    # -- for one key --------------------------------------------------------------------------

    async def submit(self, dialect: Dialect, scope: int, op: SubmitJob) -> SandboxBatch:
        rules = _rules(dialect)
        entries: list[BatchEntry] = []
        total, valid = 0, 0
        word = ""
        seen: set[str] = set()
        for entry in op.entries:
            total += 1
            if total % ROWS_PER_YIELD == 0:
                await asyncio.sleep(0)
            word = word or word_in_email(entry.email)
            address = syntax.parse_address(entry.email)
            if rules.merge_duplicates:
                if address.normalized in seen:
                    continue
                seen.add(address.normalized)
            entries.append(entry)
            valid += address.valid
        if word and word not in JOB_WORDS:
            raise SimulatedProblem(word)
        now = self._clocks.now(scope)
        self._number += 1
        batch = SandboxBatch(
            id=rules.new_id(self._number, secrets.randbelow),
            number=self._number,
            scope=scope,
            dialect=dialect,
            checks=op.checks,
            created_at=now,
            total=total,
            entries=tuple(entries),
            valid=valid,
            headers=op.headers,
            options=op.options,
            started_at=now if op.start else None,
            simulation_word=word,
        )
        self._store(batch)
        webhook = rules.completion_webhook
        if op.webhook_url and webhook is not None and self._schedule_webhook is not None:
            self._schedule_webhook(
                scope,
                dialect.name,
                webhook,
                op.webhook_url,
                partial(self._webhook_body, batch, webhook),
            )
        return batch

    def start(self, batch: SandboxBatch, job: Job) -> None:
        if job.state is not JobState.READY:
            raise Problem(ProblemKind.JOB_STATE, job_state=job.state)
        batch.started_at = self._clocks.now(batch.scope)

    def delete(self, batch: SandboxBatch, job: Job) -> None:
        if not (job.state.is_final or job.state is JobState.READY):
            raise Problem(ProblemKind.JOB_STATE, job_state=job.state)
        self._remove(batch)

    def of_key(self, dialect: Dialect, scope: int) -> list[SandboxBatch]:
        """The batches of a key, oldest first."""
        return [
            b for b in self._batches.values() if b.scope == scope and b.dialect.name == dialect.name
        ]

    def select_rows(self, batch: SandboxBatch, job: Job, op: RowsOperation) -> JobRows:
        entries = () if job.rows_expired else batch.entries[: job.done_count]
        if op.row_words is None:
            total = len(entries)
        else:
            total = sum(job.counts.get(word, 0) for word in op.row_words) if entries else 0
        last = None if op.limit is None else op.offset + op.limit
        rows = self._answered(batch, entries, op)
        return JobRows(job, total, _slice_rows(rows, op.offset, last))

    def _answered(
        self, batch: SandboxBatch, entries: tuple[BatchEntry, ...], op: RowsOperation
    ) -> Iterator[JobRow | None]:
        """The rows, with None in place of each that `op` does not select."""
        word_of = _rules(batch.dialect).row_word
        for entry in reversed(entries) if op.reverse_order else entries:
            verification = self._sample(batch, entry)
            word = word_of(verification)
            selected = op.row_words is None or word in op.row_words
            yield JobRow(entry.email, entry.cells, verification, word) if selected else None

    async def job_now(self, batch: SandboxBatch, word: str, base_url: str) -> Job:
        """The batch's current state; `word` is that of the request or the key."""
        now = self._clocks.now(batch.scope)
        rules = _rules(batch.dialect)
        state, done = _progress(batch, word, now)
        finished = None
        expired = False
        if state.is_final:
            pace = SLOW_JOB_S if batch.simulation_word == SLOW_JOB_WORD else 0
            finished = min((batch.started_at or batch.created_at) + pace, now)
            kept_s = rules.retention_s(batch.total)
            expired = kept_s is not None and now > finished + kept_s
        if expired and rules.delete_with_rows:
            self._remove(batch)
            raise Problem(ProblemKind.JOB_UNKNOWN)
        return Job(
            id=batch.id,
            state=state,
            created_at=_utc_datetime(batch.created_at),
            started_at=None if batch.started_at is None else _utc_datetime(batch.started_at),
            finished_at=None if finished is None else _utc_datetime(finished),
            total=batch.total,
            row_count=len(batch.entries),
            valid_count=batch.valid,
            done_count=done,
            counts=await self._counts(batch, done),
            headers=batch.headers,
            options=batch.options,
            rows_expired=expired,
            base_url=base_url,
            token=batch.token,
        )

    async def _counts(self, batch: SandboxBatch, done: int) -> Counter[str]:
        """The counters of the first `done` rows, and those of all rows that need no result."""
        counts = batch.counts_by_done.get(done)
        if counts is not None:
            return counts
        rules = _rules(batch.dialect)
        counts = Counter()
        for position, entry in enumerate(batch.entries):
            if position >= done and rules.counters_before_start is None:
                break
            if position % ROWS_PER_YIELD == ROWS_PER_YIELD - 1:
                await asyncio.sleep(0)
            verification = self._sample(batch, entry)
            if rules.counters_before_start is not None:
                counts.update(
                    rules.counters_before_start(verification.address, verification.evidence)
                )
            if position < done:
                counts[rules.row_word(verification)] += 1
                counts.update(rules.extra_counters(verification))
        batch.counts_by_done[done] = counts
        return counts

    def _sample(self, batch: SandboxBatch, entry: BatchEntry) -> Verification:
        dialect = batch.dialect
        return self._samples.draw(
            dialect.name,
            entry.email,
            batch.checks,
            magic_addresses=dialect.magic_addresses_in_batches,
        )

    def get(
        self, dialect: Dialect, scope: int, job_id: str, *, simulated: bool = False
    ) -> SandboxBatch:
        batch = self.find(dialect, scope, job_id)
        if batch is None and (simulated or job_id in dialect.example_job_ids):
            batch = self._example_batch(dialect, scope, job_id)
        if batch is None:
            raise Problem(ProblemKind.JOB_UNKNOWN)
        return batch

    def find(self, dialect: Dialect, scope: int, job_id: str) -> SandboxBatch | None:
        batch = self._batches.get((dialect.name, job_id))
        return batch if batch is not None and batch.scope == scope else None

    def _example_batch(self, dialect: Dialect, scope: int, job_id: str) -> SandboxBatch:
        now = self._clocks.now(scope)
        return SandboxBatch(
            id=job_id,
            number=0,
            scope=scope,
            dialect=dialect,
            checks=Checks(),
            created_at=now,
            total=len(EXAMPLE_ENTRIES),
            entries=EXAMPLE_ENTRIES,
            valid=len(EXAMPLE_ENTRIES),
            headers=(),
            options={},
            started_at=now,
        )

    def _store(self, batch: SandboxBatch) -> None:
        self._entries += len(batch.entries)
        while self._batches and (len(self._batches) >= MAX_JOBS or self._entries > MAX_ENTRIES):
            self._remove(next(iter(self._batches.values())))
        self._batches[batch.dialect.name, batch.id] = batch
        self._by_token[batch.token] = batch

    def _remove(self, batch: SandboxBatch) -> None:
        if self._batches.pop((batch.dialect.name, batch.id), None) is not None:
            self._entries -= len(batch.entries)
            self._by_token.pop(batch.token, None)


@dataclass(frozen=True, slots=True)
class _KeyJobs(JobRunner):
    """The batches of one test key."""

    batches: SandboxJobs
    dialect: Dialect
    scope: int
    simulation_word: str
    base_url: str

    async def submit(self, op: SubmitJob) -> Job:
        batch = await self.batches.submit(self.dialect, self.scope, op)
        return await self.batches.job_now(batch, "", self.base_url)

    async def start(self, op: StartJob) -> Job:
        batch, job = await self._find(op.job_id)
        self.batches.start(batch, job)
        return await self.batches.job_now(batch, "", self.base_url)

    async def show(self, op: ShowJob) -> Job:
        return (await self._find(op.job_id))[1]

    async def show_many(self, op: ShowJobs) -> tuple[Job, ...]:
        found = (self.batches.find(self.dialect, self.scope, job_id) for job_id in op.job_ids)
        return tuple([await self._job_now(batch) for batch in found if batch is not None])

    async def list_page(self, op: ListJobs) -> JobPage:
        own = self.batches.of_key(self.dialect, self.scope)
        if not op.oldest_first:
            own.reverse()
        first = (op.page - 1) * op.per_page
        shown = [await self._job_now(batch) for batch in own[first : first + op.per_page]]
        return JobPage(tuple(shown), len(own))

    async def delete(self, op: DeleteJob) -> Job:
        batch, job = await self._find(op.job_id)
        self.batches.delete(batch, job)
        return job

    async def read_rows(self, op: ReadRows) -> JobRows:
        simulated = bool(self.simulation_word)
        batch = self.batches.get(self.dialect, self.scope, op.job_id, simulated=simulated)
        return self.batches.select_rows(batch, await self._job_now(batch), op)

    async def _find(self, job_id: str) -> tuple[SandboxBatch, Job]:
        batch = self.batches.get(self.dialect, self.scope, job_id)
        return batch, await self._job_now(batch)

    async def _job_now(self, batch: SandboxBatch) -> Job:
        return await self.batches.job_now(batch, self.simulation_word, self.base_url)


def _progress(batch: SandboxBatch, word: str, now: float) -> tuple[JobState, int]:
    """The state to show for a batch, and the number of answered rows."""
    rows = len(batch.entries)
    simulated = JOB_WORDS.get(word) or JOB_WORDS.get(batch.simulation_word)
    if simulated is not None:
        if simulated in HALF_DONE_STATES:
            return simulated, rows // 2
        return simulated, rows if simulated is JobState.COMPLETED else 0
    if batch.started_at is None:
        return JobState.READY, 0
    if SLOW_JOB_WORD in (word, batch.simulation_word):
        share = (now - batch.started_at) / SLOW_JOB_S
        if share < 0.2:
            return JobState.PREPARING, 0
        if share < 1:
            return JobState.RUNNING, int(rows * share)
    return JobState.COMPLETED, rows


async def _slice_rows(
    rows: Iterable[JobRow | None], first: int, last: int | None
) -> AsyncIterator[JobRow]:
    """The selected rows from number `first` up to before `last`."""
    number = 0
    for position, row in enumerate(rows):
        if position % ROWS_PER_YIELD == ROWS_PER_YIELD - 1:
            await asyncio.sleep(0)
        if row is None:
            continue
        if last is not None and number >= last:
            return
        if number >= first:
            yield row
        number += 1


def _rules(dialect: Dialect) -> BatchRules:
    assert dialect.batch_rules is not None
    return dialect.batch_rules


def _utc_datetime(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
