"""Batches of test keys: in memory, complete at the first look, with a sample for each row.

The results of a batch follow from its entries, so that only the entries are stored. All batches
together have `MAX_STORED_BYTES`; beyond them the oldest are removed. If several processes serve the
same keys, they have them in a `BatchTable`, of which the memory of each is a copy.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from datetime import UTC, datetime
from itertools import islice

import orjson

from adapters.contract.batch_rules import (
    DUPLICATE,
    BatchRules,
    IdSource,
    JobEvent,
    duplicate_word,
)
from adapters.contract.dialect import Dialect
from adapters.contract.filters import Filters
from adapters.contract.jobs import BatchEntry, Job, JobRow, JobRows, JobState
from adapters.contract.operations import (
    AmendJob,
    DeleteJob,
    FetchList,
    ReadRowsByToken,
    RowsOperation,
    ShowJobByToken,
    StartJob,
    SubmitJob,
)
from adapters.contract.problems import Problem, ProblemKind
from adapters.kit.timed_tokens import parse_timed_token, token_for_links
from engine.model import Checks, Verification
from gateway.accounts.account_state import NO_FILTERS, apply_filters
from gateway.errors import StorageUnavailable
from gateway.sandbox.batch import SandboxBatch, rules_of
from gateway.sandbox.batch_table import EVERYTHING, BatchTable, Selection, apply_state
from gateway.sandbox.budget import ScopedStore
from gateway.sandbox.clock import Clocks
from gateway.sandbox.fetching import fetch_nothing
from gateway.sandbox.reports import Report, report_event, report_work
from gateway.sandbox.rows import RowKind, RowReader, StoredRows, Tally
from gateway.sandbox.samples import Samples
from gateway.sandbox.simulate import (
    JOB_WORDS,
    SLOW_JOB_S,
    SLOW_JOB_WORD,
    SimulatedProblem,
    word_in_email,
)
from gateway.tasks import TimeSlices

MAX_JOBS = 1_000
MAX_STORED_BYTES = 24 * 1024 * 1024
"""Of all batches together."""
MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Of one batch; a larger one is refused. The vendors' longest lists of addresses fit."""
MAX_LATER_OPTIONS_BYTES = 1_000
"""Of the options that a start or an amendment adds to a batch, which is measured before."""
ROWS_PER_READ = 500
"""Rows of an uploaded file that are read in a thread together."""
ROWS_PER_PIECE = 100
"""Rows of a reply that are sampled together."""

HALF_DONE_STATES = (JobState.RUNNING, JobState.PAUSED, JobState.FAILED, JobState.CANCELLED)
"""Simulated states with half of the rows answered; other unfinished states have none."""

EXAMPLE_ENTRIES = (BatchEntry("john.smith@gmail.com"), BatchEntry("jane.doe@example.com"))
"""The entries of the batches in `Dialect.example_job_ids`."""


ScheduleWebhook = Callable[[Report], None]


