"""Which dispatch a process has, by its settings."""

from __future__ import annotations

from collections.abc import Callable, Collection

from gateway.cluster.embedded import EmbeddedDispatch
from gateway.cluster.ports import Dispatch
from gateway.settings import Settings
from gateway.store import StoreUnusable


def open_dispatch(
    settings: Settings, egresses: Collection[str], *, clock: Callable[[], float]
) -> Dispatch:
    """procrastinate's on PostgreSQL, the embedded one on a SQLite file. Raises StoreUnusable.

    `egresses` are the names of this process's egresses.
    """
    storage, work = settings.storage, settings.work
    if not storage.url.startswith("postgresql"):
        return EmbeddedDispatch()
    try:
        from gateway.cluster.dispatch import DispatchConfig, ProcrastinateDispatch
    except ModuleNotFoundError as exc:
        words = "needs procrastinate: pip install 'veriplex[cluster]'"
        raise StoreUnusable(storage.url, words) from exc
    return ProcrastinateDispatch(
        DispatchConfig(
            url=storage.full_direct_url,
            pieces=work.pieces,
            heartbeat_s=work.heartbeat_s,
            dead_after_s=work.dead_after_s,
            egresses=frozenset(egresses),
        ),
        clock=clock,
    )
