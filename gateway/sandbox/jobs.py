"""Batches of test keys: in memory, done at the first look, each row a sample.

What a batch contains follows from what was submitted, so that its entries are all that is
kept. `MOST_JOBS` and `MOST_ENTRIES` bound it; the oldest batches go first.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from adapters.contract.dialect import Dialect
from adapters.contract.jobs import (
    BatchRules,
    DeleteJob,
    Entry,
    Job,
    JobOperation,
    JobPage,
    JobRows,
    JobState,
    ListJobs,
    ReadRows,
    Row,
    ShowJob,
    ShowJobs,
    StartJob,
    SubmitJob,
)
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.streaming import chunks
from adapters.contract.wire import WireReply
from engine.address import syntax
from engine.model import Checks, Verification
from gateway.sandbox.clock import Clocks
from gateway.sandbox.samples import Samples
from gateway.sandbox.simulate import (
    JOB_WORDS,
    PROBLEM_WORDS,
    SLOW_JOB,
    SLOW_JOB_S,
    Simulated,
    known_word,
    word_of_email,
)

MOST_JOBS = 1_000
MOST_ENTRIES = 100_000
"""Of all batches together; a single larger one is kept until the next comes."""
BREATH = 100
"""Rows sampled before others get their turn."""

HALF_WAY = (JobState.RUNNING, JobState.PAUSED, JobState.FAILED, JobState.CANCELLED)
"""States that are shown with half of the rows answered; in others before the end there is none."""

EXAMPLE_ENTRIES = (Entry("john.smith@gmail.com"), Entry("jane.doe@example.com"))
"""What the batches of `Dialect.example_jobs` consist of."""


@dataclass(slots=True)
class _Batch:
    """One submitted batch."""

    id: str
    number: int
    scope: int
    dialect: Dialect
    checks: Checks
    created_at: float
    total: int
    entries: tuple[Entry, ...]
    """Its rows: without repeats where the dialect merges them."""
    valid: int
    headers: tuple[str, ...]
    options: Mapping[str, object]
    started_at: float | None
    word: str = ""
    """The state, or the pace, that it was submitted with."""
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    tallies: dict[int, Counter[str]] = field(default_factory=dict)
    """Counters, by how many rows are answered."""


Tell = Callable[[int, str, str, Callable[[], Awaitable[bytes | None]]], None]
"""Has a URL told of a batch: scope, dialect, URL, and what is to be said once it is over."""


class SandboxJobs:
    """The batches of all test keys, each by the clock of its scope."""

    def __init__(self, samples: Samples, clocks: Clocks, tell: Tell | None = None) -> None:
        """`tell` has somebody told when a batch is over; without it nobody is."""
        self._tell = tell
        self._samples = samples
        self._clocks = clocks
        self._batches: dict[tuple[str, str], _Batch] = {}
        self._by_token: dict[str, _Batch] = {}
        self._entries = 0
        self._number = 0

    def __len__(self) -> int:
        return len(self._batches)

    async def run(
        self, dialect: Dialect, scope: int, op: JobOperation, word: str, link: str
    ) -> object:
        """Answer one operation; `word` comes with the key, and `link` is the dialect's root.

        Raises Problem, Simulated.
        """
        word = known_word(op.simulate) or word
        if word in PROBLEM_WORDS and word not in JOB_WORDS:
            raise Simulated(word)
        match op:
            case SubmitJob():
                batch = await self._submit(dialect, scope, op)
                if op.webhook_url and self._tell is not None:
                    self._tell(scope, dialect.name, op.webhook_url, partial(self._notice, batch))
                return await self._show(batch, "", link)
            case ReadRows():
                return await self._rows(dialect, scope, op, word, link)
            case ListJobs():
                return await self._page(dialect, scope, op, word, link)
            case ShowJobs():
                known = (self._find(dialect, scope, id_) for id_ in op.job_ids)
                return tuple([await self._show(b, word, link) for b in known if b is not None])
            case StartJob() | ShowJob() | DeleteJob():
                batch = self._get(dialect, scope, op.job_id)
                job = await self._show(batch, word, link)
                if isinstance(op, StartJob):
                    return await self._start(batch, job, link)
                if isinstance(op, DeleteJob):
                    self._delete(batch, job)
                return job
        raise TypeError(f"No way to run {type(op).__name__}.")

    async def read_link(self, dialect: Dialect, op: ReadRows, link: str) -> JobRows | None:
        """The rows behind a link that needs no key; None if it leads to no batch of ours."""
        batch = self._by_token.get(op.token)
        if batch is None or batch.dialect.name != dialect.name:
            return None
        return self._some_rows(batch, await self._show(batch, "", link), op)

    def clear(self, scope: int | None) -> None:
        """Forget a scope's batches, or all."""
        for batch in [b for b in self._batches.values() if scope in (None, b.scope)]:
            self._forget(batch)

    async def _notice(self, batch: _Batch) -> bytes | None:
        """What a webhook says of a batch; None while it is under way."""
        notice = _rules(batch.dialect).notice
        job = await self._show(batch, "", "")
        if notice is None or not job.state.over:
            return None
        op = notice.ask(batch.id)
        found = self._some_rows(batch, job, op)
        reply = notice.write(op, found)
        if isinstance(reply, WireReply):
            return reply.body
        return b"".join([chunk async for chunk in chunks(reply, found.rows)])

    # -- pieces --------------------------------------------------------------------------

    async def _submit(self, dialect: Dialect, scope: int, op: SubmitJob) -> _Batch:
        rules = _rules(dialect)
        entries: list[Entry] = []
        total, valid = 0, 0
        word = ""
        seen: set[str] = set()
        for entry in op.entries:
            total += 1
            if total % BREATH == 0:
                await asyncio.sleep(0)
            word = word or word_of_email(entry.email)
            address = syntax.parse(entry.email)
            if rules.merge_duplicates:
                if address.normalized in seen:
                    continue
                seen.add(address.normalized)
            entries.append(entry)
            valid += address.valid
        if word and word not in JOB_WORDS:
            raise Simulated(word)
        now = self._clocks.now(scope)
        self._number += 1
        batch = _Batch(
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
            word=word,
        )
        self._keep(batch)
        return batch

    async def _start(self, batch: _Batch, job: Job, link: str) -> Job:
        if job.state is not JobState.READY:
            raise Problem(ProblemKind.JOB_STATE, state=job.state)
        batch.started_at = self._clocks.now(batch.scope)
        return await self._show(batch, "", link)

    def _delete(self, batch: _Batch, job: Job) -> None:
        if not (job.state.over or job.state is JobState.READY):
            raise Problem(ProblemKind.JOB_STATE, state=job.state)
        self._forget(batch)

    async def _page(
        self, dialect: Dialect, scope: int, op: ListJobs, word: str, link: str
    ) -> JobPage:
        own = [
            b for b in self._batches.values() if b.scope == scope and b.dialect.name == dialect.name
        ]
        if not op.oldest_first:
            own.reverse()
        first = (op.page - 1) * op.per_page
        shown = [await self._show(b, word, link) for b in own[first : first + op.per_page]]
        return JobPage(tuple(shown), len(own))

    async def _rows(
        self, dialect: Dialect, scope: int, op: ReadRows, word: str, link: str
    ) -> JobRows:
        batch = self._get(dialect, scope, op.job_id, simulated=bool(word))
        return self._some_rows(batch, await self._show(batch, word, link), op)

    def _some_rows(self, batch: _Batch, job: Job, op: ReadRows) -> JobRows:
        entries = () if job.rows_gone else batch.entries[: job.done]
        if op.words is None:
            total = len(entries)
        else:
            total = sum(job.counts.get(word, 0) for word in op.words) if entries else 0
        last = None if op.limit is None else op.offset + op.limit
        rows = self._answered(batch, entries, op)
        return JobRows(job, total, _slice(rows, op.offset, last))

    def _answered(
        self, batch: _Batch, entries: tuple[Entry, ...], op: ReadRows
    ) -> Iterator[Row | None]:
        """Rows that fit, and None in the place of each that does not."""
        word_of = _rules(batch.dialect).word
        for entry in reversed(entries) if op.backwards else entries:
            verification = self._sample(batch, entry)
            word = word_of(verification)
            fits = op.words is None or word in op.words
            yield Row(entry.email, entry.cells, verification, word) if fits else None

    async def _show(self, batch: _Batch, word: str, link: str) -> Job:
        now = self._clocks.now(batch.scope)
        rules = _rules(batch.dialect)
        state, done = _progress(batch, word, now)
        finished = None
        gone = False
        if state.over:
            pace = SLOW_JOB_S if batch.word == SLOW_JOB else 0
            finished = min((batch.started_at or batch.created_at) + pace, now)
            kept_s = rules.kept_s(batch.total)
            gone = kept_s is not None and now > finished + kept_s
        if gone and rules.forgets:
            self._forget(batch)
            raise Problem(ProblemKind.JOB_UNKNOWN)
        return Job(
            id=batch.id,
            state=state,
            created_at=_moment(batch.created_at),
            started_at=None if batch.started_at is None else _moment(batch.started_at),
            finished_at=None if finished is None else _moment(finished),
            total=batch.total,
            rows=len(batch.entries),
            valid=batch.valid,
            done=done,
            counts=await self._tally(batch, done),
            headers=batch.headers,
            options=batch.options,
            rows_gone=gone,
            link=link,
            token=batch.token,
        )

    async def _tally(self, batch: _Batch, done: int) -> Counter[str]:
        """The counters of the first `done` rows, and those that need no answer of all."""
        tally = batch.tallies.get(done)
        if tally is not None:
            return tally
        rules = _rules(batch.dialect)
        tally = Counter()
        for position, entry in enumerate(batch.entries):
            if position >= done and rules.analyse is None:
                break
            if position % BREATH == BREATH - 1:
                await asyncio.sleep(0)
            verification = self._sample(batch, entry)
            if rules.analyse is not None:
                tally.update(rules.analyse(verification.address, verification.evidence))
            if position < done:
                tally[rules.word(verification)] += 1
                tally.update(rules.flags(verification))
        batch.tallies[done] = tally
        return tally

    def _sample(self, batch: _Batch, entry: Entry) -> Verification:
        dialect = batch.dialect
        return self._samples.of(
            dialect.name, entry.email, batch.checks, magical=dialect.magic_in_batches
        )

    def _get(self, dialect: Dialect, scope: int, job_id: str, *, simulated: bool = False) -> _Batch:
        batch = self._find(dialect, scope, job_id)
        if batch is None and (simulated or job_id in dialect.example_jobs):
            batch = self._example(dialect, scope, job_id)
        if batch is None:
            raise Problem(ProblemKind.JOB_UNKNOWN)
        return batch

    def _find(self, dialect: Dialect, scope: int, job_id: str) -> _Batch | None:
        batch = self._batches.get((dialect.name, job_id))
        return batch if batch is not None and batch.scope == scope else None

    def _example(self, dialect: Dialect, scope: int, job_id: str) -> _Batch:
        now = self._clocks.now(scope)
        return _Batch(
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

    def _keep(self, batch: _Batch) -> None:
        self._entries += len(batch.entries)
        while self._batches and (len(self._batches) >= MOST_JOBS or self._entries > MOST_ENTRIES):
            self._forget(next(iter(self._batches.values())))
        self._batches[batch.dialect.name, batch.id] = batch
        self._by_token[batch.token] = batch

    def _forget(self, batch: _Batch) -> None:
        if self._batches.pop((batch.dialect.name, batch.id), None) is not None:
            self._entries -= len(batch.entries)
            self._by_token.pop(batch.token, None)


def _progress(batch: _Batch, word: str, now: float) -> tuple[JobState, int]:
    """The state that a batch is in, and how many of its rows are answered."""
    rows = len(batch.entries)
    asked = JOB_WORDS.get(word) or JOB_WORDS.get(batch.word)
    if asked is not None:
        return asked, rows // 2 if asked in HALF_WAY else rows * (asked is JobState.COMPLETED)
    if batch.started_at is None:
        return JobState.READY, 0
    if SLOW_JOB in (word, batch.word):
        share = (now - batch.started_at) / SLOW_JOB_S
        if share < 0.2:
            return JobState.PREPARING, 0
        if share < 1:
            return JobState.RUNNING, int(rows * share)
    return JobState.COMPLETED, rows


async def _slice(rows: Iterable[Row | None], first: int, last: int | None) -> AsyncIterator[Row]:
    """Those from `first` up to before `last` of the rows that fit."""
    fitting = 0
    for looked_at, row in enumerate(rows):
        if looked_at % BREATH == BREATH - 1:
            await asyncio.sleep(0)
        if row is None:
            continue
        if last is not None and fitting >= last:
            return
        if fitting >= first:
            yield row
        fitting += 1


def _rules(dialect: Dialect) -> BatchRules:
    assert dialect.batches is not None
    return dialect.batches


def _moment(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
