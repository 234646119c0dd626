"""Test keys: the well-known ones, and new ones for tests that run at the same time.

A set of new keys, one for each dialect, is an account of its own, which does not share requests,
faults and batches with others. Account 0 is that of the well-known keys; the other accounts here
have negative numbers, since those of the database are positive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from adapters.contract.dialect import Dialect
from adapters.contract.operations import UNLIMITED
from gateway.accounts.caller import AccountStatus, BegunCharge, Caller, Charge, Usage
from gateway.accounts.keys import mint_key
from gateway.sandbox.clock import Clocks
from gateway.sandbox.simulate import KEY_MARK, parse_word, split_key, unknown_word

OWNER_EMAIL = "sandbox@example.com"
"""The owner of test keys, as account endpoints show it."""
WELL_KNOWN_ACCOUNT = 0
MAX_ACCOUNTS = 10_000
"""Accounts that are stored; another one revokes the keys of the oldest."""


class TestKeys:
    """The test keys that need no database."""

    __test__ = False  # the name does not make it a test for pytest

    def __init__(self, dialects: Iterable[Dialect], *, extra_keys: Iterable[str] = ()) -> None:
        self._dialects = tuple(dialects)
        self._by_name = {dialect.name: dialect for dialect in self._dialects}
        self._created: dict[int, dict[str, str]] = {}
        self._next_account = WELL_KNOWN_ACCOUNT - 1
        self.callers: dict[tuple[str, str], Caller] = {}
        """By dialect and key. Changes of the keys change this dict, which others hold."""
        self.well_known = {dialect.name: dialect.sandbox_key for dialect in self._dialects}
        for dialect in self._dialects:
            for key in (dialect.sandbox_key, *extra_keys):
                self._add(WELL_KNOWN_ACCOUNT, dialect.name, key, "well-known test key")

    def dialect(self, name: str) -> Dialect:
        return self._by_name[name]

    def create_account(self) -> tuple[int, Mapping[str, str]]:
        """Create an account; returns its number, and its keys by dialect."""
        if len(self._created) >= MAX_ACCOUNTS:
            self.revoke_account(next(iter(self._created)))
        account_id, self._next_account = self._next_account, self._next_account - 1
        keys = {dialect.name: mint_key(dialect.key_shape, test=True) for dialect in self._dialects}
        self._created[account_id] = keys
        for dialect, key in keys.items():
            self._add(account_id, dialect, key, f"test key {-account_id}")
        return account_id, keys

    def revoke_account(self, account_id: int) -> None:
        """Refuse the keys of a created account from now on."""
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
    """Finds the caller of a key: the accounts, or `TestAccounts`."""

    async def authenticate(self, dialect: str, credential: str) -> Caller | None: ...


async def find_simulating_caller(
    accounts: Authenticator, dialect: str, credential: str
) -> Caller | None:
    """The caller of a test key that is followed by the word for a simulation.

    Raises `Problem` for an unknown word.
    """
    if KEY_MARK not in credential:
        return None
    parts = split_key(credential)
    if parts is None:
        return None
    key, word = parts
    caller = await accounts.authenticate(dialect, key)
    if caller is None or not caller.test:
        return None
    known = parse_word(word)
    if known is None:
        raise unknown_word(word)
    return replace(caller, simulate=known)


class TestAccounts:
    """The accounts of a server with test keys only: nothing is charged or limited."""

    __test__ = False

    def __init__(self, keys: TestKeys, clocks: Clocks) -> None:
        self._callers = keys.callers
        self._clocks = clocks

    async def authenticate(self, dialect: str, credential: str) -> Caller | None:
        return self._callers.get((dialect, credential))

    def other_dialect(self, dialect: str, credential: str) -> str | None:
        return next((name for name, key in self._callers if key == credential), None)

    async def enforce_rate_limit(self, caller: Caller, bucket: str) -> None:
        return None

    def begin_charge(self, caller: Caller, units: int) -> BegunCharge:
        return BegunCharge(Charge(caller.account_id, self._month(caller), 0))

    async def refund(self, charge: Charge, units: int) -> None:
        return None

    async def usage(self, caller: Caller) -> Usage:
        return Usage(self._month(caller), used=0, included=None, credits_left=None)

    def _month(self, caller: Caller) -> str:
        return datetime.fromtimestamp(self._clocks.now(caller.sandbox_scope), UTC).strftime("%Y-%m")
