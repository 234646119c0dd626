"""One question on its way to the sources of its route.

It has one deadline. Within it the sources are asked in the strategy's order; a fault leads to the
next source and never to a verdict; a source is asked again only if its first request was not sent
or not served. A request that takes longer than usual leads to the next source, too; it stays in
flight, and its answer is used if it is the first. When every source is out of rotation, they are
asked all the same, at a bounded rate, and the query waits for any that comes back.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from adapters.contract.problems import ProblemKind
from adapters.contract.upstream import Fault, FaultKind, UpstreamQuery
from engine.model import Attempt, Evidence, Verdict, Verification
from gateway.errors import NoAnswer
from gateway.settings import LOCAL_SOURCE, Strategy
from gateway.upstreams.routing.budgets import MICROS_PER_UNIT, Budgets, SpendingScope
from gateway.upstreams.routing.candidates import Candidate, How, NotAsked, choose
from gateway.upstreams.routing.changes import Changes
from gateway.upstreams.routing.quorum import agreed_verification, undecided_verification
from gateway.upstreams.routing.routes import SourceRoute
from gateway.upstreams.routing.strategies import is_final, most_informative
from gateway.upstreams.source.circuit import Admission
from gateway.upstreams.source.faults import IMPLICATIONS
from gateway.upstreams.source.source import Source, SourceResult

MAX_SOURCE_WAIT_S = 5.0
"""How long a query waits altogether for sources that were tried in vain since it began, by itself
or by others. For a source that was not, it waits as long as it has time."""
MAX_QUEUE_S = 1.0
"""How long a query waits for a slot of a busy source before it turns to another one."""
RETURN_GRACE_S = 1.0
"""After the last answer of any source: a query that none has served waits for one until then."""
RECHECK_S = 0.01
"""Before a source is looked at again that was not available after all."""
MAX_RETRY_AFTER_S = 300.0
"""The longest Retry-After, however long all sources are out of rotation: an operator may act."""
MIN_TIME_LEFT_S = 0.05
"""With less time left no source is asked any more."""
OUTRUN = "outrun"
"""The outcome of a hedged attempt, or of a quorum's, that was not needed."""

IN_TURN = frozenset({How.IN_ROTATION, How.QUEUEING})
"""The terms on which a source's circuit is asked first."""

OnAttempt = Callable[[Attempt], None]
"""Counts an attempt."""


