"""Strategies: the order in which sources are asked, and the result that ends the search."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from engine.model import Reason, Verdict, Verification
from gateway.settings import Strategy
from gateway.upstreams.source.source import Source

DEFINITE = frozenset({Verdict.DELIVERABLE, Verdict.UNDELIVERABLE})
"""The verdicts that end a waterfall."""

RANKS: Mapping[Verdict, int] = {
    Verdict.DELIVERABLE: 0,
    Verdict.UNDELIVERABLE: 0,
    Verdict.RISKY: 1,
    Verdict.UNKNOWN: 2,
}
"""Of several verdicts the one with the lowest rank says most."""


def _as_listed(sources: Sequence[Source], _: random.Random) -> list[Source]:
    return list(sources)


def _weighted(sources: Sequence[Source], rng: random.Random) -> list[Source]:
    """A weighted draw without replacement (Efraimidis and Spirakis, 2006)."""
    drawn = [(rng.random() ** (1 / s.weight) if s.weight > 0 else -1.0, s) for s in sources]
    return [source for _, source in sorted(drawn, key=lambda pair: -pair[0])]


def _cheapest(sources: Sequence[Source], _: random.Random) -> list[Source]:
    return sorted(sources, key=lambda source: source.price)


EXPLORATION_SHARE = 0.02
"""The share of requests of `fastest` that a slower source gets, to keep its mean up to date."""


def _fastest(sources: Sequence[Source], rng: random.Random) -> list[Source]:
    """By the moving mean of their latency; a source that was never asked comes first."""
    ordered = sorted(sources, key=lambda source: source.latency.mean_s or 0.0)
    if len(ordered) > 1 and rng.random() < EXPLORATION_SHARE:
        ordered.insert(0, ordered.pop(rng.randrange(1, len(ordered))))
    return ordered


SOURCE_ORDERS: Mapping[Strategy, Callable[[Sequence[Source], random.Random], list[Source]]] = {
    Strategy.FAILOVER: _as_listed,
    Strategy.WEIGHTED: _weighted,
    Strategy.CHEAPEST: _cheapest,
    Strategy.FASTEST: _fastest,
    Strategy.WATERFALL: _as_listed,
    Strategy.QUORUM: _as_listed,
    Strategy.MEASURED: _as_listed,  # as long as there is no evidence
}


def is_final(strategy: Strategy, source: Source, v: Verification) -> bool:
    """Whether the verification is accepted without asking the next source."""
    enough = v.verdict in DEFINITE or strategy is not Strategy.WATERFALL
    if enough and v.verdict in source.final:
        return True
    # Unknown for want of a check that was not wanted, which the next source would not make either.
    return v.reason is Reason.NOT_CHECKED


def most_informative(verifications: Sequence[Verification]) -> Verification:
    """The verification that says most; of several the first."""
    return min(verifications, key=lambda v: RANKS[v.verdict])
