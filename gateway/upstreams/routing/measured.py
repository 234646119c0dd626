"""The strategy `measured`: the source whose mistakes and unknowns are expected to cost least. Pure.

A source takes the place of the first in the order once mail has judged enough answers of both, and
its expected cost is lower by more than chance explains. In a share of the requests the costs are
drawn at random from what is possible by the evidence (Thompson, 1933), and the source with the
lowest one is asked: so a source of which little is known is tried, and one that is surely worse is
not.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from engine.model import Address, Verdict
from engine.smtp.mail_domains import provider_of_domain
from gateway.outcomes import words
from gateway.upstreams.routing.budgets import MICROS_PER_UNIT
from gateway.upstreams.routing.evidence import JUDGED, Evidence, SourceEvidence
from gateway.upstreams.source.source import Source

Z_SURELY = 1.644854
"""The quantile of the normal distribution for 95 % on one side."""
PRIOR_CASES = 2.0
"""So many cases the other sources count for in the estimate of one."""
DEFAULT_CASES, DEFAULT_WRONG = 10.0, 0.5
"""Before any mail was judged, one verdict in twenty is taken to be wrong."""
MAX_CHOICES = 10_000
"""Choices that are kept, by provider and sources, until the evidence is read anew."""
NOTHING = SourceEvidence()


@dataclass(frozen=True, slots=True)
class MistakePrices:
    """In the currency of the settings. Risky costs as much as unknown: neither decides."""

    wrong_deliverable: float
    wrong_undeliverable: float
    unknown: float

    def of(self, verdict: Verdict) -> float:
        """What the verdict costs if it is wrong, or decides nothing."""
        match verdict:
            case Verdict.DELIVERABLE:
                return self.wrong_deliverable
            case Verdict.UNDELIVERABLE:
                return self.wrong_undeliverable
        return self.unknown


class CostEstimate(NamedTuple):
    """What an answer of a source is expected to cost, with its price."""

    mean: float
    variance: float


class Choice(NamedTuple):
    """The order of the sources, and why."""

    order: Sequence[Source]
    reason: str
    """For the attempts; empty if there is no choice."""


class MeasuredOrder:
    """Orders the sources of one route."""

    def __init__(
        self,
        evidence: Callable[[], Evidence],
        prices: MistakePrices,
        *,
        share: float,
        seed: str = "",
    ) -> None:
        """`share` of the requests may try a source. With a `seed` the same address gets the same
        choice as long as the evidence is the same."""
        self._evidence = evidence
        self._prices = prices
        self._share = share
        self._seed = seed
        self._known: Evidence | None = None
        self._choices: dict[tuple[str, tuple[str, ...]], Choice] = {}

    def order(self, sources: Sequence[Source], address: Address, rng: random.Random) -> Choice:
        """The sources of a request, in the order in which they are asked."""
        if len(sources) < 2:
            return Choice(sources, "")
        evidence = self._evidence()
        if evidence is not self._known or len(self._choices) >= MAX_CHOICES:
            self._known = evidence
            self._choices.clear()
        # DNS is not asked: a request does not wait for its route
        provider = provider_of_domain(address.ascii_domain) or ""
        known = evidence.get(provider, {})
        if self._seed:
            text = f"{self._seed} {address.normalized}".encode(errors="surrogatepass")
            number = int.from_bytes(blake2b(text, digest_size=8).digest())
            if number / 2**64 < self._share:
                return self._try_one(sources, known, random.Random(number))  # noqa: S311
        elif rng.random() < self._share:
            return self._try_one(sources, known, rng)
        key = provider, tuple(source.name for source in sources)
        if key not in self._choices:
            self._choices[key] = self._choose(sources, known)
        return self._choices[key]

    def _choose(self, sources: Sequence[Source], known: Mapping[str, SourceEvidence]) -> Choice:
        """The best by what is known, or the first of the order."""
        evidence = {source: known.get(source.name, NOTHING) for source in sources}
        first = sources[0]
        if evidence[first].wrong_share.is_few:
            few = evidence[first].wrong_share.count
            return Choice(sources, f"measured: {few} outcomes of {first.name}, too few: failover")
        others = [each for each in sources[1:] if not evidence[each].wrong_share.is_few]
        if not others:
            return Choice(sources, "measured: too few outcomes of the other sources: failover")
        prior = Prior.of(known.values())
        costs = {
            each: estimate(evidence[each], prior, self._prices, _price(each))
            for each in (first, *others)
        }
        better = [each for each in others if _is_surely_less(costs[each], costs[first])]
        chosen = min(better, key=lambda each: costs[each].mean, default=first)
        rest = [each for each in costs if each is not chosen]
        second = min(rest, key=lambda each: costs[each].mean)
        reason = _reason(evidence[chosen], evidence[second])
        if chosen is first and costs[second].mean < costs[first].mean:
            reason += ", not surely better: failover"
        return Choice(_with_first(sources, chosen), reason)

    def _try_one(
        self, sources: Sequence[Source], known: Mapping[str, SourceEvidence], rng: random.Random
    ) -> Choice:
        prior = Prior.of(known.values())
        tried = min(
            sources,
            key=lambda each: draw(
                known.get(each.name, NOTHING), prior, self._prices, _price(each), rng
            ),
        )
        wrong = words.share(known.get(tried.name, NOTHING).wrong_share)
        return Choice(_with_first(sources, tried), f"measured: tried, wrong before: {wrong}")


class Prior(NamedTuple):
    """What is expected of a source before its own evidence: what is known of all of them."""

    wrong: Mapping[Verdict, float]
    mix: Mapping[Verdict, float]

    @classmethod
    def of(cls, known: Iterable[SourceEvidence]) -> Prior:
        answers, judged, wrong = Counter[Verdict](), Counter[Verdict](), Counter[Verdict]()
        for each in known:
            answers += each.answers
            judged += each.judged
            wrong += each.wrong
        return cls(
            {v: (wrong[v] + DEFAULT_WRONG) / (judged[v] + DEFAULT_CASES) for v in JUDGED},
            {v: (answers[v] + 1) / (answers.total() + len(Verdict)) for v in Verdict},
        )

    def betas(self, evidence: SourceEvidence, verdict: Verdict) -> tuple[float, float]:
        """The parameters of the probability that a verdict is wrong."""
        wrong, judged = evidence.wrong[verdict], evidence.judged[verdict]
        expected = self.wrong[verdict]
        return wrong + PRIOR_CASES * expected, judged - wrong + PRIOR_CASES * (1 - expected)

    def alphas(self, evidence: SourceEvidence) -> dict[Verdict, float]:
        """The parameters of the shares of the verdicts."""
        return {v: evidence.answers[v] + PRIOR_CASES * self.mix[v] for v in Verdict}


def estimate(
    evidence: SourceEvidence, prior: Prior, prices: MistakePrices, price: float
) -> CostEstimate:
    """What an answer is expected to cost."""
    alphas = prior.alphas(evidence)
    total = sum(alphas.values())
    mean = squares = variance = 0.0
    for verdict, alpha in alphas.items():
        share, cost, cost_variance = alpha / total, prices.of(verdict), 0.0
        if verdict in JUDGED:
            a, b = prior.betas(evidence, verdict)
            cost_variance = cost**2 * a * b / ((a + b) ** 2 * (a + b + 1))
            cost *= a / (a + b)
        mean += share * cost
        squares += share * cost**2
        variance += share**2 * cost_variance
    return CostEstimate(price + mean, variance + (squares - mean**2) / (total + 1))


def draw(
    evidence: SourceEvidence,
    prior: Prior,
    prices: MistakePrices,
    price: float,
    rng: random.Random,
) -> float:
    """A cost at random, by how likely each is."""
    shares = {v: rng.gammavariate(alpha, 1.0) for v, alpha in prior.alphas(evidence).items()}
    cost = 0.0
    for verdict, share in shares.items():
        is_wrong = rng.betavariate(*prior.betas(evidence, verdict)) if verdict in JUDGED else 1.0
        cost += share * prices.of(verdict) * is_wrong
    return price + cost / sum(shares.values())


def _is_surely_less(one: CostEstimate, other: CostEstimate) -> bool:
    return other.mean - one.mean > Z_SURELY * math.sqrt(one.variance + other.variance)


def _reason(chosen: SourceEvidence, second: SourceEvidence) -> str:
    """`measured: 0.8 % of 1,204 (0.4 to 1.5), next best 2.1 % of 980 (1.4 to 3.2)`: wrong verdicts,
    and those that decide nothing where that is why."""
    text = f"measured: {words.share(chosen.wrong_share)}"
    text += f", next best {words.share(second.wrong_share)}"
    if (chosen.wrong_share.value or 0) >= (second.wrong_share.value or 0):
        text += f"; undecided {words.share(chosen.undecided_share)}"
        text += f", next best {words.share(second.undecided_share)}"
    return text


def _with_first(sources: Sequence[Source], first: Source) -> Sequence[Source]:
    return [first, *(each for each in sources if each is not first)]


def _price(source: Source) -> float:
    return source.price / MICROS_PER_UNIT
