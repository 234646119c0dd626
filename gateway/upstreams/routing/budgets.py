"""Budgets for upstreams, exact to the last call, across restarts and processes.

From a capped budget a process withdraws the price of a few calls at a time in the database, before
it spends it: a process that is killed may leave those unspent, but nothing is ever spent beyond the
cap. Spending without a cap is counted, and written periodically.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import Store, StoreError
from gateway.store.tables import spending

log = logging.getLogger(__name__)

MICROS_PER_UNIT = 1_000_000
"""Amounts are kept in millionths of a unit of the currency."""
MAX_CALLS_RESERVED = 50
"""The most calls whose price is withdrawn at once; fewer when the budget is nearly spent, so that
several processes share the rest."""
WRITE_EVERY_S = 2.0
"""Between two times when counts are written and unused withdrawals are put back."""
REFUSAL_TTL_S = 1.0
"""How long a budget counts as spent before the database is asked again."""


def to_micros(amount: float) -> int:
    """An amount of the settings, in millionths."""
    return round(amount * MICROS_PER_UNIT)


@dataclass(frozen=True, slots=True)
class SpendingCap:
    """What one scope may spend, in millionths; 0 is no cap."""

    daily: int = 0
    monthly: int = 0

    def __bool__(self) -> bool:
        return bool(self.daily or self.monthly)


UNCAPPED = SpendingCap()


@dataclass(frozen=True, slots=True)
class SpendingScope:
    """A budget: of a source (`source:NAME`) or of a key (`key:ID`)."""

    name: str
    cap: SpendingCap = UNCAPPED


def source_scope(name: str, cap: SpendingCap = UNCAPPED) -> SpendingScope:
    """The budget of a source."""
    return SpendingScope(f"source:{name}", cap)


@dataclass(slots=True)
class _ReservedFunds:
    """The money that one scope has withdrawn and not spent yet."""

    day: str = ""
    left: int = 0
    used: bool = False
    refused_until: float = 0.0
    refused: int = 0
    """The amount that was refused; a smaller one may still fit."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class Reservation:
    """The price of a call, reserved until its outcome is known."""

    is_billed: bool = False
    """Whether it is spent; set it before the call is sent, since a cancelled call may be billed."""