class SandboxJobs:
    """The batches of all test keys, each timed by the clock of its scope."""

    def __init__(
        self,
        samples: Samples,
        clocks: Clocks,
        slices: TimeSlices,
        schedule_webhook: ScheduleWebhook | None = None,
        fetch: FetchList = fetch_nothing,
        table: BatchTable | None = None,
    ) -> None:
        """Rows are sampled in `slices`. Without `schedule_webhook` no webhooks are sent. `table` is
        where other processes find the batches."""
        self._table = table
        self._schedule_webhook = schedule_webhook
        self.fetch = fetch
        self._samples = samples
        self._clocks = clocks
        self._slices = slices
        self._batches: ScopedStore[tuple[str, str], SandboxBatch] = ScopedStore(
            max_values=MAX_JOBS, max_size=MAX_STORED_BYTES, on_removal=self._free
        )
        self._by_token: dict[str, SandboxBatch] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def scopes(self) -> list[int]:
        """Those of the keys that have batches."""
        return self._batches.scopes

    def in_scope(self, scope: int | None) -> list[SandboxBatch]:
        """The batches of a scope, for None those of all scopes; oldest first."""
        return self._batches.values(scope)

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return self._batches.size

    async def rows_by_token(
        self, dialect: Dialect, op: ReadRowsByToken, base_url: str
    ) -> JobRows | None:
        """The rows behind a link that needs no key; None if it belongs to no batch here."""
        batch = await self._find_by_token(dialect, op.token)
        if batch is None:
            return None
        return self.select_rows(batch, self.job_now(batch, "", base_url), op)

    async def job_by_token(self, dialect: Dialect, op: ShowJobByToken, base_url: str) -> Job | None:
        """Likewise the batch itself."""
        batch = await self._find_by_token(dialect, op.token)
        return None if batch is None else self.job_now(batch, "", base_url)

    async def clear(self, scope: int | None) -> None:
        """Remove a scope's batches; for None all batches. Raises StorageUnavailable."""
        if self._table is not None:
            await self._table.remove(Selection(scope))
        self._batches.clear(scope)

    # -- beside other processes ---------------------------------------------------------------

    async def refresh(self, selection: Selection = EVERYTHING) -> None:
        """See what other processes have done to batches. Raises StorageUnavailable."""
        if self._table is None:
            return
        known = {each.number: each for each in self._batches.values(None) if selection.has(each)}
        versions = await self._table.versions(selection)
        for number, batch in known.items():
            if number not in versions:
                self._remove(batch)
        changed = [n for n, batch in known.items() if versions.get(n, 0) > batch.version]
        if changed:
            for number, (version, state) in (await self._table.states(changed)).items():
                if version > known[number].version:
                    apply_state(known[number], version, state)
        for number in versions.keys() - known.keys():
            loaded = await self._table.load(number)
            if loaded is not None:
                self._put(loaded)

    async def change(
        self,
        find: Callable[[], Awaitable[tuple[SandboxBatch, Job]]],
        work: Callable[[SandboxBatch, Job], None],
    ) -> SandboxBatch:
        """Change a batch, in every process: with another one's changes, if they came first.

        `work` raises a `Problem` before it changes anything.
        """
        while True:
            batch, job = await find()
            work(batch, job)
            if self._table is None:
                return batch
            saved = False
            try:
                saved = await self._table.save(batch)
            finally:
                if not saved:
                    self._remove(batch)  # only its copy, which nobody else has
            if saved:
                return batch

    async def set_word(self, batch: SandboxBatch, word: str) -> None:
        """Show a batch in a simulated state from now on; without a word, as usual."""

        async def find() -> tuple[SandboxBatch, Job]:
            selection = Selection(batch.scope, batch.dialect.name, (batch.id,))
            await self.refresh(selection)
            found = self.get(batch.dialect, batch.scope, batch.id)
            return found, self.job_now(found, "", found.base_url)

        def work(found: SandboxBatch, job: Job) -> None:
            found.simulation_word = word

        await self.change(find, work)

    def _put(self, batch: SandboxBatch) -> None:
        key = (batch.dialect.name, batch.id)
        if self._batches.get(key) is not None:
            return  # loaded by two requests at once
        self._batches.put(batch.scope, key, batch, batch.size)
        self._by_token[batch.token] = batch

    # -- for one key --------------------------------------------------------------------------

    async def submit(
        self,
        dialect: Dialect,
        scope: int,
        op: SubmitJob,
        base_url: str = "",
        filters: Filters = NO_FILTERS,
    ) -> SandboxBatch:
        rules = rules_of(dialect)
        rows, tally = StoredRows(), Tally()
        total, valid = 0, 0
        word = ""
        seen: set[str] = set()
        unread = iter(op.entries)
        while entries := await _read_entries(op.entries, unread):
            total += len(entries)
            async with self._slices.computing(scope) as computation:
                for entry in entries:
                    if computation.is_over:
                        await computation.pause()
                    word = word or word_in_email(entry.email)
                    verification = self._sample(dialect, op.checks, entry, filters)
                    kind = _row_kind(rules, verification)
                    is_first = True
                    if rules.merge_duplicates or rules.marks_duplicates:
                        is_first = verification.address.normalized not in seen
                        seen.add(verification.address.normalized)
                    if not is_first:
                        if rules.merge_duplicates:
                            continue
                        kind = RowKind(duplicate_word(kind.word), (), (DUPLICATE,))
                    rows.append(entry)
                    tally.append(kind)
                    valid += verification.address.valid and is_first
            if rows.size > MAX_BATCH_BYTES:
                raise _too_large()
        if word and word not in JOB_WORDS:
            raise SimulatedProblem(word)
        now = self._clocks.now(scope)
        batch = SandboxBatch(
            id="",
            number=0,
            scope=scope,
            dialect=dialect,
            checks=op.checks,
            created_at=now,
            total=total,
            rows=rows,
            tally=tally,
            valid=valid,
            headers=op.headers,
            options=op.options,
            started_at=now + op.delay_s
            if op.start and not op.is_sample and not op.failure
            else None,
            has_failed=bool(op.failure),
            name=op.name,
            webhook_url=op.webhook_url,
            base_url=base_url,
            simulation_word=word,
            filters=filters,
        )
        if batch.size > MAX_BATCH_BYTES:
            raise _too_large()
        if op.start and op.is_sample and not op.failure:
            batch.sampled = _sample_size(batch)
        await self._add(batch)
        if op.failure:
            self._report(report_event(self, batch, JobEvent.FAILED))
            return batch
        self._report(report_event(self, batch, JobEvent.SUBMITTED))
        if op.start and op.is_sample:
            self._report_sample(batch)
        elif op.start:
            self._report(report_work(self, batch))
        return batch

    async def _add(self, batch: SandboxBatch) -> None:
        """Give a new batch its number and its id, and store it."""
        if self._table is not None:
            await self._table.add(batch, MAX_JOBS, MAX_STORED_BYTES)
        else:
            self._number += 1
            batch.number = self._number
            batch.id = rules_of(batch.dialect).new_id(IdSource(batch.number, secrets.randbelow))
        self._put(batch)

    def start(self, batch: SandboxBatch, job: Job, op: StartJob) -> None:
        if job.state is not JobState.READY or (op.is_sample and batch.sampled):
            raise Problem(ProblemKind.JOB_STATE, job_state=job.state)
        self._add_options(batch, op.options)
        if op.is_sample:
            batch.sampled = _sample_size(batch)
            self._report_sample(batch)
            return
        batch.started_at = self._clocks.now(batch.scope)
        self._report(report_work(self, batch))

    def _report_sample(self, batch: SandboxBatch) -> None:
        self._report(report_event(self, batch, JobEvent.SAMPLE_STARTED))
        self._report(report_event(self, batch, JobEvent.SAMPLE_FINISHED))

    def amend(self, batch: SandboxBatch, job: Job, op: AmendJob) -> None:
        if job.state not in op.states:
            raise Problem(ProblemKind.JOB_STATE, job_state=job.state)
        self._add_options(batch, op.options)
        self._report(report_event(self, batch, JobEvent.AMENDED))

    def _add_options(self, batch: SandboxBatch, options: Mapping[str, object]) -> None:
        if len(orjson.dumps(options)) > MAX_LATER_OPTIONS_BYTES:
            raise _too_large()
        batch.options = {**batch.options, **options}

    async def delete(self, batch: SandboxBatch, job: Job, op: DeleteJob) -> None:
        if not (job.state.is_final or job.state is JobState.READY or op.at_any_time):
            raise Problem(ProblemKind.JOB_STATE, job_state=job.state)
        if self._table is not None:
            selection = Selection(batch.scope, batch.dialect.name, (batch.id,), batch.token)
            await self._table.remove(selection)
        self._report(report_event(self, batch, JobEvent.DELETED, job))
        self._remove(batch)

    def _report(self, reports: Iterable[Report]) -> None:
        """Schedule webhooks of a batch."""
        if self._schedule_webhook is None:
            return
        for report in reports:
            self._schedule_webhook(report)

    def row_at(self, batch: SandboxBatch, position: int) -> JobRow:
        entry = RowReader(batch.rows).entry(position)
        verification = self._sample(batch.dialect, batch.checks, entry, batch.filters)
        return JobRow(entry.email, entry.cells, verification, batch.tally.word_at(position))

    def of_key(self, dialect: Dialect, scope: int) -> list[SandboxBatch]:
        """The batches of a key, oldest first."""
        own = [b for b in self._batches.values(scope) if b.dialect.name == dialect.name]
        return sorted(own, key=lambda batch: batch.number)

    def select_rows(self, batch: SandboxBatch, job: Job, op: RowsOperation) -> JobRows:
        done = 0 if job.rows_expired else job.done_count
        if op.row_words is None:
            total = done
        else:
            total = sum(job.counts.get(word, 0) for word in op.row_words) if done else 0
        return JobRows(job, total, self._read_rows(batch, done, op))

    async def _read_rows(
        self, batch: SandboxBatch, done: int, op: RowsOperation
    ) -> AsyncIterator[JobRow]:
        """Of the first `done` rows those that `op` selects."""
        positions = range(done)
        if op.reverse_order:
            positions = positions[::-1]
        last = None if op.limit is None else op.offset + op.limit
        wanted = None if op.row_words is None else batch.tally.codes_of(op.row_words)
        if wanted is None:
            unread, to_skip = iter(positions[op.offset : last]), 0
        else:
            unread, to_skip = iter(positions), op.offset
        left = done if op.limit is None else op.limit
        reader = RowReader(batch.rows)
        while left > 0:
            piece: list[JobRow] = []
            async with self._slices.computing(batch.scope) as computation:
                for position in unread:
                    if computation.is_over:
                        await computation.pause()
                    if batch.removed:
                        raise StorageUnavailable("the sandbox has removed this batch")
                    if wanted is not None and batch.tally.code(position) not in wanted:
                        continue
                    if to_skip:
                        to_skip -= 1
                        continue
                    entry = reader.entry(position)
                    verification = self._sample(batch.dialect, batch.checks, entry, batch.filters)
                    word = batch.tally.word_at(position)
                    piece.append(JobRow(entry.email, entry.cells, verification, word))
                    if len(piece) == min(left, ROWS_PER_PIECE):
                        break
            if not piece:
                return
            left -= len(piece)
            for row in piece:
                yield row

    def is_complete(self, batch: SandboxBatch) -> bool:
        return _progress(batch, "", self._clocks.now(batch.scope))[0].is_final

    def job_now(self, batch: SandboxBatch, word: str, base_url: str) -> Job:
        """The batch's current state; `word` is that of the request or the key."""
        now = self._clocks.now(batch.scope)
        rules = rules_of(batch.dialect)
        state, done = _progress(batch, word, now)
        finished = None
        expired = False
        if state.is_final:
            pace = SLOW_JOB_S if batch.simulation_word == SLOW_JOB_WORD else 0
            finished = min((batch.started_at or batch.created_at) + pace, now)
            kept_s = rules.own_retention_s(batch.options)
            if kept_s is None:
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
            row_count=len(batch.rows),
            valid_count=batch.valid,
            done_count=done,
            counts=batch.tally.counts(done),
            name=batch.name,
            headers=batch.headers,
            options=batch.options,
            rows_expired=expired,
            base_url=base_url,
            token=batch.token,
            link_token=token_for_links(rules, batch.dialect.name, batch.id, batch.token, now),
        )

    def _sample(
        self,
        dialect: Dialect,
        checks: Checks,
        entry: BatchEntry,
        filters: Filters = NO_FILTERS,
    ) -> Verification:
        sample = self._samples.draw(
            dialect.name,
            entry.email,
            checks,
            magic_addresses=dialect.magic_addresses_in_batches,
            choose_sample=dialect.choose_sample,
            default_sample=dialect.default_sample,
        )
        return apply_filters(filters, sample)

    def get(
        self, dialect: Dialect, scope: int, job_id: str, *, simulated: bool = False
    ) -> SandboxBatch:
        batch = self.find(dialect, scope, job_id, simulated=simulated)
        if batch is None:
            raise Problem(ProblemKind.JOB_UNKNOWN)
        return batch

    def find(
        self, dialect: Dialect, scope: int, job_id: str, *, simulated: bool = False
    ) -> SandboxBatch | None:
        """The batch with that id, or an example in the place of one; None if there is neither."""
        batch = self._batches.get((dialect.name, job_id))
        if batch is not None and batch.scope == scope:
            return batch
        if simulated or job_id in dialect.example_job_ids:
            return self._example_batch(dialect, scope, job_id)
        return None

    def _example_batch(self, dialect: Dialect, scope: int, job_id: str) -> SandboxBatch:
        now = self._clocks.now(scope)
        tally = Tally()
        for entry in EXAMPLE_ENTRIES:
            verification = self._sample(dialect, Checks(), entry)
            tally.append(_row_kind(rules_of(dialect), verification))
        return SandboxBatch(
            id=job_id,
            number=0,
            scope=scope,
            dialect=dialect,
            checks=Checks(),
            created_at=now,
            total=len(EXAMPLE_ENTRIES),
            rows=StoredRows(EXAMPLE_ENTRIES),
            tally=tally,
            valid=len(EXAMPLE_ENTRIES),
            headers=(),
            options={},
            started_at=now,
        )

    async def _find_by_token(self, dialect: Dialect, token: str) -> SandboxBatch | None:
        rules = rules_of(dialect)
        if rules.is_public:
            await self.refresh(Selection(dialect=dialect.name, job_ids=(token,)))
            return self._batches.get((dialect.name, token))
        if rules.link_lifetime_s is None:
            await self.refresh(Selection(dialect=dialect.name, token=token))
            batch = self._by_token.get(token)
            return batch if batch is not None and batch.dialect.name == dialect.name else None
        timed = parse_timed_token(token)
        if timed is not None:
            await self.refresh(Selection(dialect=dialect.name, job_ids=(timed.job_id,)))
        batch = self._batches.get((dialect.name, timed.job_id)) if timed else None
        if timed is None or batch is None:
            return None
        now = self._clocks.now(batch.scope)
        return batch if timed.is_valid(dialect.name, batch.token, now) else None

    def _remove(self, batch: SandboxBatch) -> None:
        self._batches.remove((batch.dialect.name, batch.id))

    def _free(self, batch: SandboxBatch) -> None:
        """Free the memory of a batch, even while a client reads it slowly."""
        self._by_token.pop(batch.token, None)
        batch.removed = True
        batch.rows.clear()
        batch.tally = Tally()


