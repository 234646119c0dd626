"""Accounts and their API keys: authentication, rate limits, charges, administration."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Row, Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.contract.dialect import Dialect, KeyShape
from adapters.contract.operations import UNLIMITED
from gateway.accounts.caller import (
    AccountStatus,
    BegunCharge,
    Caller,
    Charge,
    InsufficientCredits,
    Usage,
)
from gateway.accounts.callers import CallerLookup
from gateway.accounts.errors import (
    AmbiguousKey,
    KeyLooksLikeTest,
    KeyTaken,
    NoSuchAccount,
    NoSuchKey,
    UnknownDialect,
    UnknownPlan,
)
from gateway.accounts.keys import key_digest, key_hint, mint_key
from gateway.accounts.ledger import Ledger, LedgerEntry, book_entries
from gateway.accounts.plans import Plans
from gateway.cluster.limits import MovingWindowLimiter, RateLimiter, RateLimitExceeded
from gateway.store import Store, StoreConflict
from gateway.store.tables import accounts, keys, milestones

__all__ = [
    "AccountStatus",
    "Accounts",
    "Caller",
    "Charge",
    "InsufficientCredits",
    "KeyInfo",
    "NewKey",
    "OwnKey",
    "RateLimitExceeded",
    "Usage",
    "open_accounts",
]

DEFAULT_OWNER_EMAIL = "owner@localhost"
"""Owner of the account that the first start creates."""
BOOTSTRAP_MILESTONE = "bootstrapped"
"""Name of the milestone that the first account was created."""

DAY_S = 86_400


@lru_cache(8)
def month_of_day(day: int) -> str:
    """The calendar month (UTC) of a day since the epoch. Cached, since every charge needs it."""
    return datetime.fromtimestamp(day * DAY_S, UTC).strftime("%Y-%m")


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key that was not minted here, such as the vendor's own key of a client."""

    dialect: str
    key: str = field(repr=False)
    label: str | None = None
    test: bool = False


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key, shown in full only this once."""

    id: int
    account_id: int
    dialect: str
    test: bool
    key: str = field(repr=False)
    hint: str
    label: str | None


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A stored key and its account."""

    id: int
    account_id: int
    dialect: str
    test: bool
    hint: str
    label: str | None
    created_at: datetime
    revoked_at: datetime | None
    owner_email: str
    status: AccountStatus
    plan: str
    credits: int | None
    """Left in the account; None is without limit."""


@contextlib.asynccontextmanager
async def open_accounts(
    store: Store,
    dialects: Iterable[Dialect],
    *,
    plan: str = UNLIMITED.name,
    well_known: Mapping[tuple[str, str], Caller] | None = None,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    limiter: RateLimiter | None = None,
) -> AsyncIterator[Accounts]:
    """Accounts over an open store; pending use is written at the end.

    `well_known` are callers by dialect and key that need no database: published test keys. New
    accounts get `plan`. `clock` is Unix time in seconds; it decides months, times of creation and
    rate windows. Raises UnknownPlan.
    """
    dialects = tuple(dialects)
    opened = Accounts(
        store,
        Plans({dialect.name: dialect.plans for dialect in dialects}),
        {dialect.name: dialect.key_shape for dialect in dialects},
        plan=plan,
        well_known=well_known or {},
        clock=clock,
        monotonic=monotonic,
        limiter=limiter or MovingWindowLimiter(clock),
    )
    try:
        yield opened
    finally:
        await opened.aclose()


