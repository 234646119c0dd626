"""The policy in simulated time, under any schedule of outages that leaves one source well.

More of them: `VERIPLEX_SCHEDULES=5000 python -m pytest tests/gateway/upstreams/test_schedules.py`.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.address.syntax import parse_address
from engine.model import Checks, Verdict
from gateway.errors import NoAnswer
from gateway.settings import Completion, Strategy
from gateway.store import Store
from gateway.upstreams.routing.budgets import Budgets, SpendingCap
from gateway.upstreams.routing.changes import Changes
from gateway.upstreams.routing.policy import Policy
from gateway.upstreams.routing.routes import SourceRoute
from gateway.upstreams.source.circuit import CircuitBreaker, CircuitRules
from gateway.upstreams.source.keys import KeyRing
from gateway.upstreams.source.throttle import Throttle
from gateway.upstreams.source.upstream import UpstreamRules, UpstreamSource
from gateway.upstreams.transport.client import UpstreamClient, UpstreamLocation
from tests.dialects import BY_NAME
from tests.fakes.simulated import (
    BILLED,
    RETRY_AFTER_S,
    SimulatedStore,
    SimulatedVendor,
    State,
    simulate,
)

EXAMPLES = int(os.environ.get("VERIPLEX_SCHEDULES", "15"))
SOURCES = 3
PHASE_S = 3.0
RATE = 10.0
PRICE = 7
LATENCY_S = 0.02
CIRCUIT = CircuitRules(
    failures=5, pause_s=1.0, max_trial_pause_s=4.0, max_pause_s=300.0, ramp_s=10.0
)
LONGEST_PAUSE_S = CIRCUIT.max_trial_pause_s * 1.1 + RETRY_AFTER_S

NOT_SERVED = frozenset({State.REFUSES, State.THROTTLES, State.FAILS})

Phase = tuple[State, ...]


@st.composite
def phases(draw: st.DrawFn) -> Phase:
    """The states of all sources, at least one of which is well."""
    states = draw(st.lists(st.sampled_from(State), min_size=SOURCES, max_size=SOURCES))
    states[draw(st.integers(0, SOURCES - 1))] = State.WELL
    return tuple(states)


schedules = st.lists(phases(), min_size=1, max_size=6)


@dataclass
class Run:
    """What happened under one schedule."""

    vendors: list[SimulatedVendor]
    spent: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[str, NoAnswer]] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    hung: bool = False


async def run(
    schedule: Sequence[Phase],
    *,
    seed: int = 7,
    hedge: bool = False,
    strategy: Strategy = Strategy.FAILOVER,
    connections: int = 50,
    cap: int = 0,
    rate: float = RATE,
) -> Run:
    """Send requests at a steady rate until the schedule ends; its last phase then goes on."""
    loop = asyncio.get_running_loop()
    rng = random.Random(seed)
    changes = Changes()

    def vendor(number: int) -> SimulatedVendor:
        def state_at(now: float) -> State:
            return schedule[min(int(now / PHASE_S), len(schedule) - 1)][number]

        return SimulatedVendor(state_at, LATENCY_S)

    vendors = [vendor(number) for number in range(SOURCES)]
    sources = tuple(
        UpstreamSource(
            UpstreamRules(
                name=f"v{number}",
                price=PRICE,
                weight=1.0,
                timeout_s=10.0,
                min_timeout_s=0.0,
                final=frozenset(Verdict),
                min_job_size=None,
                max_job_size=0,
                job_deadline_s=0.0,
            ),
            UpstreamLocation(BY_NAME["emailable"], "http://vendor.test/v1"),
            cast(UpstreamClient, one),
            keys=KeyRing(["key"], clock=loop.time),
            circuit=CircuitBreaker(CIRCUIT, clock=loop.time, rng=rng, on_return=changes.notify),
            throttle=Throttle(connections, 0, clock=loop.time),
            clock=loop.time,
            rng=rng,
            on_return=changes.notify,
        )
        for number, one in enumerate(vendors)
    )
    store = SimulatedStore()
    budgets = Budgets(cast(Store, store), clock=lambda: 1_700_000_000.0 + loop.time())
    route = SourceRoute(
        name="",
        strategy=strategy,
        sources=sources,
        deadline_s=30.0,
        as_unknown=False,
        complete=Completion.NONE,
        quorum_ask=2,
        quorum_agree=2,
        hedge=hedge,
        hedge_percentile=95.0,
        key_cap=SpendingCap(),
    )
    policy = Policy(
        route,
        {},
        budgets,
        clock=lambda: 1_700_000_000.0 + loop.time(),
        monotonic=loop.time,
        rng=rng,
        caps={"v0": SpendingCap(daily=cap)} if cap else {},
        changes=changes,
    )
    seen = Run(vendors)

    async def ask(number: int) -> None:
        began = loop.time()
        email = f"a{number}@example.com"
        try:
            found = await policy.verify_by_route(route, None, parse_address(email), Checks())
        except NoAnswer as none:
            seen.failures.append((email, none))
        else:
            assert found.verdict is Verdict.DELIVERABLE or strategy is Strategy.QUORUM
        seen.took_s.append(loop.time() - began)

    async with asyncio.TaskGroup() as group:
        for number in range(int(len(schedule) * PHASE_S * rate)):
            await asyncio.sleep(number / rate - loop.time())
            group.create_task(ask(number))
    await asyncio.sleep(60)  # until the last request in flight has ended
    for source in sources:
        seen.spent[source.name], _ = await budgets.spent(f"source:{source.name}")
    await policy.aclose()
    store.close()
    return seen


many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@many
@given(schedules, st.integers(0, 1000), st.booleans(), st.sampled_from([3, 50]))
def test_no_request_fails_while_a_source_is_well_and_asked_in_time(
    schedule: list[Phase], seed: int, hedge: bool, connections: int
) -> None:
    seen = simulate(run(schedule, seed=seed, hedge=hedge, connections=connections))
    for email, none in seen.failures:
        states = [
            {state for _, state, asked in vendor.calls if asked == email} for vendor in seen.vendors
        ]
        assert all(states), f"a source was not asked: {none.attempts}"
        assert not any(State.WELL in each for each in states)


@many
@given(schedules, st.integers(0, 1000))
def test_no_source_is_starved_for_longer_than_its_longest_pause(
    schedule: list[Phase], seed: int
) -> None:
    """The first source of the order, from when it is well until it is not."""
    seen = simulate(run(schedule, seed=seed))
    began: float | None = None
    ends = [(number * PHASE_S, phase[0]) for number, phase in enumerate(schedule)]
    for moment, state in [*ends, (len(schedule) * PHASE_S, State.HANGS)]:
        if state is State.WELL:
            began = moment if began is None else began
        elif began is not None:
            calls = [at for at, _, _ in seen.vendors[0].calls if began <= at < moment]
            for one, next_one in pairwise([began, *calls, moment]):
                assert next_one - one <= LONGEST_PAUSE_S + 2 / RATE
            began = None


@many
@given(
    schedules,
    st.integers(0, 1000),
    st.booleans(),
    st.sampled_from([Strategy.FAILOVER, Strategy.WEIGHTED, Strategy.FASTEST, Strategy.QUORUM]),
    st.integers(0, 100),
)
def test_every_call_is_paid_once_and_no_budget_is_passed(
    schedule: list[Phase], seed: int, hedge: bool, strategy: Strategy, affordable: int
) -> None:
    cap = affordable * PRICE
    seen = simulate(run(schedule, seed=seed, hedge=hedge, strategy=strategy, cap=cap))
    for number, vendor in enumerate(seen.vendors):
        states = Counter(state for _, state, _ in vendor.calls)
        may_be_billed = {*BILLED, State.HANGS, State.BREAKS, State.GARBAGE}
        spent = sum(states[state] for state in may_be_billed) * PRICE
        assert seen.spent[f"v{number}"] == spent
        if number == 0 and cap:
            assert spent <= cap


@many
@given(schedules, st.integers(0, 1000))
def test_what_may_have_been_billed_is_sent_again_only_if_an_outage_swallowed_it(
    schedule: list[Phase], seed: int
) -> None:
    seen = simulate(run(schedule, seed=seed))
    for vendor in seen.vendors:
        sent: dict[str, list[State]] = {}
        for _, state, email in vendor.calls:
            sent.setdefault(email, []).append(state)
        for states in sent.values():
            *earlier, _ = [s for s in states if s not in NOT_SERVED] or [State.WELL]
            assert set(earlier) <= {State.HANGS, State.GARBAGE}
            assert len(earlier) <= 1


@pytest.mark.parametrize("seed", range(4))
def test_two_thousand_requests_through_changing_faults(seed: int) -> None:
    """At 50 a second, as `python -m tests.benchmarks faults` has them with real servers."""
    rng = random.Random(seed)
    schedule: list[Phase] = []
    for _ in range(14):
        states = [rng.choice(list(State)) for _ in range(SOURCES)]
        states[rng.randrange(SOURCES)] = State.WELL
        schedule.append(tuple(states))
    seen = simulate(run(schedule, seed=seed, rate=50.0))
    took_s = sorted(seen.took_s)
    states_asked = Counter(state for vendor in seen.vendors for _, state, _ in vendor.calls)
    dead = states_asked.total() - states_asked[State.WELL] - states_asked[State.SLOW]
    assert not seen.failures
    assert took_s[len(took_s) // 2] < 0.05
    # Emailable's documents call 5 s normal, so that a request that hangs is waited for as long.
    assert took_s[int(len(took_s) * 0.99)] < 5.1
    assert dead < 0.05 * states_asked.total()
