"""The caller of a request, and what serving it needs of the accounts.

No storage is imported here: with `AccountService` the sandbox does without a database.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from adapters.contract.operations import Plan
from adapters.contract.problems import ProblemKind


class AccountStatus(StrEnum):
    """Whether the keys of an account are accepted."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    UNCONFIRMED = "unconfirmed"  # the owner has not confirmed the e-mail address


PROBLEM_OF_STATUS: Mapping[AccountStatus, ProblemKind] = {
    AccountStatus.SUSPENDED: ProblemKind.SUSPENDED,
    AccountStatus.UNCONFIRMED: ProblemKind.UNCONFIRMED,
}
"""Why the requests of an account that is not active are refused."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The key of a request, and its account."""

    account_id: int
    """In the database from 1; the sandbox's own accounts are 0 and below."""
    key_id: int
    dialect: str
    test: bool
    """Whether it is a test key: answered by the sandbox, never charged or limited."""
    plan: Plan
    """As it applies in this dialect."""
    status: AccountStatus
    owner_email: str
    key_label: str
    """The key's label, or else its hint; safe for logs."""
    has_credits: bool
    """Whether the account has a limited number of credits."""
    simulate: str = ""
    """The outcome that a test key simulates (`gateway.sandbox.simulate`); empty for none."""

    @property
    def sandbox_scope(self) -> int:
        """What separates callers in the sandbox: the key, or a set of the sandbox's own keys."""
        return self.key_id if self.account_id > 0 else self.account_id

    @property
    def allowance(self) -> int | None:
        """Verifications allowed in a month; None is without limit."""
        return self.plan.included if self.plan.hard_cap else None

    @property
    def metered(self) -> bool:
        """Whether a charge can be refused."""
        return not self.test and (self.has_credits or self.allowance is not None)


@dataclass(frozen=True, slots=True)
class Usage:
    """The use of an account in the current month."""

    month: str
    """Calendar month in UTC, YYYY-MM."""
    used: int
    """Verifications charged this month."""
    included: int | None
    """The plan's monthly allowance; None is without limit."""
    credits_left: int | None
    """Verifications that can still be charged, by credits and hard cap; None is without limit."""


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge, as needed to refund it."""

    account_id: int
    month: str
    units: int
    """0 for a test key."""
    is_counted: bool = False
    """Whether it was counted in memory, as use without a limit is."""


@dataclass(frozen=True, slots=True)
class BegunCharge:
    """A charge whose commit may be still to come."""

    charge: Charge
    committed: Awaitable[object] | None = None
    """None: there is nothing to wait for. It is awaited once at most."""
    is_covered: bool = True
    """Whether it will hardly be refused: the balance as last seen covers it."""

    async def settled(self) -> Charge:
        """The charge, once it is on disk. Raises InsufficientCredits, StoreError."""
        if self.committed is not None:
            await self.committed
        return self.charge


class InsufficientCredits(Exception):
    """The credits, or the rest of the month's allowance, do not suffice; nothing was charged."""

    def __init__(self, used: int, limit: int) -> None:
        super().__init__(f"{used} of {limit} used")
        self.used = used
        """Verifications charged this month."""
        self.limit = limit
        """Verifications that could have been charged this month in all."""


class AccountService(Protocol):
    """What serving a request needs of the accounts; documented in `Accounts`."""

    async def authenticate(self, dialect: str, credential: str) -> Caller | None: ...

    def other_dialect(self, dialect: str, credential: str) -> str | None: ...

    async def enforce_rate_limit(self, caller: Caller, bucket: str) -> None: ...

    def begin_charge(self, caller: Caller, units: int) -> BegunCharge: ...

    async def refund(self, charge: Charge, units: int) -> None: ...

    async def usage(self, caller: Caller) -> Usage: ...