class Accounts:
    """The accounts of one database, which several processes may have open."""

    def __init__(
        self,
        store: Store,
        plans: Plans,
        key_shapes: Mapping[str, KeyShape],
        *,
        plan: str,
        well_known: Mapping[tuple[str, str], Caller],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        limiter: RateLimiter,
    ) -> None:
        self._store = store
        self._plans = plans
        self._key_shapes = key_shapes
        self._plan = self._checked_plan(plan)
        self._well_known = well_known
        self._clock = clock
        self._limiter = limiter
        self._callers = CallerLookup(store, plans, monotonic)
        self._ledger = Ledger(store)

    async def aclose(self) -> None:
        await self._callers.aclose()
        await self._ledger.aclose()

    @property
    def plans(self) -> tuple[str, ...]:
        """The names of all plans."""
        return self._plans.names

    # -- for every request ---------------------------------------------------------------

    async def authenticate(self, dialect: str, credential: str) -> Caller | None:
        """The caller whose key of `dialect` this is; None if it is unknown or revoked.

        The account may be suspended: see `Caller.status`. Raises StoreError.
        """
        caller = self._well_known.get((dialect, credential))
        return caller or await self._callers.find(dialect, credential)

    async def find_caller(self, key_id: int) -> Caller | None:
        """The caller with a stored key, for the operator of the server. Raises StoreError."""
        return await self._callers.find_by_id(key_id)

    def other_dialect(self, dialect: str, credential: str) -> str | None:
        """The dialect whose key was just refused in `dialect`; None if it is no key at all."""
        for name in self._key_shapes:
            if (name, credential) in self._well_known:
                return name
        return self._callers.other_dialect(dialect, credential)

    async def enforce_rate_limit(self, caller: Caller, bucket: str) -> None:
        """Count a call against the plan's rate of `bucket`, if it has one.

        Raises RateLimitExceeded.
        """
        rate = None if caller.test else caller.plan.rates.get(bucket)
        if rate is not None:
            await self._limiter.hit((caller.key_id, bucket), rate)

    async def charge(self, caller: Caller, units: int) -> Charge:
        """Charge that many verifications, all or nothing.

        A charge that can be refused is on disk when this returns; any other is counted in memory
        and written soon. Raises InsufficientCredits, StoreError.
        """
        return await self.begin_charge(caller, units).settled()

    def begin_charge(self, caller: Caller, units: int) -> BegunCharge:
        """As `charge`, without waiting for the commit. Raises StorageUnavailable."""
        entry = self._ledger_entry(caller, units)
        charge = replace(_to_charge(caller, entry), is_counted=not caller.metered)
        if caller.metered:
            is_covered = self._ledger.seems_covered(entry)
            return BegunCharge(charge, self._ledger.begin(entry), is_covered)
        if not caller.test:
            self._ledger.book_later(entry.account_id, entry.month, units)
        return BegunCharge(charge)

    async def charge_in_transaction(
        self, connection: AsyncConnection, caller: Caller, units: int
    ) -> Charge:
        """Charge in a transaction of `Store.write`, which commits it with the rest.

        Raises InsufficientCredits; the transaction must then be rolled back.
        """
        entry = self._ledger_entry(caller, units)
        if not caller.test:
            (booked,) = await book_entries(connection, self._store, [entry])
            if isinstance(booked, InsufficientCredits):
                raise booked
        return _to_charge(caller, entry)

    async def refund(self, charge: Charge, units: int) -> None:
        """Give back that many verifications of a charge, at most all of them.

        Never more than was used in the charge's month. Raises StoreError.
        """
        units = min(units, charge.units)
        if units > 0 and charge.is_counted:
            self._ledger.book_later(charge.account_id, charge.month, -units)
        elif units > 0:
            await self._ledger.refund(charge.account_id, charge.month, units)

    async def usage(self, caller: Caller) -> Usage:
        """What is used and left now. Raises StoreError."""
        month = self._month()
        balance = await self._ledger.balance(caller.account_id, month)
        left = balance.credits
        if caller.allowance is not None:
            allowed = max(0, caller.allowance - balance.used)
            left = allowed if left is None else min(left, allowed)
        return Usage(month, balance.used, caller.plan.included, left)

    # -- administration ------------------------------------------------------------------

    async def is_empty(self) -> bool:
        """Whether there is no account yet. Raises StoreError."""
        return await self.oldest_account_id() is None

    async def oldest_account_id(self) -> int | None:
        """The account of new keys for which none is named. Raises StoreError."""
        async with self._store.read() as connection:
            rows = await connection.execute(select(func.min(accounts.c.id)))
            oldest: int | None = rows.scalar_one()
            return oldest

    async def bootstrap(self, owner_email: str = DEFAULT_OWNER_EMAIL) -> tuple[NewKey, ...]:
        """In an empty database, create one account with a live and a test key of every dialect.

        In any other, do nothing. Of several processes that try at once, one does it. Raises
        StoreError.
        """
        if not await self.is_empty():
            return ()
        try:
            async with self._store.write() as connection:
                if await connection.scalar(select(accounts.c.id).limit(1)) is not None:
                    return ()
                await connection.execute(
                    insert(milestones).values(name=BOOTSTRAP_MILESTONE, reached_at=self._now())
                )
                account_id = await self._insert_account(connection, owner_email, self._plan, None)
                created = await self._insert_keys(
                    connection,
                    [
                        self._new_key(account_id, dialect, test=test)
                        for dialect in self._key_shapes
                        for test in (False, True)
                    ],
                )
        except StoreConflict:
            return ()
        self._callers.clear()
        return tuple(created)

    async def create_account(
        self,
        owner_email: str = DEFAULT_OWNER_EMAIL,
        *,
        plan: str | None = None,
        credits: int | None = None,
    ) -> int:
        """Create an active account, and return its id.

        `plan` defaults to the setting; `credits` None is without limit. Raises UnknownPlan,
        ValueError for negative credits, StoreError.
        """
        plan = self._plan if plan is None else self._checked_plan(plan)
        async with self._store.write() as connection:
            return await self._insert_account(
                connection, owner_email, plan, _checked_credits(credits)
            )

    async def create_key(
        self,
        account_id: int,
        dialect: str,
        *,
        test: bool = False,
        label: str | None = None,
        key: str | None = None,
    ) -> NewKey:
        """A new key in the dialect's shape; or `key`, such as the vendor's own.

        Raises NoSuchAccount, UnknownDialect, KeyTaken, KeyLooksLikeTest, StoreError.
        """
        if dialect not in self._key_shapes:
            raise UnknownDialect(dialect, tuple(self._key_shapes))
        try:
            async with self._store.write() as connection:
                found = select(accounts.c.id).where(accounts.c.id == account_id)
                if await connection.scalar(found) is None:
                    raise NoSuchAccount(account_id)
                new_key = self._new_key(account_id, dialect, test=test, label=label, key=key)
                (created,) = await self._insert_keys(connection, [new_key])
        except StoreConflict as exc:
            raise KeyTaken(dialect) from exc
        self._callers.clear()
        return created

    async def ensure_keys(self, declared: Iterable[OwnKey]) -> tuple[list[NewKey], list[str]]:
        """Add those keys that are not there yet, to the first account, which is created if need be.

        Returns the added keys, and the hints of those that were revoked and stay so. Raises
        UnknownDialect, KeyLooksLikeTest, StoreError.
        """
        wanted = {(own.dialect, key_digest(own.key)): own for own in declared}
        for own in wanted.values():
            if own.dialect not in self._key_shapes:
                raise UnknownDialect(own.dialect, tuple(self._key_shapes))
        if not wanted:
            return [], []
        async with self._store.write() as connection:
            stored = {(row.dialect, row.hash): row for row in await connection.execute(_KEYS)}
            revoked = [
                row.hint
                for key in wanted
                if (row := stored.get(key)) is not None and row.revoked_at is not None
            ]
            missing = [own for key, own in wanted.items() if key not in stored]
            if not missing:
                return [], revoked
            account_id = await connection.scalar(select(func.min(accounts.c.id)))
            if account_id is None:
                account_id = await self._insert_account(
                    connection, DEFAULT_OWNER_EMAIL, self._plan, None
                )
            new_keys = [
                self._new_key(account_id, own.dialect, test=own.test, label=own.label, key=own.key)
                for own in missing
            ]
            created = await self._insert_keys(connection, new_keys)
        self._callers.clear()
        return created, revoked

    async def list_keys(self) -> list[KeyInfo]:
        """All keys, revoked ones too, the oldest first. Raises StoreError."""
        async with self._store.read() as connection:
            return [key_info(row) for row in await connection.execute(_KEYS)]

    async def revoke_key(self, key_ref: str) -> KeyInfo:
        """Revoke a key; other processes refuse it within a second.

        `key_ref` is its id, its hint, its last four characters, or the key itself. Raises
        NoSuchKey, AmbiguousKey, StoreError.
        """
        async with self._store.write() as connection:
            this_key = keys.c.id == (await _find_key(connection, key_ref)).id
            in_use = keys.c.revoked_at.is_(None)
            await connection.execute(
                update(keys).where(this_key, in_use).values(revoked_at=self._now())
            )
            row = (await connection.execute(_KEYS.where(this_key))).one()
        self._callers.clear()
        return key_info(row)

    async def revoke_key_by_id(self, key_id: int) -> None:
        """As `revoke_key`, where the id is known to be one. Raises StoreError."""
        this_key = (keys.c.id == key_id, keys.c.revoked_at.is_(None))
        async with self._store.write() as connection:
            await connection.execute(update(keys).where(*this_key).values(revoked_at=self._now()))
        self._callers.clear()

    async def set_status_of_key(self, key_ref: str, status: AccountStatus) -> KeyInfo:
        """Set the status of a key's account; other processes apply it within a second.

        `key_ref` is as in `revoke_key`. Raises NoSuchKey, AmbiguousKey, StoreError.
        """
        async with self._store.write() as connection:
            key = await _find_key(connection, key_ref)
            its_account = accounts.c.id == key.account_id
            await connection.execute(update(accounts).where(its_account).values(status=status))
            row = (await connection.execute(_KEYS.where(keys.c.id == key.id))).one()
        self._callers.clear()
        return key_info(row)

    async def set_plan(self, account_id: int, plan: str) -> None:
        """Raises NoSuchAccount, UnknownPlan, StoreError."""
        await self._update_account(account_id, plan=self._checked_plan(plan))

    async def set_credits(self, account_id: int, credits: int | None) -> None:
        """Set what is left; None is without limit.

        Raises NoSuchAccount, ValueError for negative credits, StoreError.
        """
        await self._update_account(account_id, credits=_checked_credits(credits))

    async def set_status(self, account_id: int, status: AccountStatus) -> None:
        """Raises NoSuchAccount, StoreError."""
        await self._update_account(account_id, status=AccountStatus(status))

    # -- helpers -------------------------------------------------------------------------

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _month(self) -> str:
        return month_of_day(int(self._clock() // DAY_S))

    def _ledger_entry(self, caller: Caller, units: int) -> LedgerEntry:
        if units < 0:
            raise ValueError("a charge cannot be negative")
        return LedgerEntry(caller.account_id, self._month(), units, caller.allowance)

    def _checked_plan(self, plan: str) -> str:
        if plan not in self._plans.names:
            raise UnknownPlan(plan, self._plans.names)
        return plan

    async def _insert_account(
        self, connection: AsyncConnection, owner_email: str, plan: str, credits: int | None
    ) -> int:
        values = {
            "owner_email": owner_email,
            "status": AccountStatus.ACTIVE,
            "plan": plan,
            "credits": credits,
            "created_at": self._now(),
        }
        inserted = await connection.execute(
            insert(accounts).values(values).returning(accounts.c.id)
        )
        account_id: int = inserted.scalar_one()
        return account_id

    def _new_key(
        self,
        account_id: int,
        dialect: str,
        *,
        test: bool,
        label: str | None = None,
        key: str | None = None,
    ) -> NewKey:
        """A key without an id."""
        shape = self._key_shapes[dialect]
        if key and not test and shape.shows_test(key):
            raise KeyLooksLikeTest(dialect, shape.test_prefix)
        key = key or mint_key(shape, test=test)
        hint = key_hint(shape, key, test=test)
        return NewKey(0, account_id, dialect, test, key, hint, label)

    async def _insert_keys(
        self, connection: AsyncConnection, new_keys: Sequence[NewKey]
    ) -> list[NewKey]:
        """The keys with their ids. Raises StoreConflict."""
        now = self._now()
        rows = [
            {
                "account_id": new.account_id,
                "dialect": new.dialect,
                "hash": key_digest(new.key),
                "test": new.test,
                "hint": new.hint,
                "label": new.label,
                "created_at": now,
            }
            for new in new_keys
        ]
        # one statement: each takes a millisecond
        statement = insert(keys).returning(keys.c.id, sort_by_parameter_order=True)
        ids = (await connection.scalars(statement, rows)).all()
        return [replace(new, id=id_) for new, id_ in zip(new_keys, ids, strict=True)]

    async def _update_account(self, account_id: int, **values: Any) -> None:
        async with self._store.write() as connection:
            updated = await connection.execute(
                update(accounts).where(accounts.c.id == account_id).values(values)
            )
            if not updated.rowcount:
                raise NoSuchAccount(account_id)
        self._callers.clear()


def _to_charge(caller: Caller, entry: LedgerEntry) -> Charge:
    return Charge(entry.account_id, entry.month, 0 if caller.test else entry.units)


def _checked_credits(credits: int | None) -> int | None:
    if credits is not None and credits < 0:
        raise ValueError("credits cannot be negative")
    return credits


_KEYS = (
    select(
        keys,
        accounts.c.owner_email,
        accounts.c.status,
        accounts.c.plan,
        accounts.c.credits,
    )
    .join_from(keys, accounts, keys.c.account_id == accounts.c.id)
    .order_by(keys.c.id)
)


def keys_query() -> Select[Any]:
    """The rows of `key_info`, the oldest first."""
    return _KEYS


async def _find_key(connection: AsyncConnection, key_ref: str) -> Row[Any]:
    """The key with this reference. Raises NoSuchKey, AmbiguousKey."""
    digest = key_digest(key_ref)
    matching = [
        row
        for row in await connection.execute(_KEYS)
        if key_ref in (str(row.id), row.hint, row.hint[-4:]) or row.hash == digest
    ]
    # A key in use takes precedence over a revoked one.
    matching = [row for row in matching if row.revoked_at is None] or matching
    if not matching:
        raise NoSuchKey(key_ref)
    if len(matching) > 1:
        raise AmbiguousKey(key_ref, [row.id for row in matching])
    return matching[0]


def key_info(row: Row[Any]) -> KeyInfo:
    """A row of `keys_query`."""
    return KeyInfo(
        id=row.id,
        account_id=row.account_id,
        dialect=row.dialect,
        test=row.test,
        hint=row.hint,
        label=row.label,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        owner_email=row.owner_email,
        status=AccountStatus(row.status),
        plan=row.plan,
        credits=row.credits,
    )
