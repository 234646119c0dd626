"""Which source answers, and what is done when one does not.

A request has one deadline. Inside it sources are asked in the strategy's order; a fault leads
on to the next one and never to a verdict; a source is asked again only where nothing was sent
or done. When all of them have to rest, the request waits a little for the first to come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from adapters.contract.problems import ProblemKind
from adapters.contract.upstream import Fault, FaultKind, UpstreamQuery
from engine.address.offline import offline_evidence
from engine.model import (
    Address,
    Attempt,
    Checks,
    Reason,
    Verdict,
    Verification,
)
from engine.score import score
from engine.verification import verification_from_evidence
from gateway.accounts.caller import Caller
from gateway.errors import NoAnswer
from gateway.settings import LOCAL_SOURCE, Completion, Strategy
from gateway.store import StoreError
from gateway.upstreams.routing.budgets import (
    MICROS_PER_UNIT,
    Budgets,
    SpendingCap,
    SpendingScope,
)
from gateway.upstreams.routing.completion import EvidenceCompletion
from gateway.upstreams.routing.strategies import SOURCE_ORDERS, is_final, most_informative
from gateway.upstreams.source.circuit import Admission
from gateway.upstreams.source.source import (
    POSSIBLY_BILLED,
    SAFE_TO_RETRY,
    Source,
    SourceResult,
)
from gateway.verdicts.verifier import Verifier

log = logging.getLogger(__name__)

MAX_SOURCE_WAIT_S = 5.0
"""How long a request waits altogether for sources that have to rest."""
FIRST_BACKOFF_S = 0.1
"""Before a source that could not be reached is asked again; doubles each time."""
MAX_RETRY_AFTER_S = 300.0
"""What a client is told at most, however long all sources rest: an operator may mend it."""
MIN_TIME_LEFT_S = 0.05
"""With less time left nobody is asked any more."""
OUTRUN = "outrun"
"""The outcome, in an answer, of a source that another was quicker than."""
IN_LISTED_ORDER = frozenset({Strategy.FAILOVER, Strategy.WATERFALL})
"""Strategies that ask an engine that is listed first before anybody else: what it sees then needs
no looking up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRoute:
    """How the questions of some keys are answered."""

    name: str
    strategy: Strategy
    sources: tuple[Source, ...]
    deadline_s: float
    as_unknown: bool
    complete: Completion
    quorum_ask: int
    quorum_agree: int
    hedge: bool
    hedge_percentile: float
    key_cap: SpendingCap


OnAttempt = Callable[[Attempt], None]
"""Counts an attempt."""


