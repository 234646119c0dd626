"""The circuit breaker, the key ring, the throttle: by the clock."""

import asyncio
import random
from collections import Counter

import pytest

from gateway.upstreams.source.circuit import Admission, CircuitBreaker, CircuitRules, CircuitState
from gateway.upstreams.source.keys import NO_CREDITS_PAUSE_S, REFUSED_KEY_PAUSE_S, KeyRing
from gateway.upstreams.source.latency import MIN_SAMPLES, Latency
from gateway.upstreams.source.throttle import Throttle

RULES = CircuitRules(failures=5, pause_s=10, max_trial_pause_s=60, max_pause_s=60, ramp_s=20)
YES, RATHER_NOT, NO = Admission.YES, Admission.LAST_RESORT, Admission.NO


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Even(random.Random):
    """No spread, so that pauses are exact."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(RULES, clock=clock, rng=Even(7))


def state_of(circuit: CircuitBreaker) -> CircuitState:
    """Now: the property changes with the clock, which a type checker cannot know."""
    return circuit.state


def fail(circuit: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        circuit.record_failure()


def test_a_run_of_failures_opens_it_at_once(circuit: CircuitBreaker) -> None:
    fail(circuit, 4)
    assert state_of(circuit) is CircuitState.CLOSED
    circuit.record_failure()
    assert state_of(circuit) is CircuitState.OPEN
    assert circuit.admit(15) is NO
    assert circuit.reopens_in_s == pytest.approx(10)


def test_a_success_between_starts_the_count_anew(circuit: CircuitBreaker) -> None:
    fail(circuit, 4)
    circuit.record_success()
    fail(circuit, 4)
    assert state_of(circuit) is CircuitState.CLOSED


def test_half_of_the_latest_opens_it_too(circuit: CircuitBreaker) -> None:
    for _ in range(9):
        circuit.record_failure()
        circuit.record_success()
    assert state_of(circuit) is CircuitState.CLOSED
    circuit.record_failure()
    assert state_of(circuit) is CircuitState.OPEN


def test_one_trial_at_a_time(circuit: CircuitBreaker, clock: Clock) -> None:
    fail(circuit, 5)
    clock.now += 10.1
    assert state_of(circuit) is CircuitState.HALF_OPEN
    assert circuit.admit(15) is YES
    assert circuit.admit(15) is NO
    assert 0 < circuit.reopens_in_s <= 0.1, "a waiting request looks again soon"


def test_a_trial_that_never_reports_is_given_up(circuit: CircuitBreaker, clock: Clock) -> None:
    fail(circuit, 5)
    clock.now += 10.1
    assert circuit.admit(15) is YES
    clock.now += 15.1
    assert circuit.admit(15) is YES


def test_a_trial_that_was_cancelled_makes_room_for_another(
    circuit: CircuitBreaker, clock: Clock
) -> None:
    fail(circuit, 5)
    clock.now += 10.1
    assert circuit.admit(15) is YES
    circuit.record_neutral()
    assert circuit.admit(15) is YES


def test_each_failed_trial_doubles_the_pause_up_to_the_longest(
    circuit: CircuitBreaker, clock: Clock
) -> None:
    fail(circuit, 5)
    pauses = []
    for _ in range(5):
        pauses.append(round(circuit.reopens_in_s))
        clock.now += circuit.reopens_in_s + 0.01
        assert circuit.admit(15) is YES
        circuit.record_failure()
    assert pauses == [10, 20, 40, 60, 60]


def test_what_fails_while_it_is_open_does_not_extend_the_pause(
    circuit: CircuitBreaker, clock: Clock
) -> None:
    """A request of last resort, or one that was under way."""
    fail(circuit, 5)
    clock.now += 8
    circuit.record_failure()
    circuit.record_failure(sent_at=clock.now - 9)
    assert circuit.reopens_in_s == pytest.approx(2)


def test_an_answer_to_a_request_that_was_sent_meanwhile_ends_the_pause(
    clock: Clock,
) -> None:
    returned: list[float] = []
    circuit = CircuitBreaker(
        RULES, clock=clock, rng=Even(7), on_return=lambda: returned.append(clock.now)
    )
    fail(circuit, 5)
    clock.now += 3
    assert circuit.admit_last_resort()
    assert not circuit.admit_last_resort(), "five a second"
    clock.now += 0.2
    assert circuit.admit_last_resort()
    circuit.record_success(sent_at=clock.now)
    assert state_of(circuit) is CircuitState.RECOVERING
    assert returned == [clock.now]


def test_an_answer_to_an_older_request_makes_a_trial_due(
    circuit: CircuitBreaker, clock: Clock
) -> None:
    sent_at = clock.now
    clock.now += 1
    fail(circuit, 5)
    circuit.record_success(sent_at)
    assert state_of(circuit) is CircuitState.HALF_OPEN
    assert circuit.reopens_in_s == 0


def test_what_was_sent_before_it_recovered_says_nothing_new(
    circuit: CircuitBreaker, clock: Clock
) -> None:
    """Requests that hung in the outage time out after it."""
    sent_at = clock.now
    fail(circuit, 5)
    clock.now += 10.1
    assert circuit.admit(15) is YES
    circuit.record_success()
    for _ in range(50):
        circuit.record_failure(sent_at=sent_at)
    assert state_of(circuit) is CircuitState.RECOVERING
    clock.now += 20.1
    assert circuit.admit(15) is YES
    for _ in range(50):
        circuit.record_failure(sent_at=sent_at)
    assert state_of(circuit) is CircuitState.CLOSED


def test_a_trial_that_hangs_delays_the_next_one_by_one_pause(
    circuit: CircuitBreaker, clock: Clock
) -> None:
    fail(circuit, 5)
    clock.now += 10.1
    assert circuit.admit(3600) is YES
    clock.now += 10.1
    assert circuit.admit(3600) is YES


def test_a_stall_opens_it_and_a_moments_silence_is_forgotten(
    circuit: CircuitBreaker, clock: Clock
) -> None:
    circuit.record_stall()
    assert circuit.is_stalled
    assert circuit.admit(15) is NO
    clock.now += 1
    circuit.record_success(sent_at=clock.now - 5)
    assert state_of(circuit) is CircuitState.CLOSED
    assert circuit.admit(15) is YES


def test_a_late_answer_to_a_request_that_took_long_brings_back_a_share(
    circuit: CircuitBreaker, clock: Clock
) -> None:
    circuit.record_stall()
    clock.now += 1
    circuit.record_success(sent_at=clock.now - 11)
    assert state_of(circuit) is CircuitState.RECOVERING


def test_a_stall_that_lasted_is_recovered_from(circuit: CircuitBreaker, clock: Clock) -> None:
    circuit.record_stall()
    sent_at = clock.now - 1
    clock.now += 15
    circuit.record_success(sent_at)
    assert state_of(circuit) is CircuitState.RECOVERING


def test_a_banned_source_is_no_last_resort(circuit: CircuitBreaker) -> None:
    circuit.record_ban()
    assert circuit.last_resort_in_s == float("inf")
    assert not circuit.admit_last_resort()


def test_it_rests_as_long_as_the_source_asked(circuit: CircuitBreaker, clock: Clock) -> None:
    circuit.record_failure(retry_after_s=30)
    assert circuit.admit(15) is NO
    assert circuit.reopens_in_s == pytest.approx(30)
    clock.now += 30.1
    assert circuit.admit(15) is YES


def test_its_share_grows_after_recovery(circuit: CircuitBreaker, clock: Clock) -> None:
    fail(circuit, 5)
    clock.now += 10.1
    assert circuit.admit(15) is YES
    circuit.record_success()
    shares = []
    for _ in range(4):
        counted = Counter(circuit.admit(15) for _ in range(1000))
        assert counted[NO] == 0
        shares.append(counted[YES] / 1000)
        clock.now += 6.7
    assert shares == pytest.approx([0.1, 0.4, 0.7, 1.0], abs=0.05)
    assert state_of(circuit) is CircuitState.CLOSED


def test_two_failures_while_it_recovers_open_it_for_longer(
    circuit: CircuitBreaker, clock: Clock
) -> None:
    fail(circuit, 5)
    clock.now += 10.1
    circuit.admit(15)
    circuit.record_success()
    circuit.record_failure()
    assert state_of(circuit) is CircuitState.RECOVERING
    circuit.record_failure()
    assert state_of(circuit) is CircuitState.OPEN
    assert circuit.reopens_in_s == pytest.approx(20)


def test_a_recovered_circuit_starts_from_the_first_pause(
    circuit: CircuitBreaker, clock: Clock
) -> None:
    fail(circuit, 5)
    clock.now += 10.1
    circuit.admit(15)
    circuit.record_success()
    clock.now += 20.1
    assert circuit.admit(15) is YES
    fail(circuit, 5)
    assert circuit.reopens_in_s == pytest.approx(10)


# -- keys --------------------------------------------------------------------------------


def test_a_key_is_used_until_it_fails(clock: Clock) -> None:
    ring = KeyRing(["a", "b", "c"], clock=clock)
    first = ring.pick()
    assert first is not None
    assert ring.pick() is first
    ring.pause(first, 60)
    second = ring.pick()
    assert second is not None
    assert second.value == "b"
    clock.now += 61
    assert ring.pick() is second, "there is no reason to go back"


def test_all_keys_refused_differs_from_all_keys_paused(clock: Clock) -> None:
    ring = KeyRing(["a", "b"], clock=clock)
    for key in ring.keys:
        ring.pause(key, 5)
    assert ring.pick() is None
    assert ring.ready_in_s == pytest.approx(5)
    assert not ring.all_dead
    for key in ring.keys:
        ring.mark_refused(key)
    assert ring.all_dead
    assert ring.ready_in_s == pytest.approx(REFUSED_KEY_PAUSE_S)


def test_a_dead_key_is_tried_ever_more_seldom(clock: Clock) -> None:
    ring = KeyRing(["a"], clock=clock)
    pauses = []
    for _ in range(6):
        ring.mark_refused(ring.keys[0])
        pauses.append(round(ring.ready_in_s / REFUSED_KEY_PAUSE_S))
        clock.now += ring.ready_in_s
    assert pauses == [1, 2, 4, 8, 16, 24]
    ring.mark_accepted(ring.keys[0])
    ring.mark_refused(ring.keys[0])
    assert ring.ready_in_s == pytest.approx(REFUSED_KEY_PAUSE_S)


def test_the_balance_rests_an_empty_key_and_wakes_a_full_one(clock: Clock) -> None:
    ring = KeyRing(["a"], clock=clock)
    ring.record_balance(ring.keys[0], 0)
    assert ring.ready_in_s == pytest.approx(NO_CREDITS_PAUSE_S)
    ring.record_balance(ring.keys[0], 100)
    assert ring.ready_in_s == 0


def test_no_key_is_shown(clock: Clock) -> None:
    assert "secret" not in repr(KeyRing(["secret"], clock=clock).keys)


def test_a_throttled_key_is_a_last_resort_and_no_other_is(clock: Clock) -> None:
    ring = KeyRing(["a", "b", "c"], clock=clock)
    empty, refused, throttled = ring.keys
    ring.pause(empty, 300)
    ring.mark_refused(refused)
    ring.throttle(throttled, 60)
    assert ring.pick() is None
    assert ring.pick_throttled() is throttled
    ring.pause(throttled, 300)
    assert ring.pick_throttled() is None, "it has no credits either"


def test_a_served_request_ends_a_pause_that_began_before_it(clock: Clock) -> None:
    ring = KeyRing(["a"], clock=clock)
    (key,) = ring.keys
    ring.throttle(key, 60)
    ring.mark_accepted(key, clock.now - 1)
    assert ring.ready_in_s == pytest.approx(60), "it was sent before the vendor asked for a pause"
    ring.mark_accepted(key, clock.now + 1)
    assert ring.ready_in_s == 0


def test_a_balance_ends_no_pause_that_the_vendor_asked_for(clock: Clock) -> None:
    ring = KeyRing(["a"], clock=clock)
    ring.throttle(ring.keys[0], 60)
    ring.record_balance(ring.keys[0], 100)
    assert ring.ready_in_s == pytest.approx(60)


def test_a_key_that_was_throttled_is_tried_by_one_request_at_a_time(clock: Clock) -> None:
    ring = KeyRing(["a"], clock=clock)
    (key,) = ring.keys
    ring.throttle(key, 2)
    clock.now += 2
    assert ring.pick() is key
    assert ring.pick() is None
    assert 0 < ring.ready_in_s < 1
    assert ring.mark_accepted(key, clock.now)
    assert ring.pick() is key
    assert ring.pick() is key


# -- pace and latency --------------------------------------------------------------------


async def test_slots_are_given_in_turn(clock: Clock) -> None:
    throttle = Throttle(2, 0, clock=clock)
    order: list[int] = []

    async def work(number: int) -> None:
        async with throttle.slot(60) as has_slot:
            assert has_slot
            order.append(number)

    async with throttle.slot(60), throttle.slot(60):
        assert throttle.busy
        tasks = [asyncio.create_task(work(number)) for number in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 2]
    assert not throttle.busy


async def test_a_slot_that_is_not_free_in_time_is_not_given(clock: Clock) -> None:
    throttle = Throttle(1, 0, clock=clock)
    async with throttle.slot(60) as first, throttle.slot(0.001) as second:
        assert (first is not None, second is not None) == (True, False)
    async with throttle.slot(0.001) as third:
        assert third


async def test_a_slot_that_is_given_up_lets_another_request_in(clock: Clock) -> None:
    throttle = Throttle(1, 0, clock=clock)
    async with throttle.slot(60) as hung:
        assert hung is not None
        hung.give_up()
        hung.give_up()
        assert not throttle.busy
        async with throttle.slot(60) as second:
            assert second is not None
            second.give_up()
            assert throttle.busy, "as many are given up as there are slots"
        assert not throttle.busy
    assert throttle.given_up == 0
    async with throttle.slot(60) as slot:
        assert slot is not None
        assert throttle.busy


async def test_a_second_has_its_share(clock: Clock) -> None:
    throttle = Throttle(100, 5, clock=clock)
    for _ in range(5):
        assert not throttle.busy
        async with throttle.slot(60):
            pass
    assert throttle.busy
    clock.now += 0.21
    assert not throttle.busy
    async with throttle.slot(60):
        pass
    assert throttle.busy


def test_a_percentile_needs_enough_latencies() -> None:
    latency = Latency()
    for number in range(MIN_SAMPLES - 1):
        latency.record(number / 1000)
    assert latency.percentile_s(95) is None
    latency.record(0.5)
    assert latency.percentile_s(95) == 0.5
    assert latency.percentile_s(50) == pytest.approx(0.01)


def test_a_key_is_tried_again_after_the_longest_pause(clock: Clock) -> None:
    ring = KeyRing(["a"], clock=clock, max_pause_s=300)
    key = ring.pick()
    assert key is not None
    ring.pause(key, 999_999_999)
    clock.now += 299
    assert (ring.pick(), ring.ready_in_s) == (None, 1)
    clock.now += 1
    assert ring.pick() is key
