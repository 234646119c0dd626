"""Asks one source about all addresses of a comparison, within the money that there is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from adapters.contract.upstream import Fault, FaultKind, UpstreamQuery
from engine.model import Checks, Verification
from gateway.comparing.questions import Question
from gateway.outcomes.answers import SourceAnswer
from gateway.upstreams.routing.budgets import Budgets, SpendingScope
from gateway.upstreams.source.circuit import Admission
from gateway.upstreams.source.faults import IMPLICATIONS
from gateway.upstreams.source.source import Source

MAX_TRIES = 4
"""Requests for one address, if the ones before were not served."""
FIRST_PAUSE_S = 1.0
"""Before the second; each further pause is twice as long."""
MAX_PAUSE_S = 60.0
"""A source that wants a longer one has no answer for this address."""
GIVE_UP_S = 90.0
"""A source that has answered before is asked no more after so long without an answer; longer than
the minute in which most rates are counted."""
NEVER_ANSWERED_S = 30.0
"""The same for one that never has: its address or its key is wrong, most likely."""
QUEUE_S = 600.0
"""How long a request waits for its turn among those of this run."""
ENDS_A_SOURCE = frozenset({FaultKind.NO_CREDITS, FaultKind.DEAD_KEY, FaultKind.BANNED})
"""After such a fault the source answers no other question either."""
OVER_BUDGET = "over_budget"
"""The outcome of a question that there was no money for."""
NOT_ASKED = "not_asked"
"""The outcome of a question after the source had failed for good."""


KeepAnswer = Callable[[int, SourceAnswer], None]
"""Keeps an answer, by the number of its question."""
OnProgress = Callable[[], None]
"""Is called when something has changed."""


@dataclass(frozen=True, slots=True)
class Purse:
    """Who pays: the run's own budget, and the budgets of the settings."""

    run: Budgets
    run_scope: SpendingScope
    settings: Budgets
    settings_scopes: Mapping[str, SpendingScope]
    """By the name of the source."""


@dataclass(slots=True)
class SourceRun:
    """How far one source is."""

    source: Source
    answers: dict[int, SourceAnswer] = field(default_factory=dict)
    """By the number of the question."""
    kept: int = 0
    """Of these, how many were known before, and cost nothing now."""
    faults: dict[int, str] = field(default_factory=dict)
    """Why there is no answer, by the number of the question."""
    stopped_by: str = ""
    """The fault after which it was not asked any more."""
    failing_since: float | None = None
    """When its first fault after its last answer was, by the monotonic clock."""
    last_fault: str = ""
    """The latest of these faults."""
    spent_micros: int = 0
    """In this run, in millionths of the currency."""

    @property
    def done(self) -> int:
        return len(self.answers) + len(self.faults)