class Policy:
    """All routes. `clock` is Unix time in seconds."""

    def __init__(
        self,
        default: SourceRoute,
        routes: Mapping[str, SourceRoute],
        budgets: Budgets,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        rng: random.Random,
        caps: Mapping[str, SpendingCap] | None = None,
        lookup: Verifier | None = None,
        on_attempt: OnAttempt = lambda _: None,
    ) -> None:
        """`routes` by key label, `caps` by source; `lookup` looks addresses up in DNS."""
        self._default = default
        self._routes = routes
        self._budgets = budgets
        self._clock = clock
        self._monotonic = monotonic
        self._rng = rng
        self._scopes = {
            name: SpendingScope(f"source:{name}", cap) for name, cap in (caps or {}).items()
        }
        self._lookup = lookup
        self._on_attempt = on_attempt
        self._background_queries: set[asyncio.Task[Any]] = set()

    async def aclose(self) -> None:
        """Give up what still runs behind answers that were given."""
        for task in tuple(self._background_queries):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

    def route_name(self, caller: Caller) -> str:
        """Whose cached verdicts may serve a caller's questions: those of the same route."""
        return self._routes.get(caller.key_label, self._default).name

    def route_for_key(
        self, key_id: int, key_label: str
    ) -> tuple[SourceRoute, SpendingScope | None]:
        """How a key's questions are answered, and what it may spend."""
        route = self._routes.get(key_label, self._default)
        return route, SpendingScope(f"key:{key_id}", route.key_cap) if route.key_cap else None

    def spending_scopes(self, source: str, key: SpendingScope | None) -> tuple[SpendingScope, ...]:
        """Who pays for what a source is asked."""
        own = self._scopes.get(source) or SpendingScope(f"source:{source}")
        return (own,) if key is None else (own, key)

    def report_attempt(self, attempt: Attempt) -> None:
        """Count an attempt that was made elsewhere."""
        self._on_attempt(attempt)

    async def verify(
        self, address: Address, checks: Checks, *, caller: Caller, refresh: bool = False
    ) -> Verification:
        """Answer a caller's question; with `refresh`, upstreams shall not use their caches.

        Raises NoAnswer.
        """
        route, key = self.route_for_key(caller.key_id, caller.key_label)
        question = UpstreamQuery(address, checks, refresh, route.deadline_s)
        return await self.verify_by_route(route, key, question, route.deadline_s)

    # -- one question --------------------------------------------------------------------

    async def verify_by_route(
        self,
        route: SourceRoute,
        key: SpendingScope | None,
        question: UpstreamQuery,
        deadline_s: float,
    ) -> Verification:
        """An answer with its attempts. Raises NoAnswer."""
        if not question.address.valid:
            # no upstream needs to be asked, let alone paid, to see that
            local = tuple(source for source in route.sources if source.name == LOCAL_SOURCE)
            if not local:
                return self._malformed_verification(question)
            route = replace(route, sources=local)
        trail = _QueryState(route, key, question, self._monotonic() + deadline_s)
        additions = self._start_completion(route, question, deadline_s)
        try:
            if route.strategy is Strategy.QUORUM:
                answer = await self._query_quorum(trail)
            else:
                answer = await self._try_in_order(trail)
            evidence = answer.evidence
            if additions is not None and answer.source != LOCAL_SOURCE:
                tells = next(s.evidence_fields for s in route.sources if s.name == answer.source)
                own = None
                if len(trail.answers) > 1:
                    own = next(
                        (v.evidence for v in trail.answers if v.source == LOCAL_SOURCE), None
                    )
                left_s = trail.give_up_at - self._monotonic()
                evidence = await additions.complete(answer, tells, own, left_s)
        finally:
            if additions is not None:
                additions.cancel()
        if trail.running:
            trail.record_outrun(self._monotonic())
        return replace(answer, evidence=evidence, attempts=tuple(trail.attempts))

    async def _try_in_order(self, trail: _QueryState) -> Verification:
        """One source after the other."""
        waiting = SOURCE_ORDERS[trail.route.strategy](trail.route.sources, self._rng)
        patience_s, backoff_s = MAX_SOURCE_WAIT_S, FIRST_BACKOFF_S
        while True:
            again = await self._try_each_once(trail, waiting)
            if trail.final is not None and trail.final.verdict is not Verdict.UNKNOWN:
                return trail.final
            if trail.answers:
                # an unknown that is believed says no more than those before it
                return most_informative(trail.answers)
            waiting = [
                source for source in waiting if source in again and not source.unusable_fault
            ]
            left_s = trail.give_up_at - self._monotonic()
            soonest_s = _next_ready_s(waiting or trail.route.sources)
            pause_s = max(soonest_s, backoff_s) * self._rng.uniform(1.0, 1.3)
            if not waiting or pause_s > min(patience_s, left_s - MIN_TIME_LEFT_S):
                raise self._no_answer(trail, soonest_s)
            await asyncio.sleep(pause_s)
            patience_s -= pause_s
            backoff_s *= 2

    async def _try_each_once(self, trail: _QueryState, order: Sequence[Source]) -> set[Source]:
        """Ask in order until one answer is good enough; those that may be asked once more."""
        again: set[Source] = set()
        coming = list(order)
        held: list[Source] = []
        while coming or held:
            last_resort = not coming
            source = (coming or held).pop(0)
            if not last_resort and source.busy:
                held.append(source)
                continue
            wait_s = self._time_share_s(trail, source, (*coming, *held))
            if wait_s < MIN_TIME_LEFT_S:
                again.add(source)
                break
            admission = await self._admit(trail, source, last_resort)
            if admission is None:
                continue
            if admission is Admission.NO:
                again.add(source)
                continue
            if admission is Admission.LAST_RESORT and not last_resort:
                held.append(source)
                continue
            if trail.route.hedge:
                finding = await self._query_hedged(trail, source, wait_s, coming)
            else:
                finding = await self._query_source(trail, source, wait_s)
            if isinstance(finding, Verification):
                if trail.final is not None:
                    break
            elif finding.kind in SAFE_TO_RETRY:
                again.add(source)
        return again

    async def _admit(
        self, trail: _QueryState, source: Source, last_resort: bool
    ) -> Admission | None:
        """Whether it may be asked; then its price is reserved. None: not in this request."""
        if source.ready_in_s > 0 or source.unusable_fault:
            trail.record_skipped(source, source.unusable_fault or "resting")
            return Admission.NO
        if not await self._reserve(trail, source):
            trail.record_skipped(source, "over_budget")
            return None
        admission = source.admit()
        if admission is Admission.NO or (admission is Admission.LAST_RESORT and not last_resort):
            self._budgets.release(self.spending_scopes(source.name, trail.key), source.price)
            if admission is Admission.NO:
                trail.record_skipped(source, "resting")
        return admission

    async def _reserve(self, trail: _QueryState, source: Source) -> bool:
        if source.price <= 0:
            return True
        try:
            return await self._budgets.reserve(
                self.spending_scopes(source.name, trail.key), source.price
            )
        except StoreError as exc:
            # what may be beyond the limit is not spent
            extra = {"source": source.name, "error": str(exc)}
            log.warning("budget.unavailable", extra=extra)
            return False

    def _release_reservation(self, trail: _QueryState, source: Source) -> None:
        self._budgets.release(self.spending_scopes(source.name, trail.key), source.price)

    def _time_share_s(
        self, trail: _QueryState, source: Source, others: Sequence[Source] = ()
    ) -> float:
        """Its own limit, and no more than its part of what is left, of those that can answer."""
        left_s = trail.give_up_at - self._monotonic()
        parts = 1 + sum(other.ready_in_s <= 0 for other in others)
        return min(source.timeout_s, left_s / parts)

    async def _query_source(
        self, trail: _QueryState, source: Source, wait_s: float
    ) -> SourceResult:
        """Ask a source that was admitted and paid for, and take note of what comes."""
        began = self._monotonic()
        finding: SourceResult | None = None
        try:
            finding = await source.try_verify(replace(trail.question, wait_s=wait_s))
        finally:
            billed = finding is None or (
                isinstance(finding, Verification) or finding.kind in POSSIBLY_BILLED
            )
            if not billed:
                self._release_reservation(trail, source)
        attempt = _to_attempt(source, finding, self._monotonic() - began, billed)
        trail.attempts.append(attempt)
        self._on_attempt(attempt)
        if isinstance(finding, Verification):
            trail.answers.append(finding)
            if trail.final is None and is_final(trail.route.strategy, source, finding):
                trail.final = finding
        return finding

    async def _query_hedged(
        self, trail: _QueryState, source: Source, wait_s: float, coming: list[Source]
    ) -> SourceResult:
        """Ask, and the next one too if this one is slower than it mostly is."""
        usual_s = source.latency.percentile_s(trail.route.hedge_percentile)
        if usual_s is None or not coming:
            return await self._query_source(trail, source, wait_s)
        first = self._start_query(trail, source, wait_s)
        done, _ = await asyncio.wait({first}, timeout=usual_s)
        if done:
            return first.result()
        second_source = next((s for s in coming if not s.busy and s.ready_in_s <= 0), None)
        admission = second_source and await self._admit(trail, second_source, False)
        if second_source is None or admission is not Admission.YES:
            return await asyncio.shield(first)
        coming.remove(second_source)
        wait_s = self._time_share_s(trail, second_source, coming)
        running = {first, self._start_query(trail, second_source, wait_s)}
        while running and trail.final is None:
            _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        return first.result() if trail.final is None else trail.final

    async def _query_quorum(self, trail: _QueryState) -> Verification:
        """Ask several at once, others in place of those that fail, until enough agree."""
        route = trail.route
        coming = list(route.sources)
        running: set[asyncio.Task[SourceResult]] = set()
        while True:
            agreed = _quorum_verification(trail.answers, route.quorum_agree)
            if agreed is not None:
                return agreed
            while coming and len(running) + len(trail.answers) < route.quorum_ask:
                source = coming.pop(0)
                admission = await self._admit(trail, source, True)
                if admission in (Admission.YES, Admission.LAST_RESORT):
                    wait_s = self._time_share_s(trail, source)
                    running.add(self._start_query(trail, source, wait_s))
            if not running:
                break
            _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        if not trail.answers:
            raise self._no_answer(trail, _next_ready_s(route.sources))
        return _no_quorum_verification(trail.answers)

    def _start_query(
        self, trail: _QueryState, source: Source, wait_s: float
    ) -> asyncio.Task[SourceResult]:
        """A task that goes on when nobody waits for it any more, so that its source's circuit
        learns how it ended."""
        task = asyncio.create_task(self._query_source(trail, source, wait_s))
        trail.running[task] = (source, self._monotonic())
        self._background_queries.add(task)
        task.add_done_callback(self._background_queries.discard)
        return task

    def _malformed_verification(self, question: UpstreamQuery) -> Verification:
        return verification_from_evidence(
            question.address,
            offline_evidence(question.address),
            question.checks,
            verified_at=datetime.fromtimestamp(self._clock(), UTC),
        )

    def _no_answer(self, trail: _QueryState, soonest_s: float) -> NoAnswer:
        kinds = Counter(attempt.outcome for attempt in trail.attempts)
        said = ", ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items()))
        return NoAnswer(
            ProblemKind.UNAVAILABLE,
            detail=f"No source answered: {said or 'there is none to ask'}.",
            retry_after_s=max(1, round(soonest_s + 0.5)),
            attempts=tuple(trail.attempts),
            as_unknown=trail.route.as_unknown,
        )

    def _start_completion(
        self, route: SourceRoute, question: UpstreamQuery, deadline_s: float
    ) -> EvidenceCompletion | None:
        """What may be added to an answer of another than the engine."""
        local_first = route.sources[0].name == LOCAL_SOURCE
        if route.complete is Completion.NONE or (local_first and len(route.sources) == 1):
            return None
        look = route.complete is Completion.DNS and question.checks.dns
        additions = EvidenceCompletion(question.address, self._lookup if look else None, deadline_s)
        if not (local_first and route.strategy in IN_LISTED_ORDER):
            additions.start(frozenset.intersection(*[s.evidence_fields for s in route.sources]))
        return additions


