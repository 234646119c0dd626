"""Test keys: the well-known ones, and fresh ones for tests that run side by side.

A fresh set of keys, one for each dialect, is an account of its own: its requests, faults and
batches are not seen by others. Such accounts have numbers below 1, the database's have those
from 1 on, and number 0 is the account of the well-known keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from adapters.contract.dialect import Dialect
from adapters.contract.operations import UNLIMITED
from gateway.accounts.caller import AccountStatus, Caller, Charge, Usage
from gateway.accounts.keys import mint_key
from gateway.sandbox.clock import Clocks
from gateway.sandbox.simulate import KEY_MARK, split_key

OWNER_EMAIL = "sandbox@example.com"
"""Who test keys belong to, as far as an account endpoint tells."""
WELL_KNOWN_ACCOUNT = 0
MAX_ACCOUNTS = 10_000
"""Accounts that are remembered; beyond that the oldest one's keys are refused."""


class TestKeys:
    """The keys that need no database."""

    __test__ = False  # no test, whatever its name

    def __init__(self, dialects: Iterable[Dialect], *, extra_keys: Iterable[str] = ()) -> None:
        self._dialects = tuple(dialects)
        self._created: dict[int, dict[str, str]] = {}
        self._next_account = WELL_KNOWN_ACCOUNT - 1
        self.callers: dict[tuple[str, str], Caller] = {}
        """By dialect and key; a live view for who authenticates."""
        self.well_known = {dialect.name: dialect.sandbox_key for dialect in self._dialects}
        for dialect in self._dialects:
            for key in (dialect.sandbox_key, *extra_keys):
                self._add(WELL_KNOWN_ACCOUNT, dialect.name, key, "well-known test key")

    def create_account(self) -> tuple[int, Mapping[str, str]]:
        """A new account: its number, and its keys by dialect."""
        if len(self._created) >= MAX_ACCOUNTS:
            self.revoke_account(next(iter(self._created)))
        account_id, self._next_account = self._next_account, self._next_account - 1
        keys = {dialect.name: mint_key(dialect.key_shape, test=True) for dialect in self._dialects}
        self._created[account_id] = keys
        for dialect, key in keys.items():
            self._add(account_id, dialect, key, f"test key {-account_id}")
        return account_id, keys

    def revoke_account(self, account_id: int) -> None:
        """Refuse the keys of a minted account from now on."""
        for dialect, key in self._created.pop(account_id, {}).items():
            self.callers.pop((dialect, key), None)

    def __iter__(self) -> Iterator[int]:
        yield WELL_KNOWN_ACCOUNT
        yield from self._created

    def _add(self, account_id: int, dialect: str, key: str, label: str) -> None:
        self.callers[dialect, key] = Caller(
            account_id=account_id,
            key_id=account_id,
            dialect=dialect,
            test=True,
            plan=UNLIMITED,
            status=AccountStatus.ACTIVE,
            owner_email=OWNER_EMAIL,
            key_label=label,
            has_credits=False,
        )


class Authenticator(Protocol):
    """Finds callers: the accounts, or `TestAccounts`."""

    async def authenticate(self, dialect: str, credential: str) -> Caller | None: ...


async def find_simulating_caller(
    accounts: Authenticator, dialect: str, credential: str
) -> Caller | None:
    """The caller of a test key that has a simulated outcome behind it."""
    if KEY_MARK not in credential:
        return None
    parts = split_key(credential)
    if parts is None:
        return None
    key, word = parts
    caller = await accounts.authenticate(dialect, key)
    return replace(caller, simulate=word) if caller is not None and caller.test else None


class TestAccounts:
    """The accounts of a server that has test keys alone: nothing is charged or limited."""

    __test__ = False

    def __init__(self, keys: TestKeys, clocks: Clocks) -> None:
        self._callers = keys.callers
        self._clocks = clocks

    async def authenticate(self, dialect: str, credential: str) -> Caller | None:
        return self._callers.get((dialect, credential))

    async def enforce_rate_limit(self, caller: Caller, bucket: str) -> None:
        return None

    async def charge(self, caller: Caller, units: int) -> Charge:
        return Charge(caller.account_id, self._month(caller), 0)

    async def refund(self, charge: Charge, units: int) -> None:
        return None

    async def usage(self, caller: Caller) -> Usage:
        return Usage(self._month(caller), used=0, included=None, credits_left=None)

    def _month(self, caller: Caller) -> str:
        return datetime.fromtimestamp(self._clocks.now(caller.sandbox_scope), UTC).strftime("%Y-%m")
