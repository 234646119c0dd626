"""What a comparison found: plain figures, each with its count. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from engine.model import Verdict
from gateway.comparing.compared import DECIDED, ComparedSource, price_of
from gateway.comparing.mixes import Mix, cheapest_mix
from gateway.comparing.questions import Question
from gateway.outcomes.answers import SourceAnswer
from gateway.outcomes.statistics import (
    Accuracy,
    Agreement,
    ScoreBand,
    Share,
    accuracy,
    agreement,
    calibration,
    percentile,
)
from gateway.upstreams.routing.budgets import MICROS_PER_UNIT

CALLED_UNDELIVERABLE: Mapping[Verdict, bool | None] = {
    Verdict.UNDELIVERABLE: True,
    Verdict.DELIVERABLE: False,
}
"""Risky and unknown foretell neither."""


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """What one source answered."""

    name: str
    asked: int
    answered: Share
    kept: int
    stopped_by: str
    faults: Mapping[str, int]
    verdicts: Mapping[str, Share]
    unknown: Share
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    cost: float
    """What it would cost to ask all this anew, in the currency of the settings."""
    decided: int
    """Addresses that it called deliverable or undeliverable."""
    cost_per_decided: float | None
    """The same for each of these."""


@dataclass(frozen=True, slots=True)
class PairFigures:
    """How far two sources agree, over the addresses that both answered."""

    first: str
    second: str
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Difference:
    """Addresses of one provider, about which two sources say different things."""

    first: str
    second: str
    provider: str
    first_says: str
    second_says: str
    count: int


@dataclass(frozen=True, slots=True)
class TruthFigures:
    """How right a source was, of the addresses whose outcome is known."""

    source: str
    provider: str
    """Empty for all providers."""
    accuracy: Accuracy
    calibration: Sequence[ScoreBand] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of a comparison."""

    addresses: int
    providers: Mapping[str, int]
    with_truth: int
    bounced: int
    spent: float
    """In this run, in the currency of the settings."""
    sources: Sequence[SourceFigures]
    pairs: Sequence[PairFigures]
    differences: Sequence[Difference]
    truth: Sequence[TruthFigures] = ()
    wished_bounce_rate: float | None = None
    mix: Mix | None = None
    """The cheapest that reaches the wished bounce rate; None if none does."""
    remarks: Sequence[str] = field(default=())


def make_report(
    questions: Sequence[Question],
    sources: Sequence[ComparedSource],
    *,
    spent_micros: int,
    wished_bounce_rate: float,
    remarks: Sequence[str] = (),
) -> Report:
    """The figures of `sources`, all of which were asked the same questions."""
    known = {n: q.bounced for n, q in enumerate(questions) if q.bounced is not None}
    return Report(
        addresses=len(questions),
        providers=_by_count(Counter(question.provider for question in questions)),
        with_truth=len(known),
        bounced=sum(known.values()),
        spent=spent_micros / MICROS_PER_UNIT,
        sources=[_source_figures(source) for source in sources],
        pairs=[_pair_figures(one, other) for one, other in combinations(sources, 2)],
        differences=_differences(questions, sources),
        truth=_truth_figures(questions, sources) if known else (),
        wished_bounce_rate=wished_bounce_rate if known else None,
        mix=cheapest_mix(known, sources, wished_bounce_rate) if known else None,
        remarks=remarks,
    )


def _source_figures(source: ComparedSource) -> SourceFigures:
    answers = source.answers.values()
    verdicts = Counter(answer.verdict for answer in answers)
    decided = sum(verdicts[verdict] for verdict in DECIDED)
    cost = sum(price_of(source, answer.verdict) for answer in answers) / MICROS_PER_UNIT
    latencies = [float(answer.latency_ms) for answer in answers]
    asked = len(source.answers) + len(source.faults)
    return SourceFigures(
        name=source.name,
        asked=asked,
        answered=Share(len(source.answers), asked),
        kept=source.kept,
        stopped_by=source.stopped_by,
        faults=_by_count(Counter(source.faults.values())),
        verdicts={
            verdict.value: Share(verdicts[verdict], len(source.answers)) for verdict in Verdict
        },
        unknown=Share(verdicts[Verdict.UNKNOWN] + len(source.faults), asked),
        latency_p50_ms=percentile(latencies, 0.5),
        latency_p95_ms=percentile(latencies, 0.95),
        cost=cost,
        decided=decided,
        cost_per_decided=cost / decided if decided else None,
    )


def _pair_figures(one: ComparedSource, other: ComparedSource) -> PairFigures:
    both = one.answers.keys() & other.answers.keys()
    verdicts = ((one.answers[n].verdict, other.answers[n].verdict) for n in both)
    return PairFigures(one.name, other.name, agreement(verdicts))


def _differences(
    questions: Sequence[Question], sources: Sequence[ComparedSource]
) -> list[Difference]:
    """The most frequent first."""
    counts: Counter[tuple[str, str, str, str, str]] = Counter()
    for one, other in combinations(sources, 2):
        for number in one.answers.keys() & other.answers.keys():
            first, second = one.answers[number], other.answers[number]
            if first.verdict is not second.verdict:
                provider = questions[number].provider
                counts[one.name, other.name, provider, _says(first), _says(second)] += 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Difference(*words, count=count) for words, count in ordered]


def _says(answer: SourceAnswer) -> str:
    return f"{answer.verdict.value} ({answer.reason.value})"


def _truth_figures(
    questions: Sequence[Question], sources: Sequence[ComparedSource]
) -> list[TruthFigures]:
    """Of each source over all providers, then by provider, the largest first."""
    by_provider: defaultdict[str, list[int]] = defaultdict(list)
    for number, question in enumerate(questions):
        if question.bounced is not None:
            by_provider[""].append(number)
            by_provider[question.provider].append(number)
    ordered = sorted(by_provider, key=lambda name: (name != "", -len(by_provider[name]), name))
    found = []
    for provider in ordered:
        for source in sources:
            answered = [n for n in by_provider[provider] if n in source.answers]
            cases = [(source.answers[n], questions[n].bounced is True) for n in answered]
            found.append(
                TruthFigures(
                    source=source.name,
                    provider=provider,
                    accuracy=accuracy(
                        (CALLED_UNDELIVERABLE.get(answer.verdict), bounced)
                        for answer, bounced in cases
                    ),
                    calibration=calibration((a.score, not b) for a, b in cases)
                    if not provider
                    else (),
                )
            )
    return found


def _by_count(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
