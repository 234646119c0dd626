"""Comparisons of sources whose error rates are known: the report must find them.

The sources are simulated, the report is that of `veriplex compare --truth`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from engine.address.syntax import parse_address
from engine.model import Reason, Verdict
from gateway.comparing.compared import ComparedSource
from gateway.comparing.questions import Question, sample_by_provider
from gateway.comparing.report import Report, make_report
from gateway.outcomes.answers import SourceAnswer
from gateway.outcomes.statistics import Share

TRIES = 250
COVERAGE = 0.90
"""Of each figure, that the interval covers so often: 0.95 less three times the standard error of
250 tries. Of all together it is 0.95 (Brown, Cai and DasGupta, 2001, show how the interval of
Wilson wavers about it)."""
BOUNCES = {"google": 0.05, "other": 0.2}
"""The share of addresses that bounce, by provider."""


@dataclass(frozen=True)
class Simulated:
    """A source that errs at known rates."""

    name: str
    finds: float
    """The share of bounces that it calls undeliverable."""
    accuses: float
    """The share of delivered addresses that it calls undeliverable."""
    shrugs: float
    """The share of all others that it calls unknown."""

    def answer(self, bounced: bool, rng: random.Random) -> SourceAnswer:
        if rng.random() < (self.finds if bounced else self.accuses):
            return SourceAnswer(Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL, 2, 9, 0, 0.0)
        if rng.random() < self.shrugs:
            return SourceAnswer(Verdict.UNKNOWN, Reason.TIMEOUT, 45, 9, 0, 0.0)
        return SourceAnswer(Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL, 95, 9, 0, 0.0)

    def rates(self, bounce: float) -> dict[str, float]:
        """What a report over infinitely many addresses would show."""
        hit, false_alarm = bounce * self.finds, (1 - bounce) * self.accuses
        missed = bounce * (1 - self.finds) * (1 - self.shrugs)
        passed = (1 - bounce) * (1 - self.accuses) * (1 - self.shrugs)
        return {
            "precision": hit / (hit + false_alarm),
            "recall": self.finds,
            "f1": 2 * hit / (hit + false_alarm + bounce),
            "bounced_of_deliverable": missed / (missed + passed),
            "unknown": self.shrugs * (1 - hit - false_alarm),
            "score 90-100": passed / (missed + passed),
        }


GOOD = Simulated("good", finds=0.95, accuses=0.01, shrugs=0.03)
POOR = Simulated("poor", finds=0.6, accuses=0.05, shrugs=0.2)


def simulate(rng: random.Random, count: int) -> tuple[list[Question], list[ComparedSource]]:
    questions = []
    for number in range(count):
        provider = "google" if rng.random() < 0.7 else "other"
        bounced = rng.random() < BOUNCES[provider]
        address = parse_address(f"user{number}@example.com")
        questions.append(Question(address, bounced, provider))
    compared = []
    for source in (GOOD, POOR):
        answers = {n: source.answer(q.bounced is True, rng) for n, q in enumerate(questions)}
        compared.append(ComparedSource(source.name, answers, {}, 0, 0, frozenset()))
    return questions, compared


def intervals(report: Report, source: str, provider: str) -> Iterator[tuple[str, float, float]]:
    (row,) = (r for r in report.truth if (r.source, r.provider) == (source, provider))
    found = row.accuracy
    yield "precision", *found.precision.interval
    yield "recall", *found.recall.interval
    yield "f1", *found.f1_interval
    yield "bounced_of_deliverable", *found.bounced_of_deliverable.interval
    if not provider:
        (figures,) = (each for each in report.sources if each.name == source)
        yield "unknown", *figures.unknown.interval
        (top,) = (band for band in row.calibration if band.low == 90)
        yield "score 90-100", *top.delivered.interval


@pytest.mark.parametrize("count", [120, 400])
def test_intervals_cover_the_known_rates_19_times_of_20(count: int) -> None:
    rng = random.Random(1 + count)
    covered: Counter[tuple[str, str, str]] = Counter()
    seen: Counter[tuple[str, str, str]] = Counter()
    overall = 0.7 * BOUNCES["google"] + 0.3 * BOUNCES["other"]
    for _ in range(TRIES):
        report = make_report(*simulate(rng, count), spent_micros=0, wished_bounce_rate=0.02)
        for source in (GOOD, POOR):
            for provider, bounce in {"": overall, **BOUNCES}.items():
                rates = source.rates(bounce)
                for name, low, high in intervals(report, source.name, provider):
                    figure = (source.name, provider, name)
                    seen[figure] += 1
                    covered[figure] += low <= rates[name] <= high
    assert len(seen) == 2 * (6 + 4 + 4)
    shares = {figure: covered[figure] / seen[figure] for figure in seen}
    assert min(shares.values()) >= COVERAGE, min(shares.items(), key=lambda each: each[1])
    assert 0.94 <= covered.total() / seen.total() <= 0.985


def test_a_sample_finds_the_shares_of_the_whole_list() -> None:
    rng = random.Random(5)
    questions, _ = simulate(rng, 3_000)
    bounced = sum(question.bounced is True for question in questions) / len(questions)
    covered = 0
    for _ in range(TRIES):
        sample = sample_by_provider(questions, 200, rng)
        share = Share(sum(each.bounced is True for each in sample), len(sample))
        covered += share.interval[0] <= bounced <= share.interval[1]
    assert covered / TRIES >= COVERAGE
