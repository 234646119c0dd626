"""How many connections a mail host's operator gets from us, and how soon the next one may come.

Limits are kept per operator rather than for all hosts together, since a thousand domains may share
one provider. After a reply that complains about our rate the limit is halved and connections are
spaced out, twice as far after each further complaint; each success relaxes both (additive
increase, multiplicative decrease, as in RFC 5681). The parties of `engine.turns` take turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from engine.model import Stage
from engine.sharing import NO_PACES, NO_PLACES, Paces, Places
from engine.smtp.terms import CONNECTION_STAGES
from engine.turns import FairSlots, Party

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

SINGLE_RANK, BULK_SINGLE_RANK, POOLED_RANK = range(3)
"""The ranks of those who wait for a slot, highest priority first."""


@dataclass(slots=True)
class _OperatorSlots:
    """One operator's connections, and who waits for one."""

    limit: float
    """Connections at a time; fractions add up over several successes."""
    slots: FairSlots
    allowed: int
    """Of the limit, what this process may use now."""
    spacing_s: float = 0.0
    not_before: float = 0.0
    """On the pacer's clock; no connection is made earlier."""
    has_served: bool = False
    """Whether any conversation went well."""
    rejections: int = 0
    """Consecutive rejections before MAIL."""
    rejection_counted_until: float = 0.0
    """On the pacer's clock; rejections before then belong to the attempt counted last."""

    def allow(self, connections: int) -> None:
        """Bound the connections of this process."""
        if connections != self.allowed:
            self.allowed = connections
            self.slots.resize(connections)


class Pacer:
    """Grants connection slots, at most `connections_per_host` at a time to each operator.

    Those of other processes count as well, and so do complaints about their rate.
    """

    def __init__(
        self,
        connections_per_host: int,
        clock: Callable[[], float],
        *,
        places: Places = NO_PLACES,
        paces: Paces = NO_PACES,
    ) -> None:
        self._max_connections = max(1, connections_per_host)
        self._clock = clock
        self._places = places
        self._paces = paces
        self._operators: dict[str, _OperatorSlots] = {}

    def __len__(self) -> int:
        """Operators kept."""
        return len(self._operators)

    def active_connections(self, operator: str) -> int:
        """Slots of `operator` that are taken now."""
        slots = self._operators.get(operator)
        return 0 if slots is None else slots.slots.active

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

    def should_give_back(self, operator: str, party: Party) -> bool:
        """Whether a host pool should give the slot back that it has for `party`: a single probe, or
        a party with fewer connections, waits for one."""
        slots = self._operators.get(operator)
        return slots is not None and slots.slots.is_due_to_another(party, rank=POOLED_RANK)

    @asynccontextmanager
    async def slot(
        self,
        operator: str,
        *,
        bulk: bool = False,
        pooled: bool = False,
        party: Party | None = None,
        has_alternative: bool = False,
    ) -> AsyncIterator[None]:
        """A slot for one connection; waits for it until the caller cancels.

        The party with the fewest connections goes first (the current one, if none is given). Of
        one party, single verifications take priority over the single probes of a batch (`bulk`),
        and those over the kept connections of a host pool (`pooled`), which should give their slot
        back when `should_give_back` says so. Raises TimeoutError at once where the operator is
        backing off and the caller `has_alternative`.
        """
        slots = self._slots_of(operator)
        rank = POOLED_RANK if pooled else BULK_SINGLE_RANK if bulk else SINGLE_RANK
        slots.allow(self._places.share(int(slots.limit)))
        async with slots.slots.slot(party, rank=rank):
            place = await self._places.take(operator, int(slots.limit))
            try:
                await self._wait_for_turn(operator, slots, has_alternative=has_alternative)
                yield
            finally:
                self._places.give_back(operator, place)

    async def _wait_for_turn(
        self, operator: str, slots: _OperatorSlots, *, has_alternative: bool
    ) -> None:
        """Wait until a connection may be made, after those of this process and of others."""
        if has_alternative and self.is_backing_off(operator):
            raise TimeoutError
        pause_s = slots.not_before - self._clock()
        if slots.spacing_s:
            spacing_s = self._paces.share(slots.spacing_s)
            slots.not_before = max(slots.not_before, self._clock()) + spacing_s
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        while (pause_s := await self._paces.wait_s(operator, slots.spacing_s)) > 0:
            slots.not_before = max(slots.not_before, self._clock() + pause_s)
            if has_alternative and self.is_backing_off(operator):
                raise TimeoutError
            await asyncio.sleep(pause_s)

    def record_throttling(
        self, operator: str, retry_after_s: float | None = None, stage: Stage = Stage.RCPT
    ) -> None:
        """The operator complained about our rate at `stage`: halve the limit and space out."""
        slots = self._slots_of(operator)
        self._set_limit(slots, max(1.0, slots.limit / 2))
        now = self._clock()
        if stage in CONNECTION_STAGES and now < slots.rejection_counted_until:
            return  # connections opened at the same time count as one attempt
        slots.spacing_s = min(MAX_SPACING_S, max(FIRST_SPACING_S, slots.spacing_s * 2))
        pause_s = min(MAX_SPACING_S, retry_after_s or slots.spacing_s)
        slots.not_before = max(slots.not_before, now + pause_s)
        self._paces.delay(operator, pause_s)
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
        slots.spacing_s = 0.0 if slots.spacing_s <= FIRST_SPACING_S else slots.spacing_s / 2
        limit = min(self._max_connections, slots.limit + 1 / max(1.0, slots.limit))
        self._set_limit(slots, limit)

    def _set_limit(self, slots: _OperatorSlots, limit: float) -> None:
        slots.limit = limit
        slots.allow(self._places.share(int(limit)))

    def _slots_of(self, operator: str) -> _OperatorSlots:
        slots = self._operators.get(operator)
        if slots is None:
            if len(self._operators) >= MAX_PACED_OPERATORS:
                self._evict_idle()
            limit = self._max_connections
            slots = _OperatorSlots(limit, FairSlots(limit, is_strict=True), allowed=limit)
            self._operators[operator] = slots
        return slots

    def _evict_idle(self) -> None:
        now = self._clock()
        for operator, slots in list(self._operators.items()):
            idle = not slots.slots.active and not slots.slots.has_waiters
            if idle and slots.not_before <= now:
                del self._operators[operator]
