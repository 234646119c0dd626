"""How many connections a mail host's operator gets from us, and how soon the next one may come.

Limits are kept per operator rather than for all hosts together, since a thousand domains may share
one provider. After a reply that complains about our rate the limit is halved and connections are
spaced out, twice as far after each further complaint; each success relaxes both (additive
increase, multiplicative decrease, as in RFC 5681).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from engine.model import Stage
from engine.smtp.terms import CONNECTION_STAGES

FIRST_SPACING_S = 1.0
"""Time between two connections after the first complaint; it doubles with each further one."""
MAX_SPACING_S = 60.0
REJECTIONS_UNTIL_SKIPPED = 3
"""Consecutive connections rejected before MAIL, each after its back-off; then bulk work skips the
operator."""
REJECTIONS_UNTIL_SKIPPED_IF_SERVED = 6
"""The same for an operator that has served us: a one-minute outage must not fail a batch."""
MAX_PACED_OPERATORS = 10_000
"""Operators kept at a time; those with no connection, no waiter and no back-off are evicted."""


@dataclass(slots=True)
class _OperatorSlots:
    """One operator's connections, and who waits for one."""

    limit: float
    """Connections at a time; fractions add up over several successes."""
    active: int = 0
    spacing_s: float = 0.0
    not_before: float = 0.0
    """On the pacer's clock; no connection is made earlier."""
    has_served: bool = False
    """Whether any conversation went well."""
    rejections: int = 0
    """Consecutive rejections before MAIL."""
    rejection_counted_until: float = 0.0
    """On the pacer's clock; rejections before then belong to the attempt counted last."""
    single_queue: deque[asyncio.Future[None]] = field(default_factory=deque)
    bulk_single_queue: deque[asyncio.Future[None]] = field(default_factory=deque)
    pool_queue: deque[asyncio.Future[None]] = field(default_factory=deque)

    @property
    def queues(self) -> tuple[deque[asyncio.Future[None]], ...]:
        """The waiters, highest priority first."""
        return self.single_queue, self.bulk_single_queue, self.pool_queue


class Pacer:
    """Grants connection slots, at most `connections_per_host` at a time to each operator."""

    def __init__(self, connections_per_host: int, clock: Callable[[], float]) -> None:
        self._max_connections = max(1, connections_per_host)
        self._clock = clock
        self._operators: dict[str, _OperatorSlots] = {}

    def __len__(self) -> int:
        """Operators kept."""
        return len(self._operators)

    def active_connections(self, operator: str) -> int:
        """Slots of `operator` that are taken now."""
        slots = self._operators.get(operator)
        return 0 if slots is None else slots.active

    def wait_s(self, operator: str) -> float:
        """Seconds until `operator` may be connected to after a complaint; 0 if now."""
        slots = self._operators.get(operator)
        return 0.0 if slots is None else max(0.0, slots.not_before - self._clock())

    def is_backing_off(self, operator: str) -> bool:
        """Whether callers that can use another operator should do so for now.

        They should while a rejected connection's back-off runs. After other complaints they
        should only where the wait is long, since the first host of a domain knows most about it.
        """
        slots = self._operators.get(operator)
        wait_s = self.wait_s(operator)
        return slots is not None and wait_s > (0.0 if slots.rejections else FIRST_SPACING_S)

    def is_skipped(self, operator: str) -> bool:
        """Whether `operator` rejected so many connections that bulk work skips it.

        It is tried again when the back-off of the last rejection is over.
        """
        slots = self._operators.get(operator)
        if slots is None or slots.not_before <= self._clock():
            return False
        enough = (
            REJECTIONS_UNTIL_SKIPPED_IF_SERVED if slots.has_served else REJECTIONS_UNTIL_SKIPPED
        )
        return slots.rejections >= enough

    def has_priority_waiters(self, operator: str) -> bool:
        """Whether a probe of a single address waits for a slot of `operator`."""
        slots = self._operators.get(operator)
        return slots is not None and bool(slots.single_queue or slots.bulk_single_queue)

    @asynccontextmanager
    async def slot(
        self,
        operator: str,
        *,
        bulk: bool = False,
        pooled: bool = False,
        has_alternative: bool = False,
    ) -> AsyncIterator[None]:
        """A slot for one connection; waits for it until the caller cancels.

        Single verifications take priority over the single probes of a batch (`bulk`), and those
        over the kept connections of a host pool (`pooled`), which should give their slot back
        when `has_priority_waiters`. Raises TimeoutError at once where the operator is backing off
        and the caller `has_alternative`.
        """
        slots = self._slots_of(operator)
        await self._acquire(slots, 2 if pooled else int(bulk))
        try:
            if has_alternative and self.is_backing_off(operator):
                raise TimeoutError
            pause_s = slots.not_before - self._clock()
            if slots.spacing_s:
                slots.not_before = max(slots.not_before, self._clock()) + slots.spacing_s
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            yield
        finally:
            slots.active -= 1
            self._grant_slots(slots)

    def record_throttling(
        self, operator: str, retry_after_s: float | None = None, stage: Stage = Stage.RCPT
    ) -> None:
        """The operator complained about our rate at `stage`: halve the limit and space out."""
        slots = self._slots_of(operator)
        slots.limit = max(1.0, slots.limit / 2)
        now = self._clock()
        if stage in CONNECTION_STAGES and now < slots.rejection_counted_until:
            return  # connections opened at the same time count as one attempt
        slots.spacing_s = min(MAX_SPACING_S, max(FIRST_SPACING_S, slots.spacing_s * 2))
        pause_s = min(MAX_SPACING_S, retry_after_s or slots.spacing_s)
        slots.not_before = max(slots.not_before, now + pause_s)
        if stage in CONNECTION_STAGES:
            slots.rejections += 1
            slots.rejection_counted_until = now + pause_s / 2  # timers may fire a little early
        else:
            slots.rejections = 0

    def record_success(self, operator: str) -> None:
        """A conversation without a complaint: raise the limit and reduce the spacing."""
        slots = self._operators.get(operator)
        if slots is None:
            return
        slots.has_served, slots.rejections = True, 0
        slots.limit = min(self._max_connections, slots.limit + 1 / max(1.0, slots.limit))
        slots.spacing_s = 0.0 if slots.spacing_s <= FIRST_SPACING_S else slots.spacing_s / 2
        self._grant_slots(slots)

    def _slots_of(self, operator: str) -> _OperatorSlots:
        slots = self._operators.get(operator)
        if slots is None:
            if len(self._operators) >= MAX_PACED_OPERATORS:
                self._evict_idle()
            slots = self._operators[operator] = _OperatorSlots(float(self._max_connections))
        return slots

    def _evict_idle(self) -> None:
        now = self._clock()
        for operator, slots in list(self._operators.items()):
            idle = not slots.active and not any(slots.queues)
            if idle and slots.not_before <= now:
                del self._operators[operator]

    async def _acquire(self, slots: _OperatorSlots, rank: int) -> None:
        if slots.active < int(slots.limit) and not any(slots.queues[: rank + 1]):
            slots.active += 1
            return
        queue = slots.queues[rank]
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The slot was granted just as the waiter was cancelled.
                slots.active -= 1
            elif turn in queue:  # else `_grant_slots` has removed it already
                queue.remove(turn)
            self._grant_slots(slots)
            raise

    @staticmethod
    def _grant_slots(slots: _OperatorSlots) -> None:
        while slots.active < int(slots.limit) and (queue := next(filter(None, slots.queues), None)):
            turn = queue.popleft()
            if not turn.done():
                slots.active += 1
                turn.set_result(None)
