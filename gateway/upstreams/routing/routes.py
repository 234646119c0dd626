"""Routes: which sources answer the questions of which keys, and how."""

from __future__ import annotations

import random
from dataclasses import dataclass

from engine.model import Address
from gateway.settings import Completion, Strategy
from gateway.upstreams.routing.budgets import SpendingCap
from gateway.upstreams.routing.measured import Choice, MeasuredOrder
from gateway.upstreams.routing.strategies import SOURCE_ORDERS
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
    measured: MeasuredOrder | None = None
    """Orders the sources, if the strategy is `measured`."""

    def order(self, address: Address, rng: random.Random) -> Choice:
        """The sources in the order in which they are asked about an address."""
        if self.measured is not None:
            return self.measured.order(self.sources, address, rng)
        return Choice(SOURCE_ORDERS[self.strategy](self.sources, rng), "")
