"""Runs a comparison: what is known is not paid for twice, and an interrupted run goes on."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import delete, select

from engine.model import Checks, Verdict
from gateway.comparing.asking import KeepAnswer, Purse, SourceAsker, SourceRun
from gateway.comparing.questions import Question
from gateway.errors import StorageUnavailable
from gateway.outcomes.answers import SourceAnswer, SourceAnswers
from gateway.store import Store, StoreError
from gateway.store.tables import comparisons
from gateway.tasks import PeriodicWrites
from gateway.upstreams.routing.budgets import Budgets, SpendingCap, SpendingScope
from gateway.upstreams.source.source import Source

FLUSH_EVERY_S = 0.5
"""Between two writes of new answers; a run that is killed asks those of the last interval anew."""
SCOPE_DIGITS = 16
"""Of a run's digest, in the name of its budget."""
RESUMABLE_S = 7 * 86_400.0
"""A run that was interrupted longer ago begins anew: its answers are too old to stand beside new
ones."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared."""

    digest: bytes
    """Of everything that must be equal for a run to be resumed."""
    questions: Sequence[Question]
    sources: Sequence[Source]
    concurrency: Mapping[str, int]
    """Requests at a time, by source."""
    checks: Checks = Checks()
    fresh: bool = False
    """Whether answers from before this run are not used."""
    budget_micros: int | None = None
    """What the run may spend, in millionths; None is no limit but that of the settings."""
    scopes: Mapping[str, SpendingScope] = field(default_factory=dict)
    """The budgets of the settings, by source."""


