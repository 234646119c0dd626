"""What can go wrong with the storage.

StoreError
├── StoreUnusable   it cannot be opened: path, permission, not a database of ours
├── StoreTooNew     a newer version of Veriplex has been using it
├── StoreBusy       somebody else held its lock for longer than we wait
├── StoreFull       no room left to write
└── Conflict        a row like it is there already
"""

from __future__ import annotations

from gateway.errors import StorageUnavailable


class StoreError(StorageUnavailable):
    """The database could not do what was asked. `where` is its URL or path, without password."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where = where
        self.why = why


class StoreUnusable(StoreError):
    """It cannot be opened or written at all."""


class StoreTooNew(StoreError):
    """Its tables are of a version that this program does not know."""

    def __init__(self, where: str, revision: str) -> None:
        super().__init__(where, f"was made by a newer version (its tables are at {revision!r})")
        self.revision = revision


class StoreBusy(StoreError):
    """Locked by somebody else, or too much waiting already; a later try may do."""


class StoreFull(StoreError):
    """The disk is full."""


class StoreConflict(StoreError):
    """A unique value is taken, or a row refers to one that is not there."""
