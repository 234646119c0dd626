"""Who is asking, and what answering needs of the accounts: no storage is known here.

`AccountService` is all that a request needs, so that the sandbox can do without a database.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from adapters.contract.operations import Plan


class AccountStatus(StrEnum):
    """Whether an account may use its keys."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    UNCONFIRMED = "unconfirmed"  # its owner's e-mail address


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, as far as the key tells."""

    account_id: int
    """Of the database from 1; the sandbox's own are 0 and below."""
    key_id: int
    dialect: str
    test: bool
    """A test key: never charged, never limited, answered by the sandbox."""
    plan: Plan
    """As it holds in this dialect."""
    status: AccountStatus
    owner_email: str
    key_label: str
    """The key's name, or its hint; fit for logs."""
    has_credits: bool
    """Whether the account pays with credits, so that they may run out."""
    simulate: str = ""
    """The outcome that a test key asked to see (`gateway.sandbox.simulate`)."""

    @property
    def sandbox_scope(self) -> int:
        """Within which the sandbox keeps things apart: a key, or a set of the sandbox's keys."""
        return self.key_id if self.account_id > 0 else self.account_id

    @property
    def allowance(self) -> int | None:
        """What a month may come to; None is without limit."""
        return self.plan.included if self.plan.hard_cap else None

    @property
    def metered(self) -> bool:
        """Whether a charge can be refused."""
        return not self.test and (self.has_credits or self.allowance is not None)


@dataclass(frozen=True, slots=True)
class Usage:
    """What an account used of what it may."""

    month: str
    """Calendar month in UTC, YYYY-MM."""
    used: int
    """Verifications charged this month."""
    included: int | None
    """The plan's allowance for a month; None is without limit."""
    credits_left: int | None
    """What can still be charged, credits and hard cap together; None is without limit."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What was charged, for giving it back; a batch keeps it with its rows."""

    account_id: int
    month: str
    units: int
    """0 for a test key."""


class InsufficientCredits(Exception):
    """Too few credits, or too little of the month's allowance, are left; nothing was charged."""

    def __init__(self, used: int, limit: int) -> None:
        super().__init__(f"{used} of {limit} used")
        self.used = used
        """Verifications charged this month."""
        self.limit = limit
        """What could have been charged this month altogether."""


class AccountService(Protocol):
    """What a request needs of the accounts; `Accounts` beside this says it in full."""

    async def authenticate(self, dialect: str, credential: str) -> Caller | None: ...

    async def enforce_rate_limit(self, caller: Caller, bucket: str) -> None: ...

    async def charge(self, caller: Caller, units: int) -> Charge: ...

    async def refund(self, charge: Charge, units: int) -> None: ...

    async def usage(self, caller: Caller) -> Usage: ...
