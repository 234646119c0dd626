"""The database: its tables, access to it, and its errors."""

from gateway.store.errors import (
    StoreAway,
    StoreBusy,
    StoreConflict,
    StoreError,
    StoreFull,
    StoreTooNew,
    StoreTooOld,
    StoreUnusable,
)
from gateway.store.store import BUSY_TIMEOUT_S, Store, open_store

__all__ = [
    "BUSY_TIMEOUT_S",
    "Store",
    "StoreAway",
    "StoreBusy",
    "StoreConflict",
    "StoreError",
    "StoreFull",
    "StoreTooNew",
    "StoreTooOld",
    "StoreUnusable",
    "open_store",
]