def _progress(batch: SandboxBatch, word: str, now: float) -> tuple[JobState, int]:
    """The state to show for a batch, and the number of answered rows."""
    rows = len(batch.rows)
    simulated = JOB_WORDS.get(word) or JOB_WORDS.get(batch.simulation_word)
    if simulated is not None:
        if simulated in HALF_DONE_STATES:
            return simulated, rows // 2
        return simulated, rows if simulated is JobState.COMPLETED else 0
    if batch.has_failed:
        return JobState.FAILED, 0
    if batch.started_at is None:
        return JobState.READY, batch.sampled
    if now < batch.started_at:
        return JobState.QUEUED, 0
    if SLOW_JOB_WORD in (word, batch.simulation_word):
        share = (now - batch.started_at) / SLOW_JOB_S
        if share < 0.2:
            return JobState.PREPARING, 0
        if share < 1:
            return JobState.RUNNING, int(rows * share)
    return JobState.COMPLETED, rows


def _sample_size(batch: SandboxBatch) -> int:
    size_of = rules_of(batch.dialect).sample_size
    assert size_of is not None
    return size_of(len(batch.rows))


async def _read_entries(
    entries: Iterable[BatchEntry], unread: Iterator[BatchEntry]
) -> list[BatchEntry]:
    """The next entries; none at the end. Those of a file are read and parsed in a thread."""
    if isinstance(entries, Sequence):
        return list(islice(unread, ROWS_PER_READ))
    return await asyncio.to_thread(lambda: list(islice(unread, ROWS_PER_READ)))


def _too_large() -> Problem:
    detail = "The sandbox does not store so large a batch."
    return Problem(ProblemKind.TOO_LARGE, detail, limit=MAX_BATCH_BYTES)


def _row_kind(rules: BatchRules, verification: Verification) -> RowKind:
    before_start = rules.counters_before_start
    return RowKind(
        rules.row_word(verification),
        tuple(rules.extra_counters(verification)),
        ()
        if before_start is None
        else tuple(before_start(verification.address, verification.evidence)),
    )


def _utc_datetime(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
