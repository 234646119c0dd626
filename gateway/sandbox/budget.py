"""What the sandbox stores for all its scopes together, within a budget of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

SHARE = 1 / 4
"""Of the budget. A scope that uses more makes room before the others do."""


class _Entry(NamedTuple, Generic[V]):
    scope: int | None
    size: int
    value: V


@dataclass(slots=True)
class _Usage(Generic[K]):
    """What one scope has stored."""

    keys: OrderedDict[K, None] = field(default_factory=OrderedDict)
    """Oldest first."""
    size: int = 0


class ScopedStore(Generic[K, V]):
    """Values by key, whose number and size in bytes are bounded.

    The oldest value makes room for a new one. But while a scope uses more than its `SHARE`, its own
    oldest value does, so that a scope which floods the store loses its own values and no others'.
    """

    def __init__(
        self,
        *,
        max_values: int,
        max_size: int,
        on_removal: Callable[[V], None] = lambda _: None,
    ) -> None:
        """`on_removal` is called with every value that is removed."""
        self._max_values = max_values
        self._max_size = max_size
        self._on_removal = on_removal
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        """Oldest first."""
        self._usage: dict[int | None, _Usage[K]] = {}
        self._largest: _Usage[K] = _Usage()
        """Of the scope that used most of all when it last stored a value."""
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, scope: int | None, key: K, value: V, size: int) -> None:
        """Store a value under a new key, and remove others until all fit.

        A value that is larger than the budget is not stored.
        """
        self._entries[key] = _Entry(scope, size, value)
        usage = self._usage.get(scope)
        if usage is None:
            usage = self._usage[scope] = _Usage()
        usage.keys[key] = None
        usage.size += size
        self.size += size
        if usage.size >= self._largest.size:
            self._largest = usage
        while len(self._entries) > self._max_values or self.size > self._max_size:
            crowded = self._uses_more_than_its_share(self._largest)
            oldest = next(iter(self._largest.keys if crowded else self._entries))
            if oldest == key:  # the only one of its scope stays, however large
                oldest = next(iter(self._entries))
            self.remove(oldest)

    def get(self, key: K) -> V | None:
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def remove(self, key: K) -> bool:
        """Remove a value; False if there is none with this key."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        usage = self._usage[entry.scope]
        del usage.keys[key]
        usage.size -= entry.size
        self.size -= entry.size
        if not usage.keys:
            del self._usage[entry.scope]
        self._on_removal(entry.value)
        return True

    @property
    def scopes(self) -> list[int]:
        """Those that have values."""
        return [scope for scope in self._usage if scope is not None]

    def keys(self, scope: int | None) -> list[K]:
        """The keys of a scope, for None those of all scopes; oldest first."""
        if scope is None:
            return list(self._entries)
        usage = self._usage.get(scope)
        return [] if usage is None else list(usage.keys)

    def values(self, scope: int | None) -> list[V]:
        """The values of a scope, for None those of all scopes; oldest first."""
        return [self._entries[key].value for key in self.keys(scope)]

    def clear(self, scope: int | None) -> int:
        """Remove the values of a scope, for None all; returns their number."""
        return sum(self.remove(key) for key in self.keys(scope))

    def _uses_more_than_its_share(self, usage: _Usage[K]) -> bool:
        return usage.size > SHARE * self._max_size or len(usage.keys) > SHARE * self._max_values