@dataclass(frozen=True, slots=True)
class QueryContext:
    """What all queries share. `monotonic` is a steady clock in seconds."""

    budgets: Budgets
    scopes: Callable[[str, SpendingScope | None], tuple[SpendingScope, ...]]
    """The budgets that a request to a source is paid from, given that of the key."""
    monotonic: Callable[[], float]
    rng: random.Random
    on_attempt: OnAttempt
    changes: Changes
    """Notified when a source is back."""
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
        self._began = context.monotonic()
        self._give_up_at = self._began + question.wait_s
        self._waited_s = 0.0
        self._attempts: list[Attempt] = []
        self._results: list[Verification] = []
        self._final: Verification | None = None
        """The first result that needs no other; of a quorum, the one on which it agrees."""
        self._is_quorum = route.strategy is Strategy.QUORUM
        chosen = route.order(question.address, context.rng)
        self._reason = chosen.reason
        """Why the first source is the first."""
        self._candidates = [Candidate(source) for source in chosen.order]

    @property
    def left_s(self) -> float:
        return self._give_up_at - self._context.monotonic()

    @property
    def local_evidence(self) -> Evidence | None:
        """What the local engine found, if it was asked."""
        return next((v.evidence for v in self._results if v.source == LOCAL_SOURCE), None)

    async def run(self) -> Verification:
        """A verification with the attempts that it took. Raises NoAnswer."""
        await self._search()
        self._record_unfinished()
        if not self._results:
            raise self._no_answer()
        return replace(self._best(), attempts=tuple(self._attempts))

    def _best(self) -> Verification:
        if self._is_quorum:
            return self._final or undecided_verification(self._results)
        if self._final is not None and self._final.verdict is not Verdict.UNKNOWN:
            return self._final
        # A final result that is unknown says no more than the earlier ones.
        return most_informative(self._results)

    # -- the search ----------------------------------------------------------------------

    async def _search(self) -> None:
        """Ask sources until the strategy has its result, or none can be asked any more."""
        while self._final is None:
            now = self._context.monotonic()
            chosen = None
            if self._give_up_at - now >= MIN_TIME_LEFT_S:
                chosen = choose(
                    self._candidates, now, self._wanted, self._skip, may_resort=not self._results
                )
            if chosen is not None:
                await self._ask_candidate(*chosen)
            elif not await self._wait(now):
                return

    @property
    def _wanted(self) -> int:
        """How many sources may be waited for at a time."""
        return self._route.quorum_ask - len(self._results) if self._is_quorum else 1

    async def _ask_candidate(self, chosen: Candidate, how: How) -> None:
        """Send the request, and wait for it if nothing else can be done meanwhile."""
        source, now = chosen.source, self._context.monotonic()
        left_s = self._give_up_at - now
        others = [each for each in self._candidates if each is not chosen and not each.is_out]
        share_s = left_s
        if not self._is_quorum:
            share_s /= 1 + sum(each.task is None and each.source.ready_in_s <= 0 for each in others)
        queue_s = 0.0
        if source.busy:
            # What is left after the queue must suffice for the answer, or the call is wasted.
            queue_s = max(left_s - source.timeout_s, left_s / 2)
            queue_s = min(queue_s, MAX_QUEUE_S) if others else queue_s
        wait_s = min(source.timeout_s, left_s - queue_s if source.answers_late else share_s)
        asking = self._ask(chosen, wait_s, queue_s, how)
        chosen.began = now
        if not others:
            self._conclude(chosen, await asking)
            return
        chosen.overdue_at = chosen.hedged_at = math.inf
        if source.answers_late:
            chosen.overdue_at = now + queue_s + min(source.patience_s, share_s)
        if self._route.hedge and not self._is_quorum:
            usual_s = source.latency.percentile_s(self._route.hedge_percentile)
            if usual_s is not None:
                chosen.hedged_at = now + usual_s
        chosen.task = self._start(asking)

    def _start(
        self, asking: Coroutine[Any, Any, SourceResult | NotAsked]
    ) -> asyncio.Task[SourceResult | NotAsked]:
        """Ask in a task that outlives the query, so that the circuit learns its outcome."""
        task = asyncio.create_task(asking)
        self._context.background.add(task)
        task.add_done_callback(self._context.background.discard)
        return task

    async def _wait(self, now: float) -> bool:
        """Wait for an answer, or until a source may be asked. Returns False if that is in vain."""
        running = [each for each in self._candidates if each.task is not None]
        coming = [each for each in self._candidates if each.task is None and not each.is_out]
        if running:
            await self._wait_for_any(running, coming, now)
            return True
        if self._results:
            return False
        if not coming:
            return await self._wait_for_return(now)
        soonest_s = min(each.may_be_asked_in_s(now) for each in coming)
        limit_s = left_s = self._give_up_at - now - MIN_TIME_LEFT_S
        if all(
            each.was_tried_since(self._began) or each.may_be_asked_in_s(now) > left_s
            for each in coming
        ):
            limit_s = min(left_s, MAX_SOURCE_WAIT_S - self._waited_s)
        if soonest_s > limit_s:
            return False
        pause_s = max(soonest_s, RECHECK_S) * self._context.rng.uniform(1.0, 1.3)
        await asyncio.wait({self._context.changes.next}, timeout=min(pause_s, limit_s))
        self._waited_s += self._context.monotonic() - now
        return True

    async def _wait_for_return(self, now: float) -> bool:
        """Wait for a source that did not serve the request, as long as any source answers others.

        A vendor may be well again at the moment when another one fails, so that this query asked
        both at the wrong time.
        """
        answered_at = max((each.source.answered_at for each in self._candidates), default=-math.inf)
        left_s = min(
            answered_at + RETURN_GRACE_S - now,
            MAX_SOURCE_WAIT_S - self._waited_s,
            self._give_up_at - MIN_TIME_LEFT_S - now,
        )
        if left_s <= 0 or all(each.is_done and not each.is_lost for each in self._candidates):
            return False
        await asyncio.wait({self._context.changes.next}, timeout=left_s)
        self._waited_s += self._context.monotonic() - now
        return True

    async def _wait_for_any(
        self, running: Sequence[Candidate], coming: Sequence[Candidate], now: float
    ) -> None:
        """Wait for an answer, or until one more source may be asked beside those in flight."""
        waiting: set[asyncio.Future[Any]] = {each.task for each in running if each.task is not None}
        until = math.inf
        if coming:
            moments = [each.overdue_at for each in running] + [each.hedged_at for each in running]
            until = min((moment for moment in moments if moment > now), default=math.inf)
            if any(min(each.overdue_at, each.hedged_at) <= now for each in running):
                waiting.add(self._context.changes.next)
                soonest_s = min(each.may_be_asked_in_s(now) for each in coming)
                until = min(until, now + max(soonest_s, RECHECK_S))
            elif self._route.hedge:
                # A source that is suspected meanwhile is hedged at once.
                waiting.add(self._context.changes.next)
        # At the deadline the requests end by themselves.
        timeout_s = until - now if until < self._give_up_at - MIN_TIME_LEFT_S else None
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for each in running:
            if each.task is not None and each.task.done():
                task, each.task = each.task, None
                self._conclude(each, task.result())
            elif self._route.hedge and each.source.is_suspected:
                each.hedged_at = now

    def _conclude(self, asked: Candidate, result: SourceResult | NotAsked) -> None:
        """What follows for a source from the result of asking it."""
        now = self._context.monotonic()
        match result:
            case NotAsked.BEYOND_SHARE:
                asked.is_beyond_share = True
            case NotAsked.BUSY:
                pass
            case NotAsked.LATER:
                asked.retry_at = now + RECHECK_S
            case NotAsked.NEVER:
                asked.is_done = True
            case Fault(kind=kind) if IMPLICATIONS[kind].may_be_retried:
                asked.was_asked = asked.was_asked or kind is not FaultKind.BUSY
                asked.retry_at = now + asked.backoff_s * self._context.rng.uniform(1.0, 1.3)
                asked.backoff_s *= 2
            case Fault(kind=kind) if IMPLICATIONS[kind].may_be_retried_once_well:
                asked.was_asked, asked.not_served_at = True, now
            case _:
                is_lost = isinstance(result, Fault) and IMPLICATIONS[result.kind].may_be_lost
                asked.is_lost = is_lost and not asked.is_done
                asked.is_done = asked.was_asked = True

    # -- one source ----------------------------------------------------------------------

    async def _ask(
        self, asked: Candidate, wait_s: float, queue_s: float, how: How
    ) -> SourceResult | NotAsked:
        """Ask a source, if its circuit, its keys and the budgets allow."""
        source = asked.source
        scopes = self._context.scopes(source.name, self._key)
        async with self._context.budgets.reserved(scopes, source.price) as reservation:
            if reservation is None:
                self._skip(source, "over_budget")
                return NotAsked.NEVER
            if how is How.IN_ROTATION and source.busy:
                return NotAsked.BUSY
            match how, how in IN_TURN and source.admit():
                case _, Admission.NO:
                    self._skip(source, "resting")
                    return NotAsked.LATER
                case How.IN_ROTATION, Admission.LAST_RESORT:
                    return NotAsked.BEYOND_SHARE
                case How.LAST_RESORT, _ if not source.admit_last_resort():
                    return NotAsked.LATER
            began = self._context.monotonic()
            reservation.is_billed = True
            result = await source.try_verify(
                replace(self._question, wait_s=wait_s),
                queue_s=queue_s,
                is_last_resort=how is How.LAST_RESORT,
            )
            reservation.is_billed = may_be_billed(source, result)
        self._record(source, result, began, source.price if reservation.is_billed else 0)
        return result

    # -- attempts ------------------------------------------------------------------------

    def _record(self, source: Source, result: SourceResult, began: float, price: int) -> None:
        latency_ms = round((self._context.monotonic() - began) * 1000)
        cost = price / MICROS_PER_UNIT
        match result:
            case Verification():
                attempt = Attempt(
                    source.name, result.verdict, latency_ms, cost, detail=self._reason_of(source)
                )
                self._results.append(result)
                self._final = self._final or self._final_result(source, result)
            case Fault(kind=kind, status=status, detail=detail):
                detail = "; ".join(filter(None, (detail, self._reason_of(source))))
                attempt = Attempt(source.name, kind, latency_ms, cost, status, detail)
        self._attempts.append(attempt)
        self._context.on_attempt(attempt)

    def _reason_of(self, source: Source) -> str:
        """Why a source is the first; empty of any other."""
        return self._reason if source is self._candidates[0].source else ""

    def _final_result(self, source: Source, result: Verification) -> Verification | None:
        """The verification that ends the search, now that there is one more result."""
        if self._is_quorum:
            return agreed_verification(self._results, self._route.quorum_agree)
        return result if is_final(self._route.strategy, source, result) else None

    def _skip(self, source: Source, outcome: str) -> None:
        """Record, once, that a source could not be asked."""
        attempt = Attempt(source.name, outcome, asked=False, detail=self._reason_of(source))
        if attempt not in self._attempts:
            self._attempts.append(attempt)

    def _record_unfinished(self) -> None:
        """Record the sources that were asked, and will be paid, and are not waited for."""
        now = self._context.monotonic()
        for each in self._candidates:
            if each.task is not None and not each.task.done():
                outcome = FaultKind.TIMED_OUT if now >= each.overdue_at else OUTRUN
                latency_ms = round((now - each.began) * 1000)
                cost = each.source.price / MICROS_PER_UNIT
                detail = self._reason_of(each.source)
                self._attempts.append(
                    Attempt(each.source.name, outcome, latency_ms, cost, detail=detail)
                )

    def _no_answer(self) -> NoAnswer:
        sources = self._route.sources
        usable = [source for source in sources if not source.unusable_fault] or sources
        soonest_s = min((source.ready_in_s for source in usable), default=0.0)
        outcomes = Counter(attempt.outcome for attempt in self._attempts)
        listed = ", ".join(f"{outcome} ({count})" for outcome, count in sorted(outcomes.items()))
        return NoAnswer(
            ProblemKind.UNAVAILABLE,
            detail=f"No source answered: {listed or 'there is none to ask'}.",
            retry_after_s=max(1, round(min(soonest_s, MAX_RETRY_AFTER_S) + 0.5)),
            attempts=tuple(self._attempts),
            as_unknown=self._route.as_unknown,
        )


def may_be_billed(source: Source, result: SourceResult) -> bool:
    """Whether the source may charge for a request with this result."""
    if isinstance(result, Verification):
        return result.verdict not in source.free_verdicts
    return IMPLICATIONS[result.kind].may_be_billed
