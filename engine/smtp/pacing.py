"""How many connections a mail host's operator gets from us, and how soon the next one may come.

A limit per operator rather than a global one: a thousand domains may share one provider. After
a complaint about speed the limit is halved and connections are spaced out, twice as far after
each further complaint; every success in turn eases it (additive increase, multiplicative
decrease, RFC 5681's idea).
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
MAX_SPACING_S = 60.0
REJECTIONS_UNTIL_SKIPPED, REJECTIONS_UNTIL_SKIPPED_IF_SERVED = 3, 6
"""Attempts that came to nothing, each after a pause for the one before; the latter where we were
let in before, so that what is over in a minute costs a list nothing."""
MAX_PACED_OPERATORS = 10_000
"""Operators remembered at a time; the quiet ones are forgotten first."""


@dataclass(slots=True)
class _OperatorSlots:
    limit: float
    active: int = 0
    spacing_s: float = 0.0
    not_before: float = 0.0
    has_served: bool = False
    """Whether any conversation went well."""
    rejections: int = 0
    """Attempts in a row."""
    rejection_counted_until: float = 0.0
    single_queue: deque[asyncio.Future[None]] = field(default_factory=deque)
    bulk_single_queue: deque[asyncio.Future[None]] = field(default_factory=deque)
    pool_queue: deque[asyncio.Future[None]] = field(default_factory=deque)

    @property
    def queues(self) -> tuple[deque[asyncio.Future[None]], ...]:
        """Whoever waits, in the order of their turn."""
        return self.single_queue, self.bulk_single_queue, self.pool_queue


class Pacer:
    """Hands out slots for connections, `connections_per_host` at a time for each operator."""

    def __init__(self, connections_per_host: int, clock: Callable[[], float]) -> None:
        self._max_connections = max(1, connections_per_host)
        self._clock = clock
        self._operators: dict[str, _OperatorSlots] = {}

    def __len__(self) -> int:
        """Operators remembered."""
        return len(self._operators)

    def active_connections(self, operator: str) -> int:
        """Slots of `operator` taken now."""
        gate = self._operators.get(operator)
        return 0 if gate is None else gate.active

    def wait_s(self, operator: str) -> float:
        """Seconds until `operator` may be called on again after a complaint; 0 if at once."""
        gate = self._operators.get(operator)
        return 0.0 if gate is None else max(0.0, gate.not_before - self._clock())

    def is_backing_off(self, operator: str) -> bool:
        """Whether `operator` may not be called on yet, and who can should go elsewhere.

        That is after an attempt that was turned away; after other complaints only where the
        wait is a long one, since the first host of a domain is the one that knows most.
        """
        gate = self._operators.get(operator)
        wait_s = self.wait_s(operator)
        return gate is not None and wait_s > (0.0 if gate.rejections else FIRST_SPACING_S)

    def is_skipped(self, operator: str) -> bool:
        """Whether `operator` turned us away again and again, and may not be called on yet."""
        gate = self._operators.get(operator)
        if gate is None or gate.not_before <= self._clock():
            return False
        enough = REJECTIONS_UNTIL_SKIPPED_IF_SERVED if gate.has_served else REJECTIONS_UNTIL_SKIPPED
        return gate.rejections >= enough

    def has_priority_waiters(self, operator: str) -> bool:
        """Whether somebody who is not patient waits for a slot of `operator`."""
        gate = self._operators.get(operator)
        return gate is not None and bool(gate.single_queue or gate.bulk_single_queue)

    @asynccontextmanager
    async def slot(
        self,
        operator: str,
        *,
        bulk: bool = False,
        pooled: bool = False,
        has_alternative: bool = False,
    ) -> AsyncIterator[None]:
        """A place for one connection; waits for its turn, as long as the caller lets it.

        TimeoutError, without a wait for that, if the caller can go `elsewhere` and the operator
        turns us away just now.

        Whoever asks about a single address for somebody who waits comes first, then who asks
        about a `listed` one. The patient, who keep their place for many addresses, get it when
        nobody else waits, and should look at `wanted` meanwhile.
        """
        gate = self._slots_of(operator)
        await self._acquire(gate, 2 if pooled else int(bulk))
        try:
            if has_alternative and self.is_backing_off(operator):
                raise TimeoutError
            pause_s = gate.not_before - self._clock()
            if gate.spacing_s:
                gate.not_before = max(gate.not_before, self._clock()) + gate.spacing_s
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            yield
        finally:
            gate.active -= 1
            self._grant_slots(gate)

    def record_throttling(
        self, operator: str, retry_after_s: float | None = None, stage: Stage = Stage.RCPT
    ) -> None:
        """The operator said at `stage` that we are too fast: halve, and space out."""
        gate = self._slots_of(operator)
        gate.limit = max(1.0, gate.limit / 2)
        now = self._clock()
        if stage in CONNECTION_STAGES and now < gate.rejection_counted_until:
            return  # several came at the same time: that is one attempt
        gate.spacing_s = min(MAX_SPACING_S, max(FIRST_SPACING_S, gate.spacing_s * 2))
        pause_s = min(MAX_SPACING_S, retry_after_s or gate.spacing_s)
        gate.not_before = max(gate.not_before, now + pause_s)
        if stage in CONNECTION_STAGES:
            gate.rejections += 1
            gate.rejection_counted_until = now + pause_s / 2  # timers may go off a little early
        else:
            gate.rejections = 0

    def record_success(self, operator: str) -> None:
        """A conversation without complaint: a little more room, until all is as before."""
        gate = self._operators.get(operator)
        if gate is None:
            return
        gate.has_served, gate.rejections = True, 0
        gate.limit = min(self._max_connections, gate.limit + 1 / max(1.0, gate.limit))
        gate.spacing_s = 0.0 if gate.spacing_s <= FIRST_SPACING_S else gate.spacing_s / 2
        self._grant_slots(gate)

    def _slots_of(self, operator: str) -> _OperatorSlots:
        gate = self._operators.get(operator)
        if gate is None:
            if len(self._operators) >= MAX_PACED_OPERATORS:
                self._evict_idle()
            gate = self._operators[operator] = _OperatorSlots(float(self._max_connections))
        return gate

    def _evict_idle(self) -> None:
        now = self._clock()
        for operator, gate in list(self._operators.items()):
            quiet = not gate.active and not any(gate.queues)
            if quiet and gate.not_before <= now:
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
                # The place was given just as we stopped wanting it.
                slots.active -= 1
            elif turn in queue:  # else another who left has dropped it already
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
