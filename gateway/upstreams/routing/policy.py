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
from adapters.contract.upstream import Fault, FaultKind, Question
from engine.address.known import known
from engine.address.syntax import parse
from engine.model import (
    Attempt,
    Checks,
    Reason,
    Verdict,
    Verification,
)
from engine.score import score
from gateway.accounts.caller import Caller
from gateway.errors import NoAnswer
from gateway.settings import LOCAL_SOURCE, Completion, Strategy
from gateway.store import StoreError
from gateway.upstreams.routing.budgets import MICRO, UNCAPPED, Budgets, Cap, Scope
from gateway.upstreams.routing.completion import Additions
from gateway.upstreams.routing.strategies import ORDERS, best, good_enough
from gateway.upstreams.source.circuit import Admission
from gateway.upstreams.source.source import (
    PERHAPS_BILLED,
    SAFE_TO_REPEAT,
    Finding,
    Source,
)
from gateway.verdicts.verifier import Verifier

log = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""How long a request waits altogether for sources that have to rest."""
FIRST_BACKOFF_S = 0.1
"""Before a source that could not be reached is asked again; doubles each time."""
MOST_RETRY_AFTER_S = 300.0
"""What a client is told at most, however long all sources rest: an operator may mend it."""
LEAST_S = 0.05
"""With less time left nobody is asked any more."""
OUTRUN = "outrun"
"""The outcome, in an answer, of a source that another was quicker than."""
AS_LISTED = frozenset({Strategy.FAILOVER, Strategy.WATERFALL})
"""Strategies that ask an engine that is listed first before anybody else: what it sees then needs
no looking up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How the questions of some keys are answered."""

    name: str = ""
    strategy: Strategy = Strategy.FAILOVER
    sources: tuple[Source, ...]
    deadline_s: float = 30.0
    as_unknown: bool = False
    complete: Completion = Completion.LISTS
    quorum_ask: int = 3
    quorum_agree: int = 2
    hedge: bool = False
    hedge_percentile: float = 95.0
    key_cap: Cap = UNCAPPED


Note = Callable[[Attempt], None]
"""Counts an attempt."""


class Policy:
    """All routes. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        default: Route,
        routes: Mapping[str, Route],
        budgets: Budgets,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        caps: Mapping[str, Cap] | None = None,
        lookup: Verifier | None = None,
        note: Note = lambda _: None,
    ) -> None:
        """`routes` by key label, `caps` by source; `lookup` looks addresses up in DNS."""
        self._default = default
        self._routes = routes
        self._budgets = budgets
        self._clock = clock
        self._rng = rng
        self._scopes = {name: Scope(f"source:{name}", cap) for name, cap in (caps or {}).items()}
        self._lookup = lookup
        self._note = note
        self._outrun: set[asyncio.Task[Any]] = set()

    async def aclose(self) -> None:
        """Give up what still runs behind answers that were given."""
        for task in tuple(self._outrun):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

    def asking(self, caller: Caller | None, refresh: bool) -> Asking:
        """The verifier for one caller's question."""
        if caller is None:
            return Asking(self, self._default, None, refresh)
        route, key = self.route_of(caller.key_id, caller.key_label)
        return Asking(self, route, key, refresh)

    def route_of(self, key_id: int, key_label: str) -> tuple[Route, Scope | None]:
        """How a key's questions are answered, and what it may spend."""
        route = self._routes.get(key_label, self._default)
        return route, Scope(f"key:{key_id}", route.key_cap) if route.key_cap else None

    def paying(self, source: str, key: Scope | None) -> tuple[Scope, ...]:
        """Who pays for what a source is asked."""
        own = self._scopes.get(source) or Scope(f"source:{source}")
        return (own,) if key is None else (own, key)

    def note(self, attempt: Attempt) -> None:
        """Count an attempt that was made elsewhere."""
        self._note(attempt)

    async def verify(
        self, text: str, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        """For nobody in particular. Raises NoAnswer."""
        return await self.asking(None, refresh=False).verify(text, checks, deadline_s)

    # -- one question --------------------------------------------------------------------

    async def find_out(
        self, route: Route, key: Scope | None, question: Question, deadline_s: float
    ) -> Verification:
        """An answer with its attempts. Raises NoAnswer."""
        if not question.address.valid:
            # no upstream needs to be asked, let alone paid, to see that
            local = tuple(source for source in route.sources if source.name == LOCAL_SOURCE)
            if not local:
                return _malformed(question)
            route = replace(route, sources=local)
        trail = _Trail(route, key, question, self._clock() + deadline_s)
        additions = self._additions(route, question, deadline_s)
        try:
            if route.strategy is Strategy.QUORUM:
                answer = await self._quorum(trail)
            else:
                answer = await self._walk(trail)
            evidence = answer.evidence
            if additions is not None and answer.source != LOCAL_SOURCE:
                tells = next(s.tells for s in route.sources if s.name == answer.source)
                own = None
                if len(trail.answers) > 1:
                    own = next(
                        (v.evidence for v in trail.answers if v.source == LOCAL_SOURCE), None
                    )
                left_s = trail.give_up_at - self._clock()
                evidence = await additions.to(answer, tells, own, left_s)
        finally:
            if additions is not None:
                additions.end()
        if trail.running:
            trail.note_outrun(self._clock())
        return replace(answer, evidence=evidence, attempts=tuple(trail.attempts))

    async def _walk(self, trail: _Trail) -> Verification:
        """One source after the other."""
        waiting = ORDERS[trail.route.strategy](trail.route.sources, self._rng)
        patience_s, backoff_s = PATIENCE_S, FIRST_BACKOFF_S
        while True:
            again = await self._round(trail, waiting)
            if trail.good is not None and trail.good.verdict is not Verdict.UNKNOWN:
                return trail.good
            if trail.answers:
                # an unknown that is believed says no more than those before it
                return best(trail.answers)
            waiting = [source for source in waiting if source in again and not source.out_of_use]
            left_s = trail.give_up_at - self._clock()
            soonest_s = _soonest_s(waiting or trail.route.sources)
            pause_s = max(soonest_s, backoff_s) * self._rng.uniform(1.0, 1.3)
            if not waiting or pause_s > min(patience_s, left_s - LEAST_S):
                raise self._no_answer(trail, soonest_s)
            await asyncio.sleep(pause_s)
            patience_s -= pause_s
            backoff_s *= 2

    async def _round(self, trail: _Trail, order: Sequence[Source]) -> set[Source]:
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
            wait_s = self._wait_s(trail, source, (*coming, *held))
            if wait_s < LEAST_S:
                again.add(source)
                break
            admission = await self._admission(trail, source, last_resort)
            if admission is None:
                continue
            if admission is Admission.NO:
                again.add(source)
                continue
            if admission is Admission.RATHER_NOT and not last_resort:
                held.append(source)
                continue
            if trail.route.hedge:
                finding = await self._hedged(trail, source, wait_s, coming)
            else:
                finding = await self._ask(trail, source, wait_s)
            if isinstance(finding, Verification):
                if trail.good is not None:
                    break
            elif finding.kind in SAFE_TO_REPEAT:
                again.add(source)
        return again

    async def _admission(
        self, trail: _Trail, source: Source, last_resort: bool
    ) -> Admission | None:
        """Whether it may be asked; then its price is reserved. None: not in this request."""
        if source.ready_in_s > 0 or source.out_of_use:
            trail.skip(source, source.out_of_use or "resting")
            return Admission.NO
        if not await self._reserve(trail, source):
            trail.skip(source, "over_budget")
            return None
        admission = source.admit()
        if admission is Admission.NO or (admission is Admission.RATHER_NOT and not last_resort):
            self._budgets.give_back(self.paying(source.name, trail.key), source.price)
            if admission is Admission.NO:
                trail.skip(source, "resting")
        return admission

    async def _reserve(self, trail: _Trail, source: Source) -> bool:
        if source.price <= 0:
            return True
        try:
            return await self._budgets.reserve(self.paying(source.name, trail.key), source.price)
        except StoreError as exc:
            # what may be beyond the limit is not spent
            log.warning("budget not known", extra={"source": source.name, "why": str(exc)})
            return False

    def _left_alone(self, trail: _Trail, source: Source) -> None:
        self._budgets.give_back(self.paying(source.name, trail.key), source.price)

    def _wait_s(self, trail: _Trail, source: Source, others: Sequence[Source] = ()) -> float:
        """Its own limit, and no more than its part of what is left, of those that can answer."""
        left_s = trail.give_up_at - self._clock()
        parts = 1 + sum(other.ready_in_s <= 0 for other in others)
        return min(source.timeout_s, left_s / parts)

    async def _ask(self, trail: _Trail, source: Source, wait_s: float) -> Finding:
        """Ask a source that was admitted and paid for, and take note of what comes."""
        began = self._clock()
        finding: Finding | None = None
        try:
            finding = await source.ask(replace(trail.question, wait_s=wait_s))
        finally:
            billed = finding is None or (
                isinstance(finding, Verification) or finding.kind in PERHAPS_BILLED
            )
            if not billed:
                self._left_alone(trail, source)
        attempt = _attempt(source, finding, self._clock() - began, billed)
        trail.attempts.append(attempt)
        self._note(attempt)
        if isinstance(finding, Verification):
            trail.answers.append(finding)
            if trail.good is None and good_enough(trail.route.strategy, source, finding):
                trail.good = finding
        return finding

    async def _hedged(
        self, trail: _Trail, source: Source, wait_s: float, coming: list[Source]
    ) -> Finding:
        """Ask, and the next one too if this one is slower than it mostly is."""
        usual_s = source.latency.percentile_s(trail.route.hedge_percentile)
        if usual_s is None or not coming:
            return await self._ask(trail, source, wait_s)
        first = self._start(trail, source, wait_s)
        done, _ = await asyncio.wait({first}, timeout=usual_s)
        if done:
            return first.result()
        second_source = next((s for s in coming if not s.busy and s.ready_in_s <= 0), None)
        admission = second_source and await self._admission(trail, second_source, False)
        if second_source is None or admission is not Admission.YES:
            return await asyncio.shield(first)
        coming.remove(second_source)
        wait_s = self._wait_s(trail, second_source, coming)
        running = {first, self._start(trail, second_source, wait_s)}
        while running and trail.good is None:
            _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        return first.result() if trail.good is None else trail.good

    async def _quorum(self, trail: _Trail) -> Verification:
        """Ask several at once, others in place of those that fail, until enough agree."""
        route = trail.route
        coming = list(route.sources)
        running: set[asyncio.Task[Finding]] = set()
        while True:
            agreed = _agreed(trail.answers, route.quorum_agree)
            if agreed is not None:
                return agreed
            while coming and len(running) + len(trail.answers) < route.quorum_ask:
                source = coming.pop(0)
                admission = await self._admission(trail, source, True)
                if admission in (Admission.YES, Admission.RATHER_NOT):
                    wait_s = self._wait_s(trail, source)
                    running.add(self._start(trail, source, wait_s))
            if not running:
                break
            _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        if not trail.answers:
            raise self._no_answer(trail, _soonest_s(route.sources))
        return _disagreement(trail.answers)

    def _start(self, trail: _Trail, source: Source, wait_s: float) -> asyncio.Task[Finding]:
        """A task that goes on when nobody waits for it any more, so that its source's circuit
        learns how it ended."""
        task = asyncio.create_task(self._ask(trail, source, wait_s))
        trail.running[task] = (source, self._clock())
        self._outrun.add(task)
        task.add_done_callback(self._outrun.discard)
        return task

    def _no_answer(self, trail: _Trail, soonest_s: float) -> NoAnswer:
        kinds = Counter(attempt.outcome for attempt in trail.attempts)
        said = ", ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items()))
        return NoAnswer(
            ProblemKind.UNAVAILABLE,
            detail=f"No source answered: {said or 'there is none to ask'}.",
            retry_after_s=max(1, round(soonest_s + 0.5)),
            attempts=tuple(trail.attempts),
            as_unknown=trail.route.as_unknown,
            address=trail.question.address,
            checks=trail.question.checks,
        )

    def _additions(self, route: Route, question: Question, deadline_s: float) -> Additions | None:
        """What may be added to an answer of another than the engine."""
        local_first = route.sources[0].name == LOCAL_SOURCE
        if route.complete is Completion.NONE or (local_first and len(route.sources) == 1):
            return None
        look = route.complete is Completion.DNS and question.checks.dns
        additions = Additions(question.address, self._lookup if look else None, deadline_s)
        if not (local_first and route.strategy in AS_LISTED):
            additions.begin(frozenset.intersection(*[s.tells for s in route.sources]))
        return additions


@dataclass(frozen=True, slots=True)
class Asking:
    """One caller's question: a `Verifier`."""

    policy: Policy
    route: Route
    key: Scope | None
    refresh: bool

    @property
    def shares(self) -> str:
        """Whose answers may serve this question: those of the same route."""
        return self.route.name

    async def verify(
        self, text: str, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        """Raises NoAnswer."""
        deadline_s = self.route.deadline_s if deadline_s is None else deadline_s
        question = Question(parse(text), checks, self.refresh, deadline_s)
        return await self.policy.find_out(self.route, self.key, question, deadline_s)


@dataclass(slots=True)
class _Trail:
    """One question on its way."""

    route: Route
    key: Scope | None
    question: Question
    give_up_at: float
    attempts: list[Attempt] = field(default_factory=list)
    answers: list[Verification] = field(default_factory=list)
    good: Verification | None = None
    """The answer that is good enough."""
    running: dict[asyncio.Task[Finding], tuple[Source, float]] = field(default_factory=dict)
    """Those that were asked side by side, and since when."""

    def note_outrun(self, now: float) -> None:
        """Note who was asked, and will be paid, and is not waited for."""
        for task, (source, since) in self.running.items():
            if not task.done():
                latency_ms, cost = round((now - since) * 1000), source.price / MICRO
                self.attempts.append(Attempt(source.name, OUTRUN, latency_ms, cost))

    def skip(self, source: Source, why: str) -> None:
        """Note that a source could not be asked; once."""
        attempt = Attempt(source.name, why, asked=False)
        if attempt not in self.attempts:
            self.attempts.append(attempt)


def _soonest_s(sources: Sequence[Source]) -> float:
    """Until one of them may be asked; a client needs not wait longer to try again."""
    return min(min((source.ready_in_s for source in sources), default=0.0), MOST_RETRY_AFTER_S)


def _attempt(source: Source, finding: Finding | None, seconds: float, billed: bool) -> Attempt:
    cost = source.price / MICRO if billed else 0.0
    latency_ms = round(seconds * 1000)
    if isinstance(finding, Verification):
        return Attempt(source.name, finding.verdict, latency_ms, cost)
    fault = finding or Fault(FaultKind.TIMED_OUT)
    return Attempt(source.name, fault.kind, latency_ms, cost, fault.status, fault.detail)


def _agreed(answers: Sequence[Verification], wanted: int) -> Verification | None:
    """The first answer with the verdict that enough of them have; unknown is no vote."""
    votes = Counter(v.verdict for v in answers if v.verdict is not Verdict.UNKNOWN)
    for verdict, count in votes.most_common(1):
        if count >= wanted:
            return next(v for v in answers if v.verdict is verdict)
    return None


def _disagreement(answers: Sequence[Verification]) -> Verification:
    """What to say when too few agree: risky if they contradict each other, else unknown."""
    verdicts = {v.verdict for v in answers} - {Verdict.UNKNOWN}
    said = best(answers)
    if len(verdicts) > 1:
        verdict, reason = Verdict.RISKY, Reason.LOW_QUALITY
    else:
        verdict = Verdict.UNKNOWN
        unknown = next((v for v in answers if v.verdict is Verdict.UNKNOWN), None)
        reason = unknown.reason if unknown else Reason.UNEXPECTED_ERROR
    return replace(
        said, verdict=verdict, reason=reason, score=score(verdict, reason, said.evidence)
    )


def _malformed(question: Question) -> Verification:
    evidence = known(question.address)
    verdict, reason = Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL
    return Verification(
        address=question.address,
        verdict=verdict,
        reason=reason,
        score=score(verdict, reason, evidence),
        evidence=evidence,
        checks=question.checks,
        verified_at=datetime.now(UTC),
    )