@dataclass(slots=True)
class _QueryState:
    """One question on its way."""

    route: SourceRoute
    key: SpendingScope | None
    question: UpstreamQuery
    give_up_at: float
    attempts: list[Attempt] = field(default_factory=list)
    answers: list[Verification] = field(default_factory=list)
    final: Verification | None = None
    """The answer that is good enough."""
    running: dict[asyncio.Task[SourceResult], tuple[Source, float]] = field(default_factory=dict)
    """Those that were asked side by side, and since when."""

    def record_outrun(self, now: float) -> None:
        """Note who was asked, and will be paid, and is not waited for."""
        for task, (source, since) in self.running.items():
            if not task.done():
                latency_ms, cost = round((now - since) * 1000), source.price / MICROS_PER_UNIT
                self.attempts.append(Attempt(source.name, OUTRUN, latency_ms, cost))

    def record_skipped(self, source: Source, why: str) -> None:
        """Note that a source could not be asked; once."""
        attempt = Attempt(source.name, why, asked=False)
        if attempt not in self.attempts:
            self.attempts.append(attempt)


def _next_ready_s(sources: Sequence[Source]) -> float:
    """Until one of them may be asked; a client needs not wait longer to try again."""
    return min(min((source.ready_in_s for source in sources), default=0.0), MAX_RETRY_AFTER_S)


