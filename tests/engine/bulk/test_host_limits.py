"""How much a host takes in bulk, learnt from its replies."""

from __future__ import annotations

import pytest

from engine.bulk.host_limits import (
    BUDGET_TEST_RECIPIENTS,
    DEFAULT_REFUSAL_BUDGET,
    FIRST_WINDOW_SIZE,
    MAX_WINDOW_SIZE,
    UNLIMITED,
    ConnectionUse,
    HostLimits,
    RefusalBudget,
    RefusalRate,
    WindowSize,
)

SLOW_S, QUICK_S = 2.1, 0.4


@pytest.mark.parametrize(
    ("before", "asked", "took_s", "broken", "after"),
    [
        (10, 10, QUICK_S, False, 20),
        (10, 11, QUICK_S, False, 20),
        (10, 9, QUICK_S, False, 10),  # it was not full, so it shows nothing about larger ones
        (10, 10, 0.5, False, 10),
        (10, 10, 2.0, False, 10),
        (10, 10, SLOW_S, False, 5),
        (10, 2, SLOW_S, False, 5),
        (10, 10, QUICK_S, True, 5),
        (1, 1, SLOW_S, False, 1),
        (150, 150, QUICK_S, False, MAX_WINDOW_SIZE),
    ],
)
def test_window_size(before: int, asked: int, took_s: float, broken: bool, after: int) -> None:
    window = WindowSize(before)
    window.update(asked, took_s, broken=broken)
    assert window.recipients == after


@pytest.mark.parametrize(
    ("windows", "share"),
    [
        ([], 0.0),
        ([(0, 10)], 0.0),
        ([(10, 10)], 0.2),
        ([(10, 10), (10, 10)], 0.36),
        ([(10, 10), (0, 10)], 0.16),
        ([(1, 1), *[(0, 10)] * 23], 0.2 * 0.8**23),
        ([(1, 1), *[(0, 10)] * 24], 0.0),  # negligible
        ([(0, 0)], 0.0),
    ],
)
def test_refusal_rate_is_a_moving_average(windows: list[tuple[int, int]], share: float) -> None:
    rate = RefusalRate()
    for refused, asked in windows:
        rate.update(refused, asked)
    assert rate.share == pytest.approx(share)


@pytest.mark.parametrize(
    ("share", "refusals_left", "recipients"),
    [(0.0, 5, UNLIMITED), (1.0, 9, 9), (0.5, 9, 9), (0.1, 9, 30), (0.01, 9, 300)],
)
def test_a_window_is_sized_by_the_refusals_it_should_meet(
    share: float, refusals_left: int, recipients: int
) -> None:
    assert RefusalRate(share).max_recipients(refusals_left) == recipients


GUESS = DEFAULT_REFUSAL_BUDGET


@pytest.mark.parametrize(
    ("before", "window", "hung_up", "after"),
    [
        # refused before, refused, asked, seconds
        (RefusalBudget(), (0, 3, 10, QUICK_S), False, (GUESS, False)),
        (RefusalBudget(), (0, GUESS, 10, 5.0), False, (GUESS, False)),
        # beyond the guess: held back, not yet sure, or no limit
        (RefusalBudget(), (0, GUESS + 1, 10, 0.9), False, (GUESS, True)),
        (RefusalBudget(), (0, GUESS + 1, 10, QUICK_S), False, (GUESS, False)),
        (RefusalBudget(), (8, 4, 4, QUICK_S), False, (UNLIMITED, True)),
        # a host that hangs up
        (RefusalBudget(), (0, 4, 10, QUICK_S), True, (3, True)),
        (RefusalBudget(), (2, 2, 10, QUICK_S), True, (3, True)),
        (RefusalBudget(), (0, 1, 10, QUICK_S), True, (1, True)),
        (RefusalBudget(), (0, 0, 10, QUICK_S), True, (GUESS, False)),
        (RefusalBudget(), (0, 30, 30, QUICK_S), True, (GUESS, True)),
        (RefusalBudget(3, True), (0, 2, 10, QUICK_S), True, (1, True)),
        (RefusalBudget(3, True), (0, 9, 10, QUICK_S), True, (3, True)),
        (RefusalBudget(UNLIMITED, True), (0, 20, 20, QUICK_S), True, (19, True)),
        # what is known stays
        (RefusalBudget(GUESS, True), (0, 20, 20, QUICK_S), False, (GUESS, True)),
    ],
)
def test_refusal_budget_is_learnt(
    before: RefusalBudget,
    window: tuple[int, int, int, float],
    hung_up: bool,
    after: tuple[int, bool],
) -> None:
    budget = RefusalBudget(before.limit, before.is_known)
    budget.update(*window, hung_up=hung_up)
    assert (budget.limit, budget.is_known) == after