class Budgets:
    """The budgets of all scopes. `clock` is Unix time in seconds."""

    def __init__(self, store: Store, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._reserved: defaultdict[str, _ReservedFunds] = defaultdict(_ReservedFunds)
        self._counts: defaultdict[tuple[str, str], int] = defaultdict(int)

    @contextlib.asynccontextmanager
    async def reserved(
        self, scopes: Sequence[SpendingScope], price: int
    ) -> AsyncIterator[Reservation | None]:
        """Reserve the price of one call, and release it at the end unless it was billed.

        None if a budget has no room for it, or cannot be read.
        """
        if price <= 0:
            yield Reservation()
            return
        try:
            has_room = await self.reserve(scopes, price)
        except StoreError as exc:
            names = [scope.name for scope in scopes]
            log.warning("budget.unavailable", extra={"scopes": names, "error": str(exc)})
            has_room = False
        if not has_room:
            yield None
            return
        reservation = Reservation()
        try:
            yield reservation
        finally:
            if not reservation.is_billed:
                self.release(scopes, price)

    async def reserve(self, scopes: Sequence[SpendingScope], price: int) -> bool:
        """Take the price of one call from all scopes, or from none. Raises StoreError."""
        if price <= 0:
            return True
        taken: list[SpendingScope] = []
        try:
            for scope in scopes:
                if not await self._reserve_from(scope, price):
                    return False
                taken.append(scope)
        finally:
            if len(taken) < len(scopes):
                self.release(taken, price)
        return True

    def release(self, scopes: Sequence[SpendingScope], price: int) -> None:
        """Give back the price of a call that was not billed."""
        for scope in scopes if price > 0 else ():
            if scope.cap:
                self._reserved[scope.name].left += price
            else:
                self._counts[scope.name, self._today()] -= price

    async def spent(self, scope: str) -> tuple[int, int]:
        """What a scope has spent today and this month, in millionths. Raises StoreError."""
        await self.write(everything=False)
        async with self._store.read() as connection:
            day, month = await self._sums(connection, scope)
        left = self._reserved[scope].left
        return day - left, month - left

    async def write_periodically(self) -> None:
        """Write counts and put unused withdrawals back periodically, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            try:
                await self.write(everything=False)
            except StoreError as exc:
                log.warning("spending.write_delayed", extra={"error": str(exc)})

    async def write(self, *, everything: bool) -> None:
        """Write counts, and put back withdrawals that are unused, or with `everything` all.

        Raises StoreError.
        """
        moves: defaultdict[tuple[str, str], int] = defaultdict(int)
        counts, self._counts = self._counts, defaultdict(int)
        for scope_and_day, amount in counts.items():
            moves[scope_and_day] += amount
        for name, funds in self._reserved.items():
            if funds.left and (everything or not funds.used):
                moves[name, funds.day] -= funds.left
                funds.left = 0
            funds.used = False
        moves = defaultdict(int, {each: amount for each, amount in moves.items() if amount})
        if not moves:
            return
        try:
            async with self._store.write() as connection:
                for (scope, day), amount in sorted(moves.items()):
                    await self._add_spending(connection, scope, day, amount)
        except StoreError:
            for scope_and_day, amount in moves.items():
                self._counts[scope_and_day] += amount
            raise

    async def _reserve_from(self, scope: SpendingScope, price: int) -> bool:
        today = self._today()
        if not scope.cap:
            self._counts[scope.name, today] += price
            return True
        funds = self._reserved[scope.name]
        if self._spend_reserved(funds, today, price):
            return True
        async with funds.lock:
            # The task that held the lock may have withdrawn enough for this one too.
            if self._spend_reserved(funds, today, price):
                return True
            if funds.refused_until > self._clock() and price >= funds.refused:
                return False
            if funds.day != today:
                self._counts[scope.name, funds.day or today] -= funds.left
                funds.day, funds.left = today, 0
            taken = await self._withdraw(scope, price, funds.left)
            if taken == 0:
                funds.refused_until = self._clock() + REFUSAL_TTL_S
                funds.refused = price
                return False
            funds.left += taken
            return self._spend_reserved(funds, today, price)

    @staticmethod
    def _spend_reserved(funds: _ReservedFunds, today: str, price: int) -> bool:
        if funds.day != today or funds.left < price:
            return False
        funds.left -= price
        funds.used = True
        return True

    async def _withdraw(self, scope: SpendingScope, price: int, left: int) -> int:
        """Withdraw the price of some calls; 0 if the cap has no room for one."""
        async with self._store.write() as connection:
            await self._store.lock(connection, f"budget:{scope.name}")
            day, month = await self._sums(connection, scope.name)
            rooms = []
            if scope.cap.daily:
                rooms.append(scope.cap.daily - day)
            if scope.cap.monthly:
                rooms.append(scope.cap.monthly - month)
            calls = (min(rooms) + left) // price
            if calls <= 0:
                return 0
            calls = max(1, min(MAX_CALLS_RESERVED, calls // 4))
            amount = calls * price - left
            await self._add_spending(connection, scope.name, self._today(), amount)
            return amount

    async def _sums(self, connection: AsyncConnection, scope: str) -> tuple[int, int]:
        today = self._today()
        rows = await connection.execute(
            select(spending.c.day, func.sum(spending.c.micros))
            .where(spending.c.scope == scope, spending.c.day.startswith(today[:7]))
            .group_by(spending.c.day)
        )
        by_day: dict[str, int] = {day: int(amount) for day, amount in rows}
        return by_day.get(today, 0), sum(by_day.values())

    async def _add_spending(
        self, connection: AsyncConnection, scope: str, day: str, amount: int
    ) -> None:
        insert = self._store.insert(spending).values(scope=scope, day=day, micros=amount)
        await connection.execute(
            insert.on_conflict_do_update(
                index_elements=["scope", "day"],
                set_={"micros": spending.c.micros + insert.excluded.micros},
            )
        )

    def _today(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%d")
