"""Routes: which sources answer the questions of which keys, and how."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.settings import Completion, Strategy
from gateway.upstreams.routing.budgets import SpendingCap
from gateway.upstreams.source.source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRoute:
    """How the questions of some keys are answered."""

    name: str
    strategy: Strategy
    sources: tuple[Source, ...]
    deadline_s: float
    as_unknown: bool
    """Whether a question without an answer gets an unknown verdict in place of an error."""
    complete: Completion
    quorum_ask: int
    """Sources asked at the same time by a quorum."""
    quorum_agree: int
    """Sources that must agree on a verdict."""
    hedge: bool
    """Whether a slow source is overtaken by the next one."""
    hedge_percentile: float
    """The percentile of a source's latencies beyond which it is slow."""
    key_cap: SpendingCap
    """What each of the keys may spend."""
