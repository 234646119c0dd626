"""The ledger of credits and monthly use, exact across processes.

A charge that may be refused waits for its commit. Charges that arrive meanwhile are committed
together, so that one fsync serves many. Use without a limit is counted in memory and written after
`FLUSH_AFTER_S`: a kill may lose that much of a count that is not billed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.cache import BoundedDict
from gateway.accounts.caller import InsufficientCredits
from gateway.store import Store
from gateway.store.tables import accounts, usage
from gateway.tasks import GroupedCalls

log = logging.getLogger(__name__)

FLUSH_AFTER_S = 0.2
MAX_READS = 3
"""Of a balance, while counts are written."""
MAX_WAIT_S = 0.02
"""For counts that are being written, before and after a balance is read. If they take longer, the
balance may have them twice for a moment."""
MAX_SEEN = 10_000
"""Balances that are remembered."""
ENTRIES_PER_TRANSACTION = 500
"""Bounds how long the entries of a later transaction wait."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One booking on an account."""

    account_id: int
    month: str
    """The month in which it counts, YYYY-MM in UTC."""
    units: int
    """Charged if positive, refunded if negative."""
    allowance: int | None = None
    """Units allowed in the month; None is without limit."""


@dataclass(slots=True)
class Balance:
    """An account after an entry was booked."""

    used: int
    """In the entry's month."""
    credits: int | None
    """Credits left; None is without limit."""