class SourceAsker:
    """Asks one source. `clock` is Unix time, in seconds."""

    def __init__(
        self,
        run: SourceRun,
        checks: Checks,
        purse: Purse,
        keep: KeepAnswer,
        *,
        fresh: bool,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        rng: random.Random,
        on_progress: OnProgress = lambda: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """With `fresh` the source shall not use its own cache either."""
        self._run = run
        self._source = run.source
        self._checks = checks
        self._purse = purse
        self._keep = keep
        self._fresh = fresh
        self._clock = clock
        self._monotonic = monotonic
        self._rng = rng
        self._on_progress = on_progress
        self._sleep = sleep

    async def ask_all(self, questions: Sequence[Question], concurrency: int) -> None:
        """Ask about every address that has no answer yet. Raises StoreError."""
        left = iter([n for n in range(len(questions)) if n not in self._run.answers])

        async def work() -> None:
            for number in left:
                await self._settle(number, questions[number])

        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(questions))):
                group.create_task(work())

    async def _settle(self, number: int, question: Question) -> None:
        """Get an answer, or the reason why there is none."""
        run = self._run
        outcome = await self._ask_until_served(question)
        if isinstance(outcome, SourceAnswer):
            run.answers[number] = outcome
            run.failing_since = None
            self._keep(number, outcome)
        else:
            run.faults[number] = outcome
            if outcome == OVER_BUDGET or outcome in ENDS_A_SOURCE:
                run.stopped_by = run.stopped_by or outcome
        self._on_progress()

    async def _ask_until_served(self, question: Question) -> SourceAnswer | str:
        """The answer, or why there is none. A request that was not served is sent again."""
        pauses_s = [FIRST_PAUSE_S * 2**tries for tries in range(MAX_TRIES - 1)]
        fault = NOT_ASKED
        while True:
            if self._run.stopped_by:
                return OVER_BUDGET if self._run.stopped_by == OVER_BUDGET else fault
            outcome = await self._ask(question)
            if outcome is None:
                return OVER_BUDGET
            if isinstance(outcome, SourceAnswer):
                return outcome
            self._count_fault(outcome)
            if outcome.kind is not FaultKind.BUSY:
                fault = outcome.kind.value
            implied = IMPLICATIONS[outcome.kind]
            may_be_retried = implied.may_be_retried or implied.may_be_retried_once_well
            if not may_be_retried or not pauses_s:
                return outcome.kind.value
            pause_s = outcome.retry_after_s or pauses_s[0]
            del pauses_s[0]
            if pause_s > MAX_PAUSE_S:
                return outcome.kind.value
            await self._sleep(pause_s * self._rng.uniform(1.0, 1.3))

    def _count_fault(self, fault: Fault) -> None:
        """Note that the source fails, and stop asking it if it has for too long.

        Faults that concern one address alone do not count.
        """
        implied = IMPLICATIONS[fault.kind]
        if implied.opens_circuit or implied.may_be_retried:
            self._count_failure(fault.kind)

    def _count_failure(self, kind: FaultKind) -> None:
        run = self._run
        now = self._monotonic()
        if run.failing_since is None:
            run.failing_since = now
        if kind is not FaultKind.BUSY or not run.last_fault:
            run.last_fault = kind.value
        if now - run.failing_since >= (GIVE_UP_S if run.answers else NEVER_ANSWERED_S):
            run.stopped_by = run.stopped_by or run.last_fault
        self._on_progress()

    async def _ask(self, question: Question) -> SourceAnswer | Fault | None:
        """One request, once the source takes requests. None: there is no money for it."""
        source, purse = self._source, self._purse
        scope = purse.settings_scopes[source.name]
        async with (
            purse.run.reserved([purse.run_scope], source.price) as own,
            purse.settings.reserved([scope], source.price) as theirs,
        ):
            if own is None or theirs is None:
                return None
            if not await self._is_admitted():
                return Fault(FaultKind.BUSY, "the source is out of rotation")
            own.is_billed = theirs.is_billed = True
            query = UpstreamQuery(question.address, self._checks, self._fresh, source.timeout_s)
            result = await source.try_verify(query, queue_s=QUEUE_S)
            if isinstance(result, Fault):
                billed = IMPLICATIONS[result.kind].may_be_billed
            else:
                billed = result.verdict not in source.free_verdicts
            own.is_billed = theirs.is_billed = billed
            self._run.spent_micros += source.price if billed else 0
        if isinstance(result, Fault):
            return result
        return self._answer(result, source.price if billed else 0)

    async def _is_admitted(self) -> bool:
        """Wait until the circuit admits a request, or the source is given up."""
        while not self._run.stopped_by:
            if self._source.admit() is not Admission.NO:
                return True
            self._count_failure(FaultKind.BUSY)
            await self._sleep(min(max(self._source.ready_in_s, 0.1), 5.0))
        return False

    def _answer(self, verification: Verification, micros: int) -> SourceAnswer:
        return SourceAnswer(
            verdict=verification.verdict,
            reason=verification.reason,
            score=verification.score,
            latency_ms=round(verification.duration_s * 1000),
            micros=micros,
            at=self._clock(),
        )
