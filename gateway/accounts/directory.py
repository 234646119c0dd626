"""The accounts of a database for its operator: by pages, with their keys and their use by month."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, String, and_, cast, exists, func, or_, select, update

from gateway.accounts.accounts import KeyInfo, key_info, keys_query
from gateway.accounts.caller import AccountStatus
from gateway.accounts.errors import NoSuchAccount, NoSuchKey
from gateway.store import Store
from gateway.store.tables import accounts, keys, usage

MAX_LABEL_CHARACTERS = 200
MAX_OWNER_CHARACTERS = 320
MONTHS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class AccountInfo:
    """An account, and what it has used this month."""

    id: int
    owner_email: str
    status: AccountStatus
    plan: str
    credits: int | None
    """Left; None is without limit."""
    created_at: datetime
    used: int
    """Verifications this month (UTC)."""
    keys: int
    """That are not revoked."""


@dataclass(frozen=True, slots=True)
class AccountPage:
    """Some of the accounts that match a search, and how many match."""

    accounts: Sequence[AccountInfo]
    total: int


class AccountDirectory:
    """Reads accounts. `clock` is Unix time in seconds; methods raise StoreError."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def find(self, words: str, *, limit: int, offset: int = 0) -> AccountPage:
        """The accounts whose number, owner or plan has `words`, or a key of theirs by its label,
        its hint or its dialect; the oldest first."""
        matches = _matches(words)
        query = select(accounts.c.id).where(matches).order_by(accounts.c.id)
        count = select(func.count().label("total")).select_from(accounts).where(matches)
        rows = await self._store.fetch_all(query.limit(limit).offset(offset))
        total = (await self._store.fetch_all(count))[0].total
        found = await self._accounts([row.id for row in rows])
        return AccountPage(found, total)

    async def account(self, account_id: int) -> AccountInfo:
        """Raises NoSuchAccount."""
        found = await self._accounts([account_id])
        if not found:
            raise NoSuchAccount(account_id)
        return found[0]

    async def keys_of(self, account_id: int) -> list[KeyInfo]:
        """The keys of an account: those in use, then the revoked ones; each the oldest first."""
        query = keys_query().where(keys.c.account_id == account_id)
        found = [key_info(row) for row in await self._store.fetch_all(query)]
        return sorted(found, key=lambda key: (key.revoked_at is not None, key.id))

    async def use_by_month(self, account_id: int) -> list[tuple[str, int]]:
        """The last months with use (`YYYY-MM`), the newest first."""
        query = (
            select(usage.c.month, usage.c.used)
            .where(usage.c.account_id == account_id)
            .order_by(usage.c.month.desc())
            .limit(MONTHS_SHOWN)
        )
        return [(row.month, row.used) for row in await self._store.fetch_all(query)]

    async def set_label(self, key_id: int, label: str) -> None:
        """What a key is for; a route may name it by its label. Raises NoSuchKey."""
        values = {"label": label[:MAX_LABEL_CHARACTERS] or None}
        async with self._store.write() as connection:
            done = await connection.execute(update(keys).where(keys.c.id == key_id).values(values))
        if not done.rowcount:
            raise NoSuchKey(str(key_id))

    async def set_owner(self, account_id: int, owner_email: str) -> None:
        """Raises NoSuchAccount."""
        values = {"owner_email": owner_email[:MAX_OWNER_CHARACTERS]}
        async with self._store.write() as connection:
            done = await connection.execute(
                update(accounts).where(accounts.c.id == account_id).values(values)
            )
        if not done.rowcount:
            raise NoSuchAccount(account_id)

    async def _accounts(self, ids: Sequence[int]) -> list[AccountInfo]:
        month = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m")
        in_use = (
            select(func.count())
            .select_from(keys)
            .where(keys.c.account_id == accounts.c.id, keys.c.revoked_at.is_(None))
            .scalar_subquery()
        )
        query = (
            select(accounts, usage.c.used, in_use.label("keys_in_use"))
            .outerjoin(usage, and_(usage.c.account_id == accounts.c.id, usage.c.month == month))
            .where(accounts.c.id.in_(ids))
            .order_by(accounts.c.id)
        )
        return [
            AccountInfo(
                id=row.id,
                owner_email=row.owner_email,
                status=AccountStatus(row.status),
                plan=row.plan,
                credits=row.credits,
                created_at=row.created_at,
                used=row.used or 0,
                keys=row.keys_in_use,
            )
            for row in await self._store.fetch_all(query)
        ]


def _matches(words: str) -> ColumnElement[bool]:
    if not words:
        return accounts.c.id.is_not(None)
    texts = (accounts.c.owner_email, accounts.c.plan)
    of_key = (keys.c.label, keys.c.hint, keys.c.dialect)
    has_key = exists().where(
        keys.c.account_id == accounts.c.id,
        or_(*(column.icontains(words, autoescape=True) for column in of_key)),
    )
    by_number = cast(accounts.c.id, String) == words
    return or_(by_number, has_key, *(c.icontains(words, autoescape=True) for c in texts))
