"""What accounts keep besides keys and credits: use by day, and filters.

No storage is imported here: the sandbox keeps both in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Protocol

from adapters.contract.filters import (
    FILTER_SOURCE,
    MAX_FILTERS,
    AddressFilter,
    FilterList,
    Filters,
)
from adapters.contract.problems import Problem, ProblemKind
from engine.address.offline import offline_evidence
from engine.model import Address, Checks, Reason, Verdict, Verification
from engine.score import score
from engine.verification import verification_from_verdict

NO_FILTERS = Filters()


class DailyUse(Protocol):
    """How often each word was the result of a verification, by account, dialect and day (UTC)."""

    def count(self, account_id: int, dialect: str, words: Iterable[str]) -> None:
        """Count each word once, today. It is written soon."""
        ...

    async def between(
        self, account_id: int, dialect: str, first: date, last: date
    ) -> Mapping[str, int]:
        """The sums over some days, both included. Raises StoreError."""
        ...


class FilterStore(Protocol):
    """The filters of all accounts. Every method may raise StoreError."""

    async def find(self, account_id: int, dialect: str) -> Filters: ...

    async def add(self, account_id: int, dialect: str, new: AddressFilter) -> bool:
        """False if there are too many already."""
        ...

    async def delete(self, account_id: int, dialect: str, old: AddressFilter) -> bool:
        """False if there is none like it."""
        ...


@dataclass(frozen=True, slots=True)
class CallerFilters(FilterList):
    """The filters of one caller in one dialect."""

    store: FilterStore
    account_id: int
    dialect: str

    async def show(self) -> Sequence[AddressFilter]:
        return (await self.store.find(self.account_id, self.dialect)).all

    async def add(self, new: AddressFilter) -> None:
        if not await self.store.add(self.account_id, self.dialect, new):
            raise Problem(ProblemKind.TOO_MANY, field="filters", limit=MAX_FILTERS)

    async def delete(self, old: AddressFilter) -> bool:
        return await self.store.delete(self.account_id, self.dialect, old)


@dataclass(frozen=True, slots=True)
class AccountState:
    """Both of them."""

    use: DailyUse
    filters: FilterStore


def filtered_result(
    address: Address, checks: Checks, found: AddressFilter, verified_at: datetime
) -> Verification:
    """The result that a filter decides before anything is asked."""
    verdict, reason = _decision(found)
    return verification_from_verdict(
        address,
        verdict,
        reason,
        offline_evidence(address),
        checks,
        verified_at=verified_at,
        source=FILTER_SOURCE,
    )


def apply_filters(filters: Filters, verification: Verification) -> Verification:
    """The result with the verdict of the filter that decides, if there is one."""
    if not filters:
        return verification
    evidence = verification.evidence
    found = filters.find(verification.address, [mx.host for mx in evidence.mx])
    if found is None:
        return verification
    verdict, reason = _decision(found)
    points = score(verdict, reason, evidence)
    return replace(verification, verdict=verdict, reason=reason, score=points, source=FILTER_SOURCE)


def _decision(found: AddressFilter) -> tuple[Verdict, Reason]:
    if found.allows:
        return Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL
    return Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL
