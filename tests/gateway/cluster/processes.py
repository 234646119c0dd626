"""Processes that share a database, for tests."""

from __future__ import annotations

from gateway.cluster.dispatch import DispatchConfig, ProcrastinateDispatch
from gateway.cluster.embedded import EmbeddedDispatch
from gateway.cluster.ports import Dispatch

HEARTBEAT_S = 0.2
DEAD_AFTER_S = 1.0


def dispatch_for(url: str, *, drain_s: float = 0.1) -> Dispatch:
    """One with short times, so that the dead are soon missed."""
    if url.startswith("sqlite"):
        return EmbeddedDispatch()
    return ProcrastinateDispatch(
        DispatchConfig(url=url, heartbeat_s=HEARTBEAT_S, dead_after_s=DEAD_AFTER_S, drain_s=drain_s)
    )
