"""How many connections a mail host's operator gets from us, and how soon the next one may come.

A limit per operator rather than a global one: a thousand domains may share one provider. After
a complaint about speed the limit is halved and connections are spaced out, twice as far after
each further complaint; every success in turn eases it (additive increase, multiplicative
decrease, RFC 5681's idea).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from engine.model import Stage

FIRST_SPACING_S = 1.0
MAX_SPACING_S = 60.0
TURNED_AWAY_IN_A_ROW, TURNED_AWAY_AFTER_ALL = 3, 6
"""Attempts that came to nothing, each after a pause for the one before; the latter where we were
let in before, so that what is over in a minute costs a list nothing."""
AT_THE_DOOR = frozenset({Stage.CONNECT, Stage.BANNER, Stage.EHLO})
"""Where a host complains that has not heard us yet."""
MAX_GATES = 10_000
"""Operators remembered at a time; the quiet ones are forgotten first."""


@dataclass(slots=True)
class _Gate:
    limit: float
    active: int = 0
    spacing_s: float = 0.0
    not_before: float = 0.0
    let_in: bool = False
    """Whether any conversation went well."""
    turned_away: int = 0
    """Attempts in a row."""
    turned_away_until: float = 0.0
    singles: deque[asyncio.Future[None]] = field(default_factory=deque)
    listed: deque[asyncio.Future[None]] = field(default_factory=deque)
    patient: deque[asyncio.Future[None]] = field(default_factory=deque)

    @property
    def queues(self) -> tuple[deque[asyncio.Future[None]], ...]:
        """Whoever waits, in the order of their turn."""
        return self.singles, self.listed, self.patient


class Pacer:
    """Hands out slots for connections, `connections_per_host` at a time for each operator."""

    def __init__(
        self, connections_per_host: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = max(1, connections_per_host)
        self._clock = clock
        self._gates: dict[str, _Gate] = {}

    def __len__(self) -> int:
        """Operators remembered."""
        return len(self._gates)

    def active(self, operator: str) -> int:
        """Slots of `operator` taken now."""
        gate = self._gates.get(operator)
        return 0 if gate is None else gate.active

    def wait_s(self, operator: str) -> float:
        """Seconds until `operator` may be called on again after a complaint; 0 if at once."""
        gate = self._gates.get(operator)
        return 0.0 if gate is None else max(0.0, gate.not_before - self._clock())

    def turns_away(self, operator: str) -> bool:
        """Whether `operator` may not be called on yet, and who can should go elsewhere.

        That is after an attempt that was turned away; after other complaints only where the
        wait is a long one, since the first host of a domain is the one that knows most.
        """
        gate = self._gates.get(operator)
        wait_s = self.wait_s(operator)
        return gate is not None and wait_s > (0.0 if gate.turned_away else FIRST_SPACING_S)

    def is_shut(self, operator: str) -> bool:
        """Whether `operator` turned us away again and again, and may not be called on yet."""
        gate = self._gates.get(operator)
        if gate is None or gate.not_before <= self._clock():
            return False
        enough = TURNED_AWAY_AFTER_ALL if gate.let_in else TURNED_AWAY_IN_A_ROW
        return gate.turned_away >= enough

    def wanted(self, operator: str) -> bool:
        """Whether somebody who is not patient waits for a slot of `operator`."""
        gate = self._gates.get(operator)
        return gate is not None and bool(gate.singles or gate.listed)

    @asynccontextmanager
    async def slot(
        self,
        operator: str,
        *,
        listed: bool = False,
        patient: bool = False,
        elsewhere: bool = False,
    ) -> AsyncIterator[None]:
        """A place for one connection; waits for its turn, as long as the caller lets it.

        TimeoutError, without a wait for that, if the caller can go `elsewhere` and the operator
        turns us away just now.

        Whoever asks about a single address for somebody who waits comes first, then who asks
        about a `listed` one. The patient, who keep their place for many addresses, get it when
        nobody else waits, and should look at `wanted` meanwhile.
        """
        gate = self._gate(operator)
        await self._enter(gate, 2 if patient else int(listed))
        try:
            if elsewhere and self.turns_away(operator):
                raise TimeoutError
            pause_s = gate.not_before - self._clock()
            if gate.spacing_s:
                gate.not_before = max(gate.not_before, self._clock()) + gate.spacing_s
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            yield
        finally:
            gate.active -= 1
            self._wake(gate)

    def complained(
        self, operator: str, retry_after_s: float | None = None, stage: Stage = Stage.RCPT
    ) -> None:
        """The operator said at `stage` that we are too fast: halve, and space out."""
        gate = self._gate(operator)
        gate.limit = max(1.0, gate.limit / 2)
        now = self._clock()
        if stage in AT_THE_DOOR and now < gate.turned_away_until:
            return  # several came at the same time: that is one attempt
        gate.spacing_s = min(MAX_SPACING_S, max(FIRST_SPACING_S, gate.spacing_s * 2))
        pause_s = min(MAX_SPACING_S, retry_after_s or gate.spacing_s)
        gate.not_before = max(gate.not_before, now + pause_s)
        if stage in AT_THE_DOOR:
            gate.turned_away += 1
            gate.turned_away_until = now + pause_s / 2  # timers may go off a little early
        else:
            gate.turned_away = 0

    def went_well(self, operator: str) -> None:
        """A conversation without complaint: a little more room, until all is as before."""
        gate = self._gates.get(operator)
        if gate is None:
            return
        gate.let_in, gate.turned_away = True, 0
        gate.limit = min(self._most, gate.limit + 1 / max(1.0, gate.limit))
        gate.spacing_s = 0.0 if gate.spacing_s <= FIRST_SPACING_S else gate.spacing_s / 2
        self._wake(gate)

    def _gate(self, operator: str) -> _Gate:
        gate = self._gates.get(operator)
        if gate is None:
            if len(self._gates) >= MAX_GATES:
                self._forget_quiet_ones()
            gate = self._gates[operator] = _Gate(float(self._most))
        return gate

    def _forget_quiet_ones(self) -> None:
        now = self._clock()
        for operator, gate in list(self._gates.items()):
            quiet = not gate.active and not any(gate.queues)
            if quiet and gate.not_before <= now:
                del self._gates[operator]

    async def _enter(self, gate: _Gate, rank: int) -> None:
        if gate.active < int(gate.limit) and not any(gate.queues[: rank + 1]):
            gate.active += 1
            return
        queue = gate.queues[rank]
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The place was given just as we stopped wanting it.
                gate.active -= 1
            elif turn in queue:  # else another who left has dropped it already
                queue.remove(turn)
            self._wake(gate)
            raise

    @staticmethod
    def _wake(gate: _Gate) -> None:
        while gate.active < int(gate.limit) and (queue := next(filter(None, gate.queues), None)):
            turn = queue.popleft()
            if not turn.done():
                gate.active += 1
                turn.set_result(None)
