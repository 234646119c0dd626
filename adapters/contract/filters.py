"""Allow lists and block lists of a client: addresses whose result it has decided itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from engine.model import Address

FILTER_SOURCE = "filter"
"""The source of a result that a filter decided: deliverable if it allows, else undeliverable."""
MAX_FILTERS = 1_000
"""Of one account in one dialect."""
MAX_VALUE_CHARACTERS = 320


class FilterTarget(StrEnum):
    """What of an address a filter looks at. The first that has a filter decides."""

    EMAIL = "email"
    DOMAIN = "domain"
    MX = "mx"
    TLD = "tld"


@dataclass(frozen=True, slots=True)
class AddressFilter:
    """Allow or block all addresses whose `target` is `value`."""

    allows: bool
    target: FilterTarget
    value: str
    """In lower case; a domain has no `@` before it, and a top-level domain no dot. A mail host
    matches a filter of its name or of a domain that it is in."""


class Filters:
    """The filters of one client. Immutable."""

    def __init__(self, filters: Iterable[AddressFilter] = ()) -> None:
        self.all = tuple(filters)
        """Oldest first."""
        self._by_value = {(each.target, each.value): each for each in self.all}
        self.need_mx = any(each.target is FilterTarget.MX for each in self.all)

    def __bool__(self) -> bool:
        return bool(self.all)

    def find_early(self, address: Address) -> AddressFilter | None:
        """The filter that decides whatever the mail hosts of the address are."""
        found = self.find(address)
        if found is not None and found.target is FilterTarget.TLD and self.need_mx:
            return None
        return found

    def find(self, address: Address, mx_hosts: Sequence[str] = ()) -> AddressFilter | None:
        """The filter that decides, if these are its mail hosts."""
        if not self.all or not address.valid:
            return None
        domains = (address.domain, address.ascii_domain)
        wanted = (
            (FilterTarget.EMAIL, (address.normalized.lower(), address.raw.lower())),
            (FilterTarget.DOMAIN, domains),
            (FilterTarget.MX, tuple(name for host in mx_hosts for name in _with_parents(host))),
            (FilterTarget.TLD, tuple(domain.rpartition(".")[2] for domain in domains)),
        )
        for target, values in wanted:
            for value in values:
                if (found := self._by_value.get((target, value))) is not None:
                    return found
        return None


def _with_parents(host: str) -> Iterator[str]:
    """A host name and the domains that it is in."""
    labels = host.split(".")
    for at in range(len(labels)):
        yield ".".join(labels[at:])


class FilterList(Protocol):
    """The filters of the caller. Every method may raise `Problem`."""

    async def show(self) -> Sequence[AddressFilter]:
        """All of them, oldest first."""
        ...

    async def add(self, new: AddressFilter) -> None:
        """Add a filter; it takes the place of one with the same target and value.

        Raises `Problem` (`TOO_MANY`) beyond `MAX_FILTERS`.
        """
        ...

    async def delete(self, old: AddressFilter) -> bool:
        """Delete a filter; False if there is none like it."""
        ...
