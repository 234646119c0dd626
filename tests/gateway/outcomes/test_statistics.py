"""The figures against published ones, and intervals against simulated data of known truth."""

from __future__ import annotations

import random

import pytest

from gateway.outcomes.statistics import (
    FEW,
    Agreement,
    Share,
    accuracy,
    agreement,
    calibration,
    percentile,
)

COVERAGE = 0.93
"""Intervals of 95 % cover the truth so often at least, of some thousand tries."""


def test_wilson_interval_as_published() -> None:
    # Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for hits, count, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert Share(hits, count).interval == pytest.approx((low, high), abs=0.0001)


def test_share_of_nothing_and_of_everything() -> None:
    assert Share(0, 0).value is None
    assert Share(0, 0).interval == (0.0, 1.0)
    assert Share(5, 5).interval[1] == 1.0
    assert Share(1, FEW - 1).is_few
    assert not Share(1, FEW).is_few


def table_pairs(rows: dict[tuple[str, str], int]) -> list[tuple[str, str]]:
    return [pair for pair, n in rows.items() for _ in range(n)]


def test_kappa_as_published() -> None:
    # Cohen's kappa in the usual example of 50 grants: 0.4
    found = agreement(table_pairs({("y", "y"): 20, ("y", "n"): 5, ("n", "y"): 10, ("n", "n"): 15}))
    assert found.kappa == pytest.approx(0.4)
    assert found.same == Share(35, 50)
    # the upper limit by the variance of Fleiss, Cohen and Everitt for that table, worked out by
    # hand; the lower one by that of 35 of 50, 0.5625, which is lower than theirs, 0.1511
    assert found.kappa_interval == pytest.approx((0.1250, 0.6489), abs=0.002)


def test_kappa_needs_more_than_one_verdict() -> None:
    assert agreement([("y", "y")] * 9).kappa is None
    assert agreement([]) == Agreement(Share(0, 0), None, None)
    assert agreement([("y", "y"), ("n", "n")] * 20).kappa == 1


@pytest.mark.parametrize("truth", [0.008, 0.05, 0.5])
def test_wilson_interval_covers_as_it_claims(truth: float) -> None:
    rng = random.Random(7)
    tries, count = 1_500, 250
    covered = 0
    for _ in range(tries):
        low, high = Share(sum(rng.random() < truth for _ in range(count)), count).interval
        covered += low <= truth <= high
    assert covered / tries >= COVERAGE


@pytest.mark.parametrize("error", [0.2, 0.1, 0.01, 0.002])
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_kappa_interval_covers_as_it_claims(error: float, share: float) -> None:
    rng = random.Random(11)

    # two sources see the same truth and err by themselves, each at the same rate
    def look(truth: bool) -> bool:
        return truth if rng.random() >= error else not truth

    same = error**2 + (1 - error) ** 2
    says_yes = share * (1 - error) + (1 - share) * error
    by_chance = says_yes**2 + (1 - says_yes) ** 2
    expected = (same - by_chance) / (1 - by_chance)
    tries = covered = 0
    for _ in range(400):
        pairs = [(look(t), look(t)) for t in (rng.random() < share for _ in range(200))]
        interval = agreement(pairs).kappa_interval
        assert interval is not None
        tries += 1
        covered += interval[0] <= expected <= interval[1]
    assert covered / tries >= COVERAGE


def test_accuracy() -> None:
    cases: list[tuple[bool | None, bool]] = [
        *[(True, True)] * 8,
        *[(True, False)] * 2,
        *[(False, True)] * 3,
        *[(False, False)] * 80,
        *[(None, True)] * 1,
        *[(None, False)] * 6,
    ]
    found = accuracy(cases)
    assert (found.precision, found.recall) == (Share(8, 10), Share(8, 12))
    assert found.bounced_of_deliverable == Share(3, 83)
    assert found.f1 == pytest.approx(2 * 0.8 * (8 / 12) / (0.8 + 8 / 12))
    assert found.f1 is not None
    assert found.f1_interval[0] < found.f1 < found.f1_interval[1]
    assert accuracy([(False, False)] * 3).f1 is None


def test_calibration() -> None:
    found = calibration([(5, False), (9, False), (10, True), (99, True), (100, True), (100, False)])
    assert [(band.low, band.high, band.delivered) for band in found] == [
        (0, 9, Share(0, 2)),
        (10, 19, Share(1, 1)),
        (90, 100, Share(2, 3)),
    ]


def test_percentile() -> None:
    values = [0.1, 0.2, 0.3, 0.4]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([], 0.5)) == (
        0.2,
        0.4,
        None,
    )
