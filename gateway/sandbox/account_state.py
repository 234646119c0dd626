"""Use by day and filters of test keys, in memory. A scope takes the place of an account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime

from adapters.contract.filters import MAX_FILTERS, AddressFilter, Filters
from gateway.accounts.account_state import NO_FILTERS
from gateway.sandbox.budget import ScopedStore
from gateway.sandbox.clock import Clocks

MAX_DAYS = 2_000
"""Days of all scopes and dialects with use."""
DAY_BYTES = 4_000
"""Of the counters of a day, about."""
MAX_FILTER_LISTS = 1_000
MAX_FILTER_BYTES = 4 * 1024 * 1024
FILTER_BYTES = 400
"""Of one filter, about."""


class SandboxUse:
    """`gateway.accounts.account_state.DailyUse`, timed by the clock of each scope."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._days: ScopedStore[tuple[int, str, str], Counter[str]] = ScopedStore(
            max_values=MAX_DAYS, max_size=MAX_DAYS * DAY_BYTES
        )

    def __len__(self) -> int:
        return len(self._days)

    def count(self, scope: int, dialect: str, words: Iterable[str]) -> None:
        now = datetime.fromtimestamp(self._clocks.now(scope), UTC)
        key = scope, dialect, now.date().isoformat()
        counts = self._days.get(key)
        if counts is None:
            counts = Counter()
            self._days.put(scope, key, counts, DAY_BYTES)
        counts.update(words)

    async def between(self, scope: int, dialect: str, first: date, last: date) -> Mapping[str, int]:
        total: Counter[str] = Counter()
        for key in self._days.keys(scope):
            if key[1] == dialect and first.isoformat() <= key[2] <= last.isoformat():
                total.update(self._days.get(key) or {})
        return total

    def clear(self, scope: int | None) -> None:
        """Forget the use of a scope; for None that of all."""
        self._days.clear(scope)


class SandboxFilters:
    """`gateway.accounts.account_state.FilterStore`."""

    def __init__(self) -> None:
        self._lists: ScopedStore[tuple[int, str], Filters] = ScopedStore(
            max_values=MAX_FILTER_LISTS, max_size=MAX_FILTER_BYTES
        )

    def get(self, scope: int, dialect: str) -> Filters:
        return self._lists.get((scope, dialect)) or NO_FILTERS

    async def find(self, scope: int, dialect: str) -> Filters:
        return self.get(scope, dialect)

    async def add(self, scope: int, dialect: str, new: AddressFilter) -> bool:
        others = [each for each in self.get(scope, dialect).all if not _are_alike(each, new)]
        if len(others) >= MAX_FILTERS:
            return False
        self._put(scope, dialect, Filters([*others, new]))
        return True

    async def delete(self, scope: int, dialect: str, old: AddressFilter) -> bool:
        before = self.get(scope, dialect).all
        self._put(scope, dialect, Filters(each for each in before if each != old))
        return old in before

    def _put(self, scope: int, dialect: str, filters: Filters) -> None:
        self._lists.remove((scope, dialect))
        if filters:
            self._lists.put(scope, (scope, dialect), filters, FILTER_BYTES * len(filters.all))

    def clear(self, scope: int | None) -> None:
        """Delete the filters of a scope; for None those of all."""
        self._lists.clear(scope)


def _are_alike(one: AddressFilter, other: AddressFilter) -> bool:
    return (one.target, one.value) == (other.target, other.value)