def _to_attempt(
    source: Source, finding: SourceResult | None, seconds: float, billed: bool
) -> Attempt:
    cost = source.price / MICROS_PER_UNIT if billed else 0.0
    latency_ms = round(seconds * 1000)
    if isinstance(finding, Verification):
        return Attempt(source.name, finding.verdict, latency_ms, cost)
    fault = finding or Fault(FaultKind.TIMED_OUT)
    return Attempt(source.name, fault.kind, latency_ms, cost, fault.status, fault.detail)


def _quorum_verification(answers: Sequence[Verification], wanted: int) -> Verification | None:
    """The first answer with the verdict that enough of them have; unknown is no vote."""
    votes = Counter(v.verdict for v in answers if v.verdict is not Verdict.UNKNOWN)
    for verdict, count in votes.most_common(1):
        if count >= wanted:
            return next(v for v in answers if v.verdict is verdict)
    return None


def _no_quorum_verification(answers: Sequence[Verification]) -> Verification:
    """What to say when too few agree: risky if they contradict each other, else unknown."""
    verdicts = {v.verdict for v in answers} - {Verdict.UNKNOWN}
    said = most_informative(answers)
    if len(verdicts) > 1:
        verdict, reason = Verdict.RISKY, Reason.LOW_QUALITY
    else:
        verdict = Verdict.UNKNOWN
        unknown = next((v for v in answers if v.verdict is Verdict.UNKNOWN), None)
        reason = unknown.reason if unknown else Reason.UNEXPECTED_ERROR
    return replace(
        said, verdict=verdict, reason=reason, score=score(verdict, reason, said.evidence)
    )
