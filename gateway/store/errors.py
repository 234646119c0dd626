"""The errors of the database.

StoreError
├── StoreUnusable   it cannot be opened: path, permission, another program's database
├── StoreTooNew     its tables were made by a newer version of Veriplex
├── StoreTooOld     its tables are not up to date, and this process may not migrate them
├── StoreAway       its server cannot be reached, or stops
├── StoreBusy       its lock was held by another for longer than we wait
├── StoreFull       the disk is full
└── StoreConflict   a unique value exists already
"""

from __future__ import annotations

from gateway.errors import StorageUnavailable


class StoreError(StorageUnavailable):
    """An operation of the database failed. `where` is its path, or its URL without password."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason


class StoreUnusable(StoreError):
    """It cannot be opened or written at all."""


class StoreTooNew(StoreError):
    """Its tables have a version that this program does not know."""

    def __init__(self, where: str, revision: str) -> None:
        super().__init__(where, f"was made by a newer version (its tables are at {revision!r})")
        self.revision = revision


class StoreTooOld(StoreError):
    """Its tables are those of an older version, or missing, and are not migrated here."""

    def __init__(self, where: str, revision: str) -> None:
        words = "has no tables yet" if revision == "empty" else f"has tables at {revision!r}"
        super().__init__(where, f"{words}; bring it up to date with: veriplex migrate")
        self.revision = revision


class StoreBusy(StoreError):
    """Locked by another process, or too many operations wait; a later attempt may succeed."""


class StoreAway(StoreError):
    """The database server cannot be reached, or is being stopped; it may come back."""


class StoreFull(StoreError):
    """The disk is full."""


class StoreConflict(StoreError):
    """A unique value exists already, or a foreign key refers to a row that does not exist."""
