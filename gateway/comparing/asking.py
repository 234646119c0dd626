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
MAX_REST_S = 60.0
"""How long a source that is out of rotation is waited for."""
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
        rng: random.Random,
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
        self._rng = rng
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
            self._keep(number, outcome)
            return
        run.faults[number] = outcome
        if outcome == OVER_BUDGET or outcome in ENDS_A_SOURCE:
            run.stopped_by = outcome

    async def _ask_until_served(self, question: Question) -> SourceAnswer | str:
        """The answer, or why there is none. A request that was not served is sent again."""
        pauses_s = [FIRST_PAUSE_S * 2**tries for tries in range(MAX_TRIES - 1)]
        while True:
            if self._run.stopped_by:
                return OVER_BUDGET if self._run.stopped_by == OVER_BUDGET else NOT_ASKED
            outcome = await self._ask(question)
            if outcome is None:
                return OVER_BUDGET
            if isinstance(outcome, SourceAnswer):
                return outcome
            implied = IMPLICATIONS[outcome.kind]
            may_be_retried = implied.may_be_retried or implied.may_be_retried_once_well
            if not may_be_retried or not pauses_s:
                return outcome.kind.value
            pause_s = pauses_s.pop(0)
            await self._sleep((outcome.retry_after_s or pause_s) * self._rng.uniform(1.0, 1.3))

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
        """Wait until the circuit admits a request; not for ever."""
        waited_s = 0.0
        while self._source.admit() is Admission.NO:
            if waited_s >= MAX_REST_S:
                return False
            pause_s = min(max(self._source.ready_in_s, 0.1), 5.0)
            await self._sleep(pause_s)
            waited_s += pause_s
        return True

    def _answer(self, verification: Verification, micros: int) -> SourceAnswer:
        return SourceAnswer(
            verdict=verification.verdict,
            reason=verification.reason,
            score=verification.score,
            latency_ms=round(verification.duration_s * 1000),
            micros=micros,
            at=self._clock(),
        )