class Ledger:
    """Books entries: those that a caller waits for at once and in order, counts a little later."""

    def __init__(self, store: Store, *, max_wait_s: float = MAX_WAIT_S) -> None:
        self._store = store
        self._max_wait_s = max_wait_s
        self._bookings: GroupedCalls[LedgerEntry, Balance] = GroupedCalls(
            self._book_group, max_group=ENTRIES_PER_TRANSACTION
        )
        self._counts: defaultdict[tuple[int, str], int] = defaultdict(int)
        self._being_booked: dict[asyncio.Future[Balance], LedgerEntry] = {}
        """Counts that are being written."""
        self._changes = 0
        """How often counts began to be written, or ended."""
        self._timer: asyncio.TimerHandle | None = None
        self._seen: BoundedDict[tuple[int, str], Balance] = BoundedDict(MAX_SEEN)
        """Balances after the last booking of this process, by account and month."""
        self._begun: Counter[int] = Counter()
        """Units that are being charged, by account."""

    def begin(self, entry: LedgerEntry) -> asyncio.Future[Balance]:
        """Begin to book; the future is done with the commit, or fails as `book` does.

        Raises StorageUnavailable.
        """
        booking = self._bookings.begin(entry)
        self._begun[entry.account_id] += entry.units
        booking.add_done_callback(partial(self._on_booked, entry))
        return booking

    def _on_booked(self, entry: LedgerEntry, booking: asyncio.Future[Balance]) -> None:
        self._begun[entry.account_id] -= entry.units
        if not self._begun[entry.account_id]:
            del self._begun[entry.account_id]
        key = (entry.account_id, entry.month)
        # the failure is read here, too, since the caller may be gone
        if booking.cancelled() or booking.exception() is not None:
            self._seen.pop(key, None)
        else:
            self._seen[key] = booking.result()

    def seems_covered(self, entry: LedgerEntry) -> bool:
        """Whether a charge will hardly be refused, by the account's balance as last seen.

        False if this process has not seen one, or if its last charge was refused.
        """
        seen = self._seen.get((entry.account_id, entry.month))
        if seen is None:
            return False
        units = self._begun[entry.account_id] + entry.units
        is_allowed = entry.allowance is None or seen.used + units <= entry.allowance
        return is_allowed and (seen.credits is None or units <= seen.credits)

    async def book(self, entry: LedgerEntry) -> Balance:
        """Book and wait for the commit. Raises InsufficientCredits, StoreError."""
        return await self._bookings.call(entry)

    async def balance(self, account_id: int, month: str) -> Balance:
        """The balance, including all that this process has counted. Raises StoreError.

        It waits for no commit, unless counts are being written just now.
        """
        query = (
            select(accounts.c.credits, usage.c.used)
            .join_from(
                accounts,
                usage,
                (usage.c.account_id == accounts.c.id) & (usage.c.month == month),
                isouter=True,
            )
            .where(accounts.c.id == account_id)
        )
        for _ in range(MAX_READS):
            await self._wait_for_counts()
            changes = self._changes
            rows = await self._store.fetch_all(query)
            await self._wait_for_counts()
            if changes == self._changes:
                break  # else counts were written meanwhile, and may be among what was read or not
        row = rows[0] if rows else None
        credits, used = (None, 0) if row is None else (row.credits, row.used or 0)
        counted = self._counts.get((account_id, month), 0) + sum(
            entry.units
            for entry in self._being_booked.values()
            if (entry.account_id, entry.month) == (account_id, month)
        )
        counted = max(counted, -used)
        return Balance(used + counted, None if credits is None else credits - counted)

    async def _wait_for_counts(self) -> None:
        if self._being_booked:
            await asyncio.wait(self._being_booked, timeout=self._max_wait_s)

    async def refund(self, account_id: int, month: str, units: int) -> None:
        """Refund what was booked. Raises StoreError."""
        await self.book(LedgerEntry(account_id, month, -units))

    def book_later(self, account_id: int, month: str, units: int) -> None:
        """Book within `FLUSH_AFTER_S`, without a limit and without waiting.

        Negative units are a refund.
        """
        self._counts[account_id, month] += units
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self._book_counts)

    async def aclose(self) -> None:
        """Book everything that is still to be booked."""
        self._book_counts()
        await self._bookings.aclose()
        if self._timer is not None:  # a write failed, and its counts are pending again
            self._timer.cancel()
            log.error("usage.lost", extra={"units": sum(self._counts.values())})

    def _book_counts(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        counts, self._counts = self._counts, defaultdict(int)
        for (account_id, month), units in counts.items():
            if not units:
                continue
            entry = LedgerEntry(account_id, month, units)
            booking = self._bookings.submit(entry)
            self._being_booked[booking] = entry
            self._changes += 1
            booking.add_done_callback(self._on_counts_booked)

    def _on_counts_booked(self, done: asyncio.Future[Balance]) -> None:
        entry = self._being_booked.pop(done)
        self._changes += 1
        if done.cancelled() or (failure := done.exception()) is None:
            return
        extra = {"account_id": entry.account_id, "units": entry.units, "error": str(failure)}
        log.warning("usage.write_delayed", extra=extra)
        self.book_later(entry.account_id, entry.month, entry.units)

    async def _book_group(self, entries: list[LedgerEntry]) -> Sequence[Balance | Exception]:
        return await self._store.transact(partial(book_entries, store=self._store, entries=entries))


async def book_entries(
    connection: AsyncConnection, store: Store, entries: Sequence[LedgerEntry]
) -> list[Balance | InsufficientCredits]:
    """Book entries in order, each all or nothing, in the caller's transaction (`Store.write`).

    For a charge that must be committed together with something else.
    """
    return await connection.run_sync(_book, store=store, entries=entries)


def _book(
    connection: Connection, *, store: Store, entries: Sequence[LedgerEntry]
) -> list[Balance | InsufficientCredits]:
    balances = _lock_and_read(connection, entries)
    outcomes = [balances.book(entry) for entry in entries]
    _write(connection, store, balances)
    return outcomes


class _Balances:
    """The accounts of some entries, as far as the entries are booked."""

    def __init__(
        self, credits: dict[int, int | None], used: defaultdict[tuple[int, str], int]
    ) -> None:
        self.credits = credits
        self.used = used
        """By account and month."""
        self.paid: defaultdict[int, int] = defaultdict(int)
        """Credits that the entries take, by account."""
        self.moved: defaultdict[tuple[int, str], int] = defaultdict(int)
        """Units that the entries add, by account and month."""

    def book(self, entry: LedgerEntry) -> Balance | InsufficientCredits:
        account_month = (entry.account_id, entry.month)
        used, credits = self.used[account_month], self.credits.get(entry.account_id)
        refusal = _refusal(entry, used, credits)
        if refusal is not None:
            return refusal
        # A refund is at most what was used in the month.
        move = max(entry.units, -used)
        self.used[account_month] += move
        self.moved[account_month] += move
        if credits is not None:
            self.credits[entry.account_id] = credits = credits - move
            self.paid[entry.account_id] += move
        return Balance(used + move, credits)


def _refusal(entry: LedgerEntry, used: int, credits: int | None) -> InsufficientCredits | None:
    if entry.units <= 0:
        return None
    if entry.allowance is not None and used + entry.units > entry.allowance:
        return InsufficientCredits(used, entry.allowance)
    if credits is not None and entry.units > credits:
        return InsufficientCredits(used, used + credits)
    return None


def _lock_and_read(connection: Connection, entries: Sequence[LedgerEntry]) -> _Balances:
    wanted = {
        "ids": list({entry.account_id for entry in entries}),
        "months": list({entry.month for entry in entries}),
    }
    # Two queries, since the second must not run before the first has locked the accounts.
    credits: dict[int, int | None] = {
        row.id: row.credits for row in connection.execute(_CREDITS, wanted)
    }
    used: defaultdict[tuple[int, str], int] = defaultdict(int)
    for row in connection.execute(_USED, wanted):
        used[row.account_id, row.month] = row.used
    return _Balances(credits, used)


def _write(connection: Connection, store: Store, balances: _Balances) -> None:
    if payments := [{"account": id_, "paid": n} for id_, n in balances.paid.items() if n]:
        connection.execute(_PAY, payments)
    if totals := [
        {"account_id": id_, "month": month, "used": balances.used[id_, month]}
        for (id_, month), n in balances.moved.items()
        if n and id_ in balances.credits
    ]:
        # The total rather than the difference: a proposed row must pass the CHECK too (`used` >=
        # 0), and the lock on the account keeps the total correct.
        insert = store.insert(usage)
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=["account_id", "month"], set_={"used": insert.excluded.used}
            ),
            totals,
        )


_CREDITS = (
    select(accounts.c.id, accounts.c.credits)
    .where(accounts.c.id.in_(bindparam("ids", expanding=True)))
    # All lock accounts in the same order, so that no two settlements wait for each other. No effect
    # on SQLite, where a write transaction has the database to itself.
    .order_by(accounts.c.id)
    .with_for_update()
)
_USED = select(usage.c.account_id, usage.c.month, usage.c.used).where(
    usage.c.account_id.in_(bindparam("ids", expanding=True)),
    usage.c.month.in_(bindparam("months", expanding=True)),
)
_PAY = (
    update(accounts)
    .where(accounts.c.id == bindparam("account"))
    .values(credits=accounts.c.credits - bindparam("paid"))
)
