"""Operations on what an account keeps besides batches: its use by day, and its filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from adapters.contract.filters import AddressFilter
from adapters.contract.operations import Operation, OperationRunner


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowUse(Operation[Mapping[str, int]]):
    """How many addresses were verified from one day (UTC) to another, both included.

    The outcome has a number for each of `Dialect.use_words`; a missing one is 0.
    """

    first: date
    last: date

    async def run_by(self, runner: OperationRunner) -> Mapping[str, int]:
        return await runner.show_use(self.first, self.last)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowFilters(Operation[Sequence[AddressFilter]]):
    """Show the caller's filters, oldest first."""

    async def run_by(self, runner: OperationRunner) -> Sequence[AddressFilter]:
        return await runner.filters().show()


@dataclass(frozen=True, slots=True, kw_only=True)
class AddFilter(Operation[None]):
    """Add a filter."""

    filter: AddressFilter

    async def run_by(self, runner: OperationRunner) -> None:
        await runner.filters().add(self.filter)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteFilter(Operation[bool]):
    """Delete a filter; the outcome is whether there was one."""

    filter: AddressFilter

    async def run_by(self, runner: OperationRunner) -> bool:
        return await runner.filters().delete(self.filter)