class ComparisonRunner:
    """Every method may raise StoreError. `clock` is Unix time in seconds."""

    def __init__(
        self,
        store: Store,
        answers: SourceAnswers,
        budgets: Budgets,
        *,
        ttl_s: Mapping[Verdict, float],
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        """`ttl_s`: how long an answer is good, by its verdict."""
        self._store = store
        self._answers = answers
        self._budgets = budgets
        self._ttl_s = ttl_s
        self._clock = clock
        self._rng = rng

    async def began_at(self, digest: bytes) -> float | None:
        """When an unfinished run began (Unix time); None if there is none, or it is too old."""
        oldest = datetime.fromtimestamp(self._clock() - RESUMABLE_S, UTC)
        query = select(comparisons.c.began_at).where(
            comparisons.c.digest == digest, comparisons.c.began_at >= oldest
        )
        rows = await self._store.fetch_all(query)
        return rows[0].began_at.timestamp() if rows else None

    async def known_answers(
        self, plan: Plan, began_at: float
    ) -> dict[str, dict[int, SourceAnswer]]:
        """Answers that need not be paid for, by source and number of the question."""
        digests = self._answers.digests(question.address for question in plan.questions)
        found = {}
        for source in plan.sources:
            by_digest = await self._answers.newest(
                source.name, digests, since=lambda verdict: self._since(plan, verdict, began_at)
            )
            found[source.name] = {
                number: by_digest[digest]
                for number, digest in enumerate(digests)
                if digest in by_digest
            }
        return found

    async def run(self, plan: Plan, on_progress: Callable[[int, str], None]) -> list[SourceRun]:
        """Ask all sources at the same time; `on_progress` is given the number of outcomes, and
        which sources fail."""
        began_at = await self._begin(plan.digest)
        known = await self.known_answers(plan, began_at)
        runs = [SourceRun(source, known[source.name]) for source in plan.sources]
        for run in runs:
            run.kept = len(run.answers)

        def show_progress() -> None:
            on_progress(sum(run.done for run in runs), _failing(runs))

        show_progress()
        async with (
            self._purse(plan, began_at) as purse,
            self._keeper(plan) as keeper,
            asyncio.TaskGroup() as group,
        ):
            for run in runs:
                asker = SourceAsker(
                    run,
                    plan.checks,
                    purse,
                    keeper.keeps(run.source.name),
                    fresh=plan.fresh,
                    clock=self._clock,
                    monotonic=time.monotonic,
                    rng=self._rng,
                    on_progress=show_progress,
                )
                limit = plan.concurrency[run.source.name]
                group.create_task(asker.ask_all(plan.questions, limit))
        await self._finish(plan.digest)
        return runs

    def _since(self, plan: Plan, verdict: Verdict, began_at: float) -> float:
        return began_at if plan.fresh else min(began_at, self._clock() - self._ttl_s[verdict])

    async def _begin(self, digest: bytes) -> float:
        """When the run began, which is now unless it is resumed; the same in all processes."""
        now = self._clock()
        oldest = datetime.fromtimestamp(now - RESUMABLE_S, UTC)
        row = {"digest": digest, "began_at": datetime.fromtimestamp(now, UTC)}
        async with self._store.write() as connection:
            await connection.execute(delete(comparisons).where(comparisons.c.began_at < oldest))
            insert = self._store.insert(comparisons).on_conflict_do_nothing()
            await connection.execute(insert, row)
        began_at = await self.began_at(digest)
        return now if began_at is None else began_at

    async def _finish(self, digest: bytes) -> None:
        async with self._store.write() as connection:
            await connection.execute(delete(comparisons).where(comparisons.c.digest == digest))

    @contextlib.asynccontextmanager
    async def _purse(self, plan: Plan, began_at: float) -> AsyncIterator[Purse]:
        """The clock of the run's own budget stands still, so that midnight adds nothing to it."""
        cap = SpendingCap(daily=plan.budget_micros or 0)
        name = f"compare:{plan.digest.hex()[:SCOPE_DIGITS]}:{began_at:.0f}"
        own = Budgets(self._store, clock=lambda: began_at)
        try:
            yield Purse(own, SpendingScope(name, cap), self._budgets, plan.scopes)
        finally:
            await own.write(everything=True)
            await self._budgets.write(everything=True)

    @contextlib.asynccontextmanager
    async def _keeper(self, plan: Plan) -> AsyncIterator[_Keeper]:
        keeper = _Keeper(self._answers, plan.questions)
        writes = PeriodicWrites(keeper.write, keeper.report_failure, every_s=FLUSH_EVERY_S)
        async with writes.running():
            yield keeper
        if keeper.lost is not None:
            raise keeper.lost


class _Keeper:
    """Writes new answers, many in one transaction."""

    def __init__(self, answers: SourceAnswers, questions: Sequence[Question]) -> None:
        self._answers = answers
        self._questions = questions
        self._new: defaultdict[str, dict[int, SourceAnswer]] = defaultdict(dict)
        self.lost: StorageUnavailable | None = None
        """Why answers were not written in the end."""

    def keeps(self, source: str) -> KeepAnswer:
        """What keeps the answers of one source."""

        def keep(number: int, answer: SourceAnswer) -> None:
            self._new[source][number] = answer

        return keep

    def report_failure(self, error: StorageUnavailable, is_last: bool) -> None:
        if is_last:
            self.lost = error

    async def write(self) -> None:
        """Write what is new. Raises StoreError."""
        new, self._new = self._new, defaultdict(dict)
        if not new:
            return
        rows = [
            self._answers.row(
                self._answers.digest(question.address), source, answer, question.provider
            )
            for source, answers in new.items()
            for question, answer in ((self._questions[n], a) for n, a in answers.items())
        ]
        rows.sort(key=lambda row: (row["address"], row["source"]))
        try:
            await self._answers.add_rows(rows)
        except StoreError:
            for source, answers in new.items():  # they are paid for: kept with the next ones
                self._new[source].update(answers)
            raise


def _failing(runs: Sequence[SourceRun]) -> str:
    """`kickbox: unreachable`, for each source that fails or is asked no more."""
    failing = (run for run in runs if run.stopped_by or run.failing_since is not None)
    return "  ".join(f"{run.source.name}: {run.stopped_by or run.last_fault}" for run in failing)
