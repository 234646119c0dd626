"""How long a source is waited for: until it is suspected, and until another is asked as well."""

from contextlib import ExitStack

import pytest

from gateway.upstreams.source.latency import Latency
from gateway.upstreams.source.patience import (
    MAX_UNPROVEN,
    MIN_STALL_S,
    STALL_FACTOR,
    TIMEOUT_FACTOR,
    TIMEOUT_MARGIN_S,
    UNKNOWN_STALL_S,
    InFlight,
    usual_timeout_s,
)
from tests.gateway.upstreams.test_circuit import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def learnt(seconds: float, count: int = 100) -> Latency:
    latency = Latency()
    for _ in range(count):
        latency.record(seconds)
    return latency


@pytest.mark.parametrize(
    ("latency_s", "timeout_s"),
    [
        (0.3, 2.0),  # never below what the vendor calls normal
        (2.0, 2.0 * TIMEOUT_FACTOR + TIMEOUT_MARGIN_S),
        (9.0, 10.0),  # never above the setting
    ],
)
def test_the_usual_time_out_follows_the_latency(latency_s: float, timeout_s: float) -> None:
    found = usual_timeout_s(learnt(latency_s), shortest_s=2.0, longest_s=10.0)
    assert found == pytest.approx(timeout_s)


def test_a_source_that_is_not_known_gets_the_time_that_its_vendor_calls_normal() -> None:
    assert usual_timeout_s(learnt(0.3, 5), shortest_s=2.0, longest_s=10.0) == 2.0
    assert usual_timeout_s(learnt(0.3, 5), shortest_s=15.0, longest_s=10.0) == 10.0


@pytest.mark.parametrize(
    ("latency", "stall_s"),
    [
        (Latency(), UNKNOWN_STALL_S),
        (learnt(0.001), MIN_STALL_S),
        (learnt(0.5), 0.5 * STALL_FACTOR),
    ],
)
def test_silence_is_suspicious_after_several_times_the_usual_latency(
    clock: Clock, latency: Latency, stall_s: float
) -> None:
    requests = InFlight(latency, clock=clock)
    with requests.request(lambda: None):
        clock.now += stall_s * 0.99
        assert not requests.has_stalled
        clock.now += stall_s * 0.02
        assert requests.has_stalled
    assert not requests.has_stalled


def test_one_slow_request_among_others_that_are_answered_is_not_suspicious(clock: Clock) -> None:
    requests = InFlight(learnt(0.1), clock=clock)
    with requests.request(lambda: None):
        for _ in range(100):
            with requests.request(lambda: None):
                clock.now += 0.1
            requests.record_answer()
            assert not requests.has_stalled


def test_old_requests_give_up_their_places_and_are_judged_once(clock: Clock) -> None:
    given_up: list[str] = []
    requests = InFlight(learnt(0.1), clock=clock)
    with ExitStack() as stack:
        stack.enter_context(requests.request(lambda: given_up.append("old")))
        clock.now += 0.3
        stack.enter_context(requests.request(lambda: given_up.append("new")))
        clock.now += 0.2
        assert requests.has_stalled
        requests.record_stall()
        assert given_up == ["old"]
        clock.now += 10
        assert not requests.has_stalled, "nothing was sent since"
        stack.enter_context(requests.request(lambda: None))
        clock.now += 0.5
        assert requests.has_stalled
        requests.record_stall()
        assert given_up == ["old", "new"]


def test_a_source_has_few_requests_until_its_first_answer(clock: Clock) -> None:
    requests = InFlight(Latency(), clock=clock)
    with ExitStack() as stack:
        for _ in range(MAX_UNPROVEN):
            assert not requests.is_unproven
            stack.enter_context(requests.request(lambda: None))
        assert requests.is_unproven
        requests.record_answer()
        assert not requests.is_unproven
