"""The order in which sources are asked, and which answer is good enough."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from engine.model import Reason, Verdict, Verification
from gateway.settings import Strategy
from gateway.upstreams.source.source import Source

DEFINITE = frozenset({Verdict.DELIVERABLE, Verdict.UNDELIVERABLE})
"""What a waterfall stops at."""

RANKS: Mapping[Verdict, int] = {
    Verdict.DELIVERABLE: 0,
    Verdict.UNDELIVERABLE: 0,
    Verdict.RISKY: 1,
    Verdict.UNKNOWN: 2,
}
"""Which of several answers says most."""


def _as_listed(sources: Sequence[Source], _: random.Random) -> list[Source]:
    return list(sources)


def _weighted(sources: Sequence[Source], rng: random.Random) -> list[Source]:
    """A draw without putting back, by weight (Efraimidis and Spirakis, 2006)."""
    drawn = [(rng.random() ** (1 / s.weight) if s.weight > 0 else -1.0, s) for s in sources]
    return [source for _, source in sorted(drawn, key=lambda pair: -pair[0])]


def _cheapest(sources: Sequence[Source], _: random.Random) -> list[Source]:
    return sorted(sources, key=lambda source: source.price)


EXPLORATION_SHARE = 0.02
"""Of the requests of `fastest` that go to a slower source, so that its mean stays true."""


def _fastest(sources: Sequence[Source], rng: random.Random) -> list[Source]:
    """By the moving mean; one that was never asked goes first, once."""
    ordered = sorted(sources, key=lambda source: source.latency.mean_s or 0.0)
    if len(ordered) > 1 and rng.random() < EXPLORATION_SHARE:
        place = rng.randrange(1, len(ordered))
        ordered.insert(0, ordered.pop(place))
    return ordered


SOURCE_ORDERS: Mapping[Strategy, Callable[[Sequence[Source], random.Random], list[Source]]] = {
    Strategy.FAILOVER: _as_listed,
    Strategy.WEIGHTED: _weighted,
    Strategy.CHEAPEST: _cheapest,
    Strategy.FASTEST: _fastest,
    Strategy.WATERFALL: _as_listed,
    Strategy.QUORUM: _as_listed,
}


def is_final(strategy: Strategy, source: Source, v: Verification) -> bool:
    """Whether nobody else needs to be asked."""
    enough = v.verdict in DEFINITE or strategy is not Strategy.WATERFALL
    if enough and v.verdict in source.final:
        return True
    # an unknown for want of a check that was not asked for: nobody else is asked for it either
    return v.reason is Reason.NOT_CHECKED


def most_informative(answers: Sequence[Verification]) -> Verification:
    """The answer that says most, the earliest of several."""
    return min(answers, key=lambda v: RANKS[v.verdict])
