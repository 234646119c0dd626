"""Samples, mixes and the outcome column."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from engine.address.syntax import parse_address
from engine.model import Reason, Verdict
from gateway.comparing.compared import ComparedSource
from gateway.comparing.mixes import cheapest_mix
from gateway.comparing.questions import (
    AmbiguousTruth,
    Question,
    UnknownTruth,
    merge_truths,
    read_truth,
    sample_by_provider,
)
from gateway.comparing.report import make_report
from gateway.outcomes.answers import SourceAnswer
from gateway.outcomes.statistics import Share

REASONS = {
    Verdict.DELIVERABLE: Reason.ACCEPTED_EMAIL,
    Verdict.UNDELIVERABLE: Reason.REJECTED_EMAIL,
    Verdict.RISKY: Reason.CATCH_ALL,
    Verdict.UNKNOWN: Reason.TIMEOUT,
}
D, U, R, N = Verdict.DELIVERABLE, Verdict.UNDELIVERABLE, Verdict.RISKY, Verdict.UNKNOWN


def question(number: int, provider: str = "other", bounced: bool | None = None) -> Question:
    return Question(parse_address(f"user{number}@example.com"), bounced, provider)


def answer(verdict: Verdict) -> SourceAnswer:
    return SourceAnswer(verdict, REASONS[verdict], 50, 10, 0, 0.0)


def source(name: str, verdicts: list[Verdict], price: int = 0) -> ComparedSource:
    answers = dict(enumerate(map(answer, verdicts)))
    return ComparedSource(name, answers, {}, 0, price, frozenset({N}))


@pytest.mark.parametrize("size", [1, 2, 3, 10, 57, 99, 100, 200])
def test_a_sample_has_each_providers_share(size: int) -> None:
    providers = ["google"] * 70 + ["microsoft"] * 27 + ["yahoo"] * 2 + ["zoho"]
    questions = [question(n, provider) for n, provider in enumerate(providers)]
    sample = sample_by_provider(questions, size, random.Random(1))
    assert len(sample) == min(size, 100)
    assert sample == sorted(sample, key=questions.index)
    counts = Counter(each.provider for each in sample)
    for provider, available in Counter(providers).items():
        assert abs(counts[provider] - available * min(size, 100) / 100) < 1
    assert sample == sample_by_provider(questions, size, random.Random(1))


def test_many_small_providers_do_not_tilt_a_sample() -> None:
    # 40 providers of 0.5 % each, and a large one: a sample of 50 has 10 of them, not 40
    providers = ["large"] * 800 + [f"small{n % 40}" for n in range(200)]
    questions = [question(n, provider) for n, provider in enumerate(providers)]
    sample = sample_by_provider(questions, 50, random.Random(1))
    assert Counter(each.provider for each in sample)["large"] == 40


def test_a_larger_sample_has_the_addresses_of_a_smaller_one() -> None:
    questions = [question(n, "google" if n % 3 else "yahoo") for n in range(300)]
    small, large = (
        {each.address for each in sample_by_provider(questions, size, random.Random(4))}
        for size in (60, 90)
    )
    assert small < large


def test_outcome_words() -> None:
    assert [read_truth(cell) for cell in (" Bounced ", "0", "delivered", "1", "")] == [
        True,
        True,
        False,
        False,
        None,
    ]
    assert [read_truth(cell) for cell in ("1.0", "0.0", "Hard bounce", "hard-bounced")] == [
        False,
        True,
        True,
        True,
    ]
    for cell in ("soft bounce", "nan", "-", "n/a"):
        assert read_truth(cell) is None
    with pytest.raises(UnknownTruth):
        read_truth("perhaps")
    with pytest.raises(AmbiguousTruth):
        read_truth("1", "has_bounced")
    assert read_truth("bounced", "bounced") is True
    assert merge_truths([None, False, True]) is True
    assert merge_truths([None, False]) is False
    assert merge_truths([None]) is None


def test_the_cheapest_mix_keeps_the_wished_rate_for_sure() -> None:
    # 1,000 mails, 100 bounced. The cheap source calls every bounce unknown, the dear one knows.
    bounced = {n: n < 100 for n in range(1000)}
    cheap = source("cheap", [N] * 100 + [D] * 600 + [N] * 300, price=1_000)
    dear = source("dear", [U] * 100 + [D] * 900, price=10_000)
    wrong = source("wrong", [D] * 1000, price=1)
    mix = cheapest_mix(bounced, [cheap, dear, wrong], 0.01)
    assert mix is not None
    assert mix.sources == ["cheap"]
    assert (mix.bounced, mix.sent) == (Share(0, 600), Share(600, 1000))
    assert mix.cost == pytest.approx(0.0006), "an unknown costs nothing"
    # 0 of 600 may still be 0.6 %: too few cases for a wish of 0.5 %
    mix = cheapest_mix(bounced, [cheap, dear, wrong], 0.005)
    assert mix is not None
    assert mix.sources == ["cheap", "dear"]
    assert mix.cost == pytest.approx((600 * 0.001 + 400 * 0.01) / 1000)
    assert cheapest_mix(bounced, [wrong], 0.05) is None


def test_a_report() -> None:
    questions = [question(n, "google" if n % 2 else "yahoo", n < 4) for n in range(20)]
    one = source("one", [U] * 4 + [D] * 16, price=2_000)
    other = source("other", [D] * 4 + [D] * 12 + [R] * 4)
    report = make_report(questions, [one, other], spent_micros=40_000, wished_bounce_rate=0.2)
    assert (report.addresses, report.bounced, report.spent) == (20, 4, 0.04)
    assert report.providers == {"google": 10, "yahoo": 10}
    (pair,) = report.pairs
    assert pair.agreement.same == Share(12, 20)
    assert report.sources[0].cost == pytest.approx(0.04)
    assert report.sources[0].cost_per_decided == pytest.approx(0.002)
    assert report.sources[1].verdicts["risky"] == Share(4, 20)
    assert [(d.provider, d.first_says, d.second_says, d.count) for d in report.differences] == [
        ("google", "deliverable (accepted_email)", "risky (catch_all)", 2),
        ("google", "undeliverable (rejected_email)", "deliverable (accepted_email)", 2),
        ("yahoo", "deliverable (accepted_email)", "risky (catch_all)", 2),
        ("yahoo", "undeliverable (rejected_email)", "deliverable (accepted_email)", 2),
    ]
    overall = {row.source: row.accuracy for row in report.truth if not row.provider}
    assert overall["one"].recall == Share(4, 4)
    assert overall["other"].bounced_of_deliverable == Share(4, 16)
