"""One question on its way to the sources of its route.

It has one deadline. Within it the sources are asked in the strategy's order; a fault leads to the
next source and never to a verdict; a source is asked again only if its first request was not sent
or not served. When every source is out of rotation, the query waits a little for the first that
comes back.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from adapters.contract.problems import ProblemKind
from adapters.contract.upstream import Fault, UpstreamQuery
from engine.model import Attempt, Evidence, Verdict, Verification
from gateway.errors import NoAnswer
from gateway.settings import LOCAL_SOURCE, Strategy
from gateway.upstreams.routing.budgets import MICROS_PER_UNIT, Budgets, SpendingScope
from gateway.upstreams.routing.quorum import agreed_verification, undecided_verification
from gateway.upstreams.routing.routes import SourceRoute
from gateway.upstreams.routing.strategies import SOURCE_ORDERS, is_final, most_informative
from gateway.upstreams.source.circuit import Admission
from gateway.upstreams.source.source import POSSIBLY_BILLED, SAFE_TO_RETRY, Source, SourceResult

MAX_SOURCE_WAIT_S = 5.0
"""How long a query waits altogether for sources that are out of rotation."""
FIRST_BACKOFF_S = 0.1
"""Before a source is asked again; doubles each time."""
MAX_RETRY_AFTER_S = 300.0
"""The longest Retry-After, however long all sources are out of rotation: an operator may act."""
MIN_TIME_LEFT_S = 0.05
"""With less time left no source is asked any more."""
OUTRUN = "outrun"
"""The outcome of an attempt that another source was quicker than."""

OnAttempt = Callable[[Attempt], None]
"""Counts an attempt."""


class NotAsked(StrEnum):
    """Why a source was not asked."""

    LAST_RESORT = "last_resort"
    """It recovers and has had its share of requests: ask it if no other source can answer."""
    LATER = "later"
    """It is out of rotation, and may come back while the query has time."""
    NEVER = "never"
    """It is over its budget."""


@dataclass(frozen=True, slots=True)
class QueryContext:
    """What all queries share. `monotonic` is a steady clock in seconds."""

    budgets: Budgets
    scopes: Callable[[str, SpendingScope | None], tuple[SpendingScope, ...]]
    """The budgets that a request to a source is paid from, given that of the key."""
    monotonic: Callable[[], float]
    rng: random.Random
    on_attempt: OnAttempt
    background: set[asyncio.Task[Any]] = field(default_factory=set)
    """Requests that may outlive their query."""


class SourceQuery:
    """One question, and all that was tried to answer it."""

    def __init__(
        self,
        context: QueryContext,
        route: SourceRoute,
        key: SpendingScope | None,
        question: UpstreamQuery,
    ) -> None:
        """`question.wait_s` is the time for the whole query."""
        self._context = context
        self._route = route
        self._key = key
        self._question = question
        self._give_up_at = context.monotonic() + question.wait_s
        self._attempts: list[Attempt] = []
        self._results: list[Verification] = []
        self._final: Verification | None = None
        """The first result that needs no other."""
        self._parallel: dict[asyncio.Task[SourceResult | NotAsked], tuple[Source, float]] = {}
        """Requests in tasks of their own, with their source and when they began."""

    @property
    def left_s(self) -> float:
        return self._give_up_at - self._context.monotonic()

    @property
    def local_evidence(self) -> Evidence | None:
        """What the local engine found, if it was asked."""
        return next((v.evidence for v in self._results if v.source == LOCAL_SOURCE), None)

    async def run(self) -> Verification:
        """A verification with the attempts that it took. Raises NoAnswer."""
        if self._route.strategy is Strategy.QUORUM:
            verification = await self._ask_quorum()
        else:
            verification = await self._ask_until_answered()
        if self._parallel:
            self._record_outrun()
        return replace(verification, attempts=tuple(self._attempts))

    # -- strategies ----------------------------------------------------------------------

    async def _ask_until_answered(self) -> Verification:
        """Ask all sources in turn, and those that may be asked again after a pause."""
        sources = SOURCE_ORDERS[self._route.strategy](self._route.sources, self._context.rng)
        patience_s, backoff_s = MAX_SOURCE_WAIT_S, FIRST_BACKOFF_S
        while True:
            again = await self._ask_in_turn(sources)
            if self._final is not None and self._final.verdict is not Verdict.UNKNOWN:
                return self._final
            if self._results:
                # A final result that is unknown says no more than the earlier ones.
                return most_informative(self._results)
            sources = [source for source in sources if source in again]
            sources = [source for source in sources if not source.unusable_fault]
            soonest_s = _next_ready_s(sources or self._route.sources)
            pause_s = max(soonest_s, backoff_s) * self._context.rng.uniform(1.0, 1.3)
            if not sources or pause_s > min(patience_s, self.left_s - MIN_TIME_LEFT_S):
                raise self._no_answer(soonest_s)
            await asyncio.sleep(pause_s)
            patience_s -= pause_s
            backoff_s *= 2

    async def _ask_in_turn(self, sources: Iterable[Source]) -> set[Source]:
        """Ask one source after the other until a result is final.

        Returns those that may be asked again.
        """
        coming, last_resorts, again = deque(sources), deque[Source](), set[Source]()
        while coming or last_resorts:
            is_last_resort = not coming
            source = (coming or last_resorts).popleft()
            if source.busy and not is_last_resort:
                last_resorts.append(source)
                continue
            wait_s = self._time_share_s(source, (*coming, *last_resorts))
            if wait_s < MIN_TIME_LEFT_S:
                again.add(source)
                break
            if self._route.hedge:
                result = await self._ask_hedged(source, wait_s, coming, is_last_resort)
            else:
                result = await self._ask(source, wait_s, is_last_resort)
            match result:
                case NotAsked.LAST_RESORT:
                    last_resorts.append(source)
                case NotAsked.LATER:
                    again.add(source)
                case Fault(kind=kind) if kind in SAFE_TO_RETRY:
                    again.add(source)
                case Verification() if self._final is not None:
                    break
        return again

    async def _ask_hedged(
        self, source: Source, wait_s: float, coming: deque[Source], is_last_resort: bool
    ) -> SourceResult | NotAsked:
        """Ask a source, and the next one too if this one takes longer than usual."""
        usual_s = source.latency.percentile_s(self._route.hedge_percentile)
        if usual_s is None or not coming:
            return await self._ask(source, wait_s, is_last_resort)
        first = self._start(source, wait_s, is_last_resort)
        await asyncio.wait({first}, timeout=usual_s)
        next_source = next((s for s in coming if not s.busy and s.ready_in_s <= 0), None)
        if first.done() or next_source is None:
            return await asyncio.shield(first)
        coming.remove(next_source)
        second = self._start(next_source, self._time_share_s(next_source, coming), False)
        running = {first, second}
        while running and self._final is None:
            _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        if self._final is not None:
            return self._final
        if second.exception() is None and isinstance(second.result(), NotAsked):
            coming.appendleft(next_source)
        return first.result()

    async def _ask_quorum(self) -> Verification:
        """Ask several sources at once, others in place of those that fail, until enough agree."""
        coming = deque(self._route.sources)
        running: set[asyncio.Task[SourceResult | NotAsked]] = set()
        while True:
            agreed = agreed_verification(self._results, self._route.quorum_agree)
            if agreed is not None:
                return agreed
            while coming and len(running) + len(self._results) < self._route.quorum_ask:
                source = coming.popleft()
                running.add(self._start(source, self._time_share_s(source), True))
            if not running:
                break
            _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        if not self._results:
            raise self._no_answer(_next_ready_s(self._route.sources))
        return undecided_verification(self._results)

    # -- one source ----------------------------------------------------------------------

    async def _ask(
        self, source: Source, wait_s: float, is_last_resort: bool
    ) -> SourceResult | NotAsked:
        """Ask a source, if its circuit, its keys and the budgets allow."""
        if source.ready_in_s > 0 or source.unusable_fault:
            return self._skip(source, source.unusable_fault or "resting", NotAsked.LATER)
        scopes = self._context.scopes(source.name, self._key)
        async with self._context.budgets.reserved(scopes, source.price) as reservation:
            if reservation is None:
                return self._skip(source, "over_budget", NotAsked.NEVER)
            match source.admit():
                case Admission.NO:
                    return self._skip(source, "resting", NotAsked.LATER)
                case Admission.LAST_RESORT if not is_last_resort:
                    return NotAsked.LAST_RESORT
            began = self._context.monotonic()
            reservation.is_billed = True
            result = await source.try_verify(replace(self._question, wait_s=wait_s))
            reservation.is_billed = _may_be_billed(result)
        latency_s = self._context.monotonic() - began
        self._record(source, result, latency_s, source.price if reservation.is_billed else 0)
        return result

    def _start(
        self, source: Source, wait_s: float, is_last_resort: bool
    ) -> asyncio.Task[SourceResult | NotAsked]:
        """Ask in a task that outlives the query, so that the circuit learns its outcome."""
        task = asyncio.create_task(self._ask(source, wait_s, is_last_resort))
        self._parallel[task] = (source, self._context.monotonic())
        self._context.background.add(task)
        task.add_done_callback(self._context.background.discard)
        return task

    def _time_share_s(self, source: Source, others: Sequence[Source] = ()) -> float:
        """The source's time-out, or less: the time left is shared with those that can answer."""
        shares = 1 + sum(other.ready_in_s <= 0 for other in others)
        return min(source.timeout_s, self.left_s / shares)

    # -- attempts ------------------------------------------------------------------------

    def _record(self, source: Source, result: SourceResult, latency_s: float, price: int) -> None:
        latency_ms, cost = round(latency_s * 1000), price / MICROS_PER_UNIT
        match result:
            case Verification():
                attempt = Attempt(source.name, result.verdict, latency_ms, cost)
                self._results.append(result)
                if self._final is None and is_final(self._route.strategy, source, result):
                    self._final = result
            case Fault(kind=kind, status=status, detail=detail):
                attempt = Attempt(source.name, kind, latency_ms, cost, status, detail)
        self._attempts.append(attempt)
        self._context.on_attempt(attempt)

    def _skip(self, source: Source, outcome: str, why: NotAsked) -> NotAsked:
        """Record, once, that a source could not be asked."""
        attempt = Attempt(source.name, outcome, asked=False)
        if attempt not in self._attempts:
            self._attempts.append(attempt)
        return why

    def _record_outrun(self) -> None:
        """Record the sources that were asked, and will be paid, and are not waited for."""
        now = self._context.monotonic()
        for task, (source, began) in self._parallel.items():
            if not task.done():
                latency_ms, cost = round((now - began) * 1000), source.price / MICROS_PER_UNIT
                self._attempts.append(Attempt(source.name, OUTRUN, latency_ms, cost))

    def _no_answer(self, soonest_s: float) -> NoAnswer:
        outcomes = Counter(attempt.outcome for attempt in self._attempts)
        listed = ", ".join(f"{outcome} ({count})" for outcome, count in sorted(outcomes.items()))
        return NoAnswer(
            ProblemKind.UNAVAILABLE,
            detail=f"No source answered: {listed or 'there is none to ask'}.",
            retry_after_s=max(1, round(soonest_s + 0.5)),
            attempts=tuple(self._attempts),
            as_unknown=self._route.as_unknown,
        )


def _may_be_billed(result: SourceResult) -> bool:
    return isinstance(result, Verification) or result.kind in POSSIBLY_BILLED


def _next_ready_s(sources: Sequence[Source]) -> float:
    """Seconds until one of the sources may be asked."""
    return min(min((source.ready_in_s for source in sources), default=0.0), MAX_RETRY_AFTER_S)
