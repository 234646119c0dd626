"""Which sources, asked one after the other, reach a bounce rate for the least money. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from engine.model import Verdict
from gateway.comparing.compared import DECIDED, ComparedSource, price_of
from gateway.outcomes.statistics import Share
from gateway.upstreams.routing.budgets import MICROS_PER_UNIT

MAX_SOURCES = 3
"""In one mix; a fourth decides hardly any address more."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Sources that are asked in this order until one of them decides; mail is sent to addresses
    that are called deliverable."""

    sources: Sequence[str]
    bounced: Share
    """Of the addresses that mail is sent to."""
    sent: Share
    """Of all addresses whose outcome is known."""
    cost: float
    """Of an address on average, in the currency of the settings."""


def cheapest_mix(
    bounced: Mapping[int, bool], sources: Sequence[ComparedSource], wished: float
) -> Mix | None:
    """The cheapest mix whose bounce rate is surely not above `wished` (0 to 1): the upper limit of
    its interval is not. Of equal ones that which sends to most addresses; None if there is none.

    `bounced` has the known outcomes, by the number of the address.
    """
    good = [mix for mix in all_mixes(bounced, sources) if mix.bounced.interval[1] <= wished]
    return min(good, key=lambda mix: (mix.cost, -mix.sent.hits, len(mix.sources)), default=None)


def all_mixes(bounced: Mapping[int, bool], sources: Sequence[ComparedSource]) -> Iterator[Mix]:
    """Every order of up to `MAX_SOURCES` sources."""
    for size in range(1, min(MAX_SOURCES, len(sources)) + 1):
        for order in permutations(sources, size):
            yield _mix(bounced, order)


def _mix(bounced: Mapping[int, bool], order: Sequence[ComparedSource]) -> Mix:
    sent = sent_and_bounced = micros = 0
    for number, did_bounce in bounced.items():
        verdict = None
        for source in order:
            answer = source.answers.get(number)
            if answer is None:
                continue
            micros += price_of(source, answer.verdict)
            verdict = answer.verdict
            if verdict in DECIDED:
                break
        if verdict is Verdict.DELIVERABLE:
            sent += 1
            sent_and_bounced += did_bounce
    return Mix(
        sources=[source.name for source in order],
        bounced=Share(sent_and_bounced, sent),
        sent=Share(sent, len(bounced)),
        cost=micros / len(bounced) / MICROS_PER_UNIT if bounced else 0.0,
    )
