"""Whether an egress works, and whether it reaches IPv6, by a clock that the tests move."""

from __future__ import annotations

import pytest

from engine.smtp.egress_health import (
    DOUBTS_UNTIL_REST,
    FIRST_REST_S,
    IPV6_DOUBTS,
    MAX_REST_S,
    NO_IPV6_FOR_S,
    TRIAL_S,
    EgressHealth,
)
from tests.fakes.clock import Clock

V4, V6 = "192.0.2.1", "2001:db8::1"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> EgressHealth:
    return EgressHealth(clock)


def test_rests_grow_up_to_a_minute_and_a_banner_ends_them(
    health: EgressHealth, clock: Clock
) -> None:
    rests = []
    for _ in range(8):
        assert health.record_fault("down")
        rests.append(health.left_s)
        clock.now += health.left_s
        health.start_trial()
    assert rests == [1, 2, 4, 8, 16, 32, 60, MAX_REST_S]
    assert health.record_banner(V4)
    assert health.left_s == 0
    assert not health.record_banner(V4)
    health.record_fault("down again")
    assert health.left_s == FIRST_REST_S


def test_faults_of_connections_made_together_count_as_one(health: EgressHealth) -> None:
    assert [health.record_fault("down") for _ in range(5)] == [True, *[False] * 4]
    assert (health.left_s, health.faults) == (FIRST_REST_S, 5)


def test_after_a_rest_one_connection_is_tried(health: EgressHealth, clock: Clock) -> None:
    health.record_fault("down")
    clock.now += FIRST_REST_S
    assert health.left_s == 0
    health.start_trial()
    assert health.left_s == TRIAL_S
    health.record_no_banner()  # the host's own fault: the next one may try
    assert health.left_s == 0
    health.start_trial()
    clock.now += TRIAL_S  # its outcome never came
    assert health.left_s == 0


def test_a_working_egress_has_no_trials(health: EgressHealth) -> None:
    health.start_trial()
    assert health.left_s == 0


def test_doubts_at_several_operators_in_a_row_rest_it(health: EgressHealth) -> None:
    for _ in range(10):
        assert not health.record_doubt("one", "no banner")
    for number in range(DOUBTS_UNTIL_REST - 2):
        assert not health.record_doubt(f"other{number}", "no banner")
    health.record_banner(V4)
    for number in range(DOUBTS_UNTIL_REST - 1):
        assert not health.record_doubt(f"other{number}", "no banner")
    assert health.record_doubt("last", "no banner")
    assert (health.left_s, health.reason) == (FIRST_REST_S, "no banner")


def test_no_way_to_ipv6_is_learnt_and_forgotten(health: EgressHealth, clock: Clock) -> None:
    for number in range(IPV6_DOUBTS - 1):
        health.record_ipv6_failure(f"mx{number}", certain=False)
    assert health.reaches_ipv6
    health.record_banner(V4)  # of IPv4, which shows nothing about IPv6
    health.record_ipv6_failure("mx", certain=False)
    assert not health.reaches_ipv6
    clock.now += NO_IPV6_FOR_S
    assert health.reaches_ipv6
    health.record_ipv6_failure("mx", certain=True)
    assert not health.reaches_ipv6
    health.record_banner(V6)
    assert health.reaches_ipv6
