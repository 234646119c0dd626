"""One shadow source: its queue, its limits and its budget.

Nothing waits for it. A question that finds its queue full, or that waited too long, is dropped and
counted, and so is one that the source cannot take now.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from adapters.contract.upstream import Fault, UpstreamQuery
from engine.model import Attempt, Verification
from engine.turns import FairQueue, Party, Turns, acting_for, current_party
from gateway.upstreams.routing.budgets import MICROS_PER_UNIT, Budgets, SpendingScope
from gateway.upstreams.routing.query import may_be_billed
from gateway.upstreams.source.circuit import Admission
from gateway.upstreams.source.source import Source
from gateway.upstreams.source.throttle import Throttle

log = logging.getLogger(__name__)

MAX_WAITING = 500
"""Questions that wait for one source; of these an account has its share (`engine.turns`)."""
MAX_IN_FLIGHT = 4
"""Requests to one source at a time."""
MAX_AGE_S = 60.0
"""A question that has waited longer is dropped: the two answers would be of different times."""
SHADOW_PARTY = "shadow"
"""Whom the requests are for, in the queues that they share with those of accounts."""
DROPPED_FULL = "dropped_full"
DROPPED_LATE = "dropped_late"
DROPPED_YIELDED = "dropped_yielded"
"""The upstream was busy with requests of clients."""
DROPPED_RESTING = "dropped_resting"
"""It is out of rotation."""
DROPPED_OVER_BUDGET = "dropped_over_budget"
DROPPED_FAILED = "dropped_failed"
"""A bug, which is in the log."""

RecordAnswer = Callable[[Verification, Verification], None]
"""Records what a client got, and what the shadow source said."""


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    given: Verification
    """What the client got."""
    party: Party
    at: float
    """By the monotonic clock."""


class ShadowSource:
    """A source that is asked beside the requests. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        source: Source,
        serving: Source | None,
        throttle: Throttle,
        budgets: Budgets,
        scopes: Sequence[SpendingScope],
        record: RecordAnswer,
        *,
        clock: Callable[[], float],
    ) -> None:
        """`source` has connections and a circuit of its own. `serving` is the same upstream as
        requests of clients use it, which come first; None if none does."""
        self.name = source.name
        self.outcomes = Counter[str]()
        """How many questions ended how: a verdict, a fault, or why it was dropped."""
        self.spent_micros = 0
        self._source = source
        self._serving = serving
        self._throttle = throttle
        self._budgets = budgets
        self._scopes = scopes
        self._record = record
        self._clock = clock
        self._waiting: FairQueue[_Question] = FairQueue()
        self._turns = Turns()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Questions in its queue."""
        return self._turns.total

    def offer(self, given: Verification) -> None:
        """Ask it later about the address of what a client got, unless its queue is full."""
        party = current_party()
        turns = self._turns
        if turns.total >= MAX_WAITING or turns.exceeds_share(party, MAX_WAITING):
            self.outcomes[DROPPED_FULL] += 1
            return
        turns.take(party)
        self._waiting.put(_Question(given, party, self._clock()), party)
        if len(self._tasks) < MAX_IN_FLIGHT:
            with acting_for(SHADOW_PARTY):
                task = asyncio.create_task(self._ask_all())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Drop what waits, and end what is in flight."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask_all(self) -> None:
        while self._waiting:
            question = self._waiting.pop()
            self._turns.give_back(question.party)
            try:
                outcome = await self._ask(question)
            except Exception:
                log.exception("shadow.failed", extra={"source": self.name})
                outcome = DROPPED_FAILED
            self.outcomes[outcome] += 1

    async def _ask(self, question: _Question) -> str:
        source = self._source
        if self._clock() - question.at > MAX_AGE_S:
            return DROPPED_LATE
        async with self._throttle.slot(MAX_AGE_S) as slot:
            if slot is None or self._clock() - question.at > MAX_AGE_S:
                return DROPPED_LATE
            if source.unusable_fault:
                return DROPPED_RESTING
            if self._serving is not None and self._serving.busy:
                return DROPPED_YIELDED
            async with self._budgets.reserved(self._scopes, source.price) as reservation:
                if reservation is None:
                    return DROPPED_OVER_BUDGET
                if source.admit() is not Admission.YES:
                    return DROPPED_RESTING
                given = question.given
                began = self._clock()
                reservation.is_billed = True
                result = await source.try_verify(
                    UpstreamQuery(given.address, given.checks, False, source.timeout_s)
                )
                reservation.is_billed = may_be_billed(source, result)
                micros = source.price if reservation.is_billed else 0
        self.spent_micros += micros
        if isinstance(result, Fault):
            return result.kind.value
        latency_ms = round((self._clock() - began) * 1000)
        attempt = Attempt(source.name, result.verdict, latency_ms, micros / MICROS_PER_UNIT)
        self._record(given, replace(result, attempts=(attempt,)))
        return result.verdict.value
