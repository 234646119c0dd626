"""The storage: tables, the database they live in, and what can go wrong with it."""

from gateway.store.errors import (
    StoreBusy,
    StoreConflict,
    StoreError,
    StoreFull,
    StoreTooNew,
    StoreUnusable,
)
from gateway.store.store import BUSY_TIMEOUT_S, Store, open_store

__all__ = [
    "BUSY_TIMEOUT_S",
    "Store",
    "StoreBusy",
    "StoreConflict",
    "StoreError",
    "StoreFull",
    "StoreTooNew",
    "StoreUnusable",
    "open_store",
]