@pytest.mark.parametrize(
    ("limit", "refused", "spent"),
    [(9, 0, False), (9, 7, False), (9, 8, True), (9, 9, True), (1, 0, False), (1, 1, True)],
)
def test_refusal_budget_keeps_a_reserve(limit: int, refused: int, spent: bool) -> None:
    assert RefusalBudget(limit).is_spent(refused) is spent


def test_one_connection_at_a_time_tests_the_budget() -> None:
    budget = RefusalBudget()
    assert budget.claim_test(is_tester=False)
    assert not budget.claim_test(is_tester=False)
    assert budget.claim_test(is_tester=True)
    budget.test_running = False
    assert budget.claim_test(is_tester=False)
    budget.is_known = True
    assert not budget.claim_test(is_tester=True)


@pytest.mark.parametrize(
    ("budget", "refused", "recipients"),
    [
        (RefusalBudget(), 0, GUESS + BUDGET_TEST_RECIPIENTS),
        (RefusalBudget(), 5, GUESS - 5 + BUDGET_TEST_RECIPIENTS),
        (RefusalBudget(accepted_in_a_row=100), 0, 25),
        (RefusalBudget(is_known=True), 0, UNLIMITED),
    ],
)
def test_a_window_grows_with_accepted_recipients_while_the_budget_is_a_guess(
    budget: RefusalBudget, refused: int, recipients: int
) -> None:
    assert budget.max_recipients(refused) == recipients


def test_a_refusal_starts_the_count_of_accepted_recipients_again() -> None:
    budget = RefusalBudget()
    budget.update(0, 0, 10, QUICK_S, hung_up=False)
    budget.update(0, 0, 10, QUICK_S, hung_up=False)
    assert budget.accepted_in_a_row == 20
    budget.update(0, 1, 10, QUICK_S, hung_up=False)
    assert budget.accepted_in_a_row == 0


def test_a_connection_carries_so_many_recipients() -> None:
    limits, use = HostLimits(), ConnectionUse(recipients=97)
    assert limits.next_window_size(use, 100) == 3


def test_a_window_of_accepted_recipients_makes_room_for_a_larger_one() -> None:
    limits, use = HostLimits(), ConnectionUse()
    sizes = []
    for _ in range(8):
        sizes.append(size := limits.next_window_size(use, 1000))
        limits.record_window(use, asked=size, refused=0, took_s=0.1, broken=False)
    # Held by the guessed budget until enough recipients were accepted.
    assert sizes == [FIRST_WINDOW_SIZE, 11, 11, 11, 11, 13, 16, 20]
    assert use.recipients == sum(sizes)


def test_a_spent_budget_is_tested_once_and_then_known() -> None:
    limits = HostLimits()
    use, other = ConnectionUse(refused=8), ConnectionUse(refused=8)
    sizes = []
    for _ in range(2):
        sizes.append(size := limits.next_window_size(use, 100))
        assert limits.next_window_size(other, 100) == 0
        assert limits.max_refusals(use) == 0
        limits.record_window(use, asked=size, refused=size, took_s=0.1, broken=False)
    assert sizes == [BUDGET_TEST_RECIPIENTS] * 2
    assert limits.refusal_budget.limit == UNLIMITED
    assert limits.next_window_size(other, 100) > BUDGET_TEST_RECIPIENTS


def test_a_host_that_holds_replies_back_keeps_its_budget() -> None:
    limits, use = HostLimits(), ConnectionUse(refused=8)
    assert limits.next_window_size(use, 100) == BUDGET_TEST_RECIPIENTS
    limits.record_window(use, asked=2, refused=2, took_s=1.9, broken=False)
    assert limits.next_window_size(use, 100) == 0
    assert limits.next_window_size(ConnectionUse(), 100) > 0


def test_slow_replies_end_a_window_while_the_budget_is_a_guess() -> None:
    limits = HostLimits()
    assert limits.max_refusals(ConnectionUse(refused=4)) == DEFAULT_REFUSAL_BUDGET - 4
    limits.refusal_budget.is_known = True
    assert limits.max_refusals(ConnectionUse(refused=4)) == 0
