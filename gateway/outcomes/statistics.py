"""Shares with their intervals, agreement, and how well verdicts foretell bounces. Pure.

No figure here comes without the count that it is made of. Intervals are those of 95 %.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

Z_95 = 1.959964
"""The quantile of the normal distribution for a two-sided interval of 95 %."""
FEW = 30
"""Of fewer cases a share is called uncertain, since its interval is wider than most differences."""


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `count`, with the interval of Wilson (1927), which holds for small counts, too."""

    hits: int
    count: int

    @property
    def value(self) -> float | None:
        """Between 0 and 1; None of nothing."""
        return self.hits / self.count if self.count else None

    @property
    def is_few(self) -> bool:
        return self.count < FEW

    @property
    def interval(self) -> tuple[float, float]:
        """The lower and the upper limit, between 0 and 1; of nothing everything is possible."""
        if not self.count:
            return 0.0, 1.0
        n, p, z2 = self.count, self.hits / self.count, Z_95**2
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = Z_95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        # the limits at 0 and 1 are exact, whatever the arithmetic rounds
        low = 0.0 if self.hits == 0 else max(0.0, centre - half)
        high = 1.0 if self.hits == n else min(1.0, centre + half)
        return low, high


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often two sources have the same verdict for an address."""

    same: Share
    kappa: float | None
    """Cohen's kappa (1960): agreement beyond that of chance, 1 at most. None if both have the same
    verdict for every address, or there is no address: then chance would agree always, too."""
    kappa_interval: tuple[float, float] | None
    """The wider of two in each direction: of large samples, and of the share that agree."""

    @property
    def count(self) -> int:
        return self.same.count


def agreement(pairs: Iterable[tuple[Hashable, Hashable]]) -> Agreement:
    """Of the verdicts of two sources, address by address."""
    return agreement_of_counts(Counter(pairs))


def agreement_of_counts(cells: Counter[tuple[Hashable, Hashable]]) -> Agreement:
    """Of how often each pair of verdicts occurred."""
    count = cells.total()
    same = Share(sum(n for (a, b), n in cells.items() if a == b), count)
    if not count:
        return Agreement(same, None, None)
    first, second = Counter[Hashable](), Counter[Hashable]()
    for (a, b), n in cells.items():
        first[a] += n
        second[b] += n
    observed = same.hits / count
    by_chance = sum(first[word] * second[word] for word in first) / count**2
    if by_chance >= 1:
        return Agreement(same, None, None)
    kappa = (observed - by_chance) / (1 - by_chance)
    low, high = _large_sample_interval(cells, first, second, observed, by_chance)
    least, most = ((limit - by_chance) / (1 - by_chance) for limit in same.interval)
    return Agreement(same, kappa, (max(-1.0, min(low, least)), min(1.0, max(high, most))))


def _large_sample_interval(
    cells: Counter[tuple[Hashable, Hashable]],
    first: Counter[Hashable],
    second: Counter[Hashable],
    observed: float,
    by_chance: float,
) -> tuple[float, float]:
    """By the variance of Fleiss, Cohen and Everitt (1969).

    Of sources that agree nearly always it is too narrow, and a point if they always do: in
    simulations it covered the truth in half of all cases. So the interval of the share that agree
    is used beside it.
    """
    count = cells.total()
    diagonal = off_diagonal = 0.0
    for (a, b), n in cells.items():
        p = n / count
        if a == b:
            margins = (first[a] + second[a]) / count
            diagonal += p * ((1 - by_chance) - margins * (1 - observed)) ** 2
        else:
            off_diagonal += p * ((second[a] + first[b]) / count) ** 2
    off_diagonal *= (1 - observed) ** 2
    rest = (observed * by_chance - 2 * by_chance + observed) ** 2
    variance = max(0.0, diagonal + off_diagonal - rest) / (count * (1 - by_chance) ** 4)
    kappa = (observed - by_chance) / (1 - by_chance)
    half = Z_95 * math.sqrt(variance)
    return kappa - half, kappa + half


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How well "undeliverable" foretells a bounce."""

    precision: Share
    """Of the addresses that were called undeliverable, those that bounced."""
    recall: Share
    """Of the addresses that bounced, those that were called undeliverable."""
    bounced_of_deliverable: Share
    """Of the addresses that were called deliverable, those that bounced."""
    f1: float | None
    """The harmonic mean of precision and recall; None if nothing bounced and nothing was called
    undeliverable."""
    f1_interval: tuple[float, float]
    f1_count: int
    """Addresses that bounced or were called undeliverable, of which F1 is made."""
    f1_too_few: bool


def accuracy(cases: Iterable[tuple[bool | None, bool]]) -> Accuracy:
    """Of pairs (called undeliverable, bounced): True undeliverable, False deliverable, None neither
    (risky, unknown, or no answer)."""
    counts = Counter(cases)
    hits = counts[True, True]
    false_alarms = counts[True, False]
    missed = counts[False, True] + counts[None, True]
    # F1 = 2J / (1 + J) of the share J = hits / (hits + false alarms + missed), and grows with it,
    # so that the limits of J give those of F1
    jaccard = Share(hits, hits + false_alarms + missed)
    low, high = jaccard.interval
    value = jaccard.value
    return Accuracy(
        precision=Share(hits, hits + false_alarms),
        recall=Share(hits, hits + missed),
        bounced_of_deliverable=Share(
            counts[False, True], counts[False, True] + counts[False, False]
        ),
        f1=None if value is None else 2 * value / (1 + value),
        f1_interval=(2 * low / (1 + low), 2 * high / (1 + high)),
        f1_count=jaccard.count,
        f1_too_few=jaccard.is_few,
    )


@dataclass(frozen=True, slots=True)
class ScoreBand:
    """The addresses with a score from `low` to `high`, both included."""

    low: int
    high: int
    delivered: Share


def calibration(cases: Iterable[tuple[int, bool]], bands: int = 10) -> list[ScoreBand]:
    """Of pairs (score from 0 to 100, delivered): the share delivered in each band of scores.

    A well calibrated score of 90 means that nine of ten are delivered. Empty bands are left out.
    """
    width = 100 // bands
    counts, delivered = Counter[int](), Counter[int]()
    for score, arrived in cases:
        band = min(max(score, 0) // width, bands - 1)
        counts[band] += 1
        delivered[band] += arrived
    return [
        ScoreBand(
            band * width,
            100 if band == bands - 1 else (band + 1) * width - 1,
            Share(delivered[band], counts[band]),
        )
        for band in sorted(counts)
    ]


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that `share` of the values (0 to 1) do not exceed; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
