"""Injected faults: what goes wrong, how often, and for which requests.

A fault matches requests by scope, dialect and operation, and is injected into a share or a number
of them. Its random decisions come from its own seed, so that a run can be repeated.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import partial
from math import isfinite, log
from typing import Annotated, Any, ClassVar

from annotated_types import Interval, MaxLen

from adapters.contract.operations import Rate
from adapters.contract.problems import Problem, ProblemKind
from gateway.cluster.limits import MovingWindowLimiter, RateLimitExceeded
from gateway.sandbox.clock import Clocks
from gateway.sandbox.simulate import PROBLEM_WORDS, unknown_word

MAX_FAULTS = 1_000
MAX_FAULTS_OF_SCOPE = 100
MAX_LATENCY_MS = 600_000
MAX_LIMITED_CALLS = 1_000_000
"""Of the rate limits of all faults together: the time of each call is stored while it counts."""
MAX_SLOW_REQUESTS = 100
"""Requests of one scope that faults make slow at the same time, on a server with live keys: each
keeps a connection, and live traffic needs some."""
MAX_COUNT = 1_000_000_000
Name = Annotated[str, MaxLen(100)]


class ConnectionFault(StrEnum):
    """A fault of the connection that carries the reply."""

    RESET = "reset"  # before the first byte
    TRUNCATE = "truncate"  # after half of the body
    DRIP = "drip"  # the body comes a few bytes at a time


Milliseconds = Annotated[float, Interval(ge=0, le=MAX_LATENCY_MS)]

FORBID_EXTRA: dict[str, Any] = {"extra": "forbid"}
"""Makes pydantic, with which the control API reads these classes, refuse unknown names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogNormal:
    """A latency with a long tail, as in real networks."""

    __pydantic_config__: ClassVar = FORBID_EXTRA

    median: Milliseconds
    sigma: Annotated[float, Interval(ge=0, le=5)] = 0.5
    """Of the logarithm; at 0.5 one in fifty is beyond 2.8 times the median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """A rate limit of `count` requests in any `per_s` seconds."""

    __pydantic_config__: ClassVar = FORBID_EXTRA

    count: Annotated[int, Interval(ge=0, le=1_000_000)]
    per_s: Annotated[int, Interval(ge=1, le=31 * 86_400)] = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Drip:
    """The pace of a slow body."""

    __pydantic_config__: ClassVar = FORBID_EXTRA

    bytes: Annotated[int, Interval(ge=1, le=65_536)] = 16
    every_ms: Milliseconds = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectedFault:
    """One fault, as the control API accepts it. Raises ValueError if it has no effect."""

    __pydantic_config__: ClassVar = FORBID_EXTRA

    dialect: Name | None = None
    operation: Name | None = None
    """The endpoint's name in the request log, or `webhook`."""
    rate: Annotated[float, Interval(ge=0, le=1)] = 1.0
    """The share of matching requests into which it is injected."""
    seed: int | Name = 0
    skip: Annotated[int, Interval(ge=0, le=MAX_COUNT)] = 0
    """Matching requests that pass first."""
    times: Annotated[int, Interval(ge=1, le=MAX_COUNT)] | None = None
    """Number of injections after which it is over: fail so often, then succeed."""

    simulate: str | None = None
    """The word for a problem (`gateway.sandbox.simulate`)."""
    limit: RateLimit | None = None
    latency_ms: Milliseconds | tuple[Milliseconds, Milliseconds] | LogNormal | None = None
    """A fixed value, a uniform range, or a log-normal distribution."""
    connection: ConnectionFault | None = None
    drip: Drip = Drip()

    def __post_init__(self) -> None:
        if self.simulate is not None and self.simulate not in PROBLEM_WORDS:
            raise ValueError(unknown_word(self.simulate).detail)
        if not (self.simulate or self.limit or self.connection or self.latency_ms is not None):
            raise ValueError("set at least one of simulate, limit, latency_ms and connection")
        if isinstance(self.latency_ms, float) and not isfinite(self.latency_ms):
            raise ValueError("latency_ms should be a number")


@dataclass(slots=True)
class ActiveFault:
    """A fault with its state."""

    id: int
    scope: int | None
    """Its requests; None for those of all scopes."""
    fault: InjectedFault
    rng: random.Random
    matched: int = 0
    """Matching requests so far."""
    injected: int = 0
    windows: dict[int | None, MovingWindowLimiter] = field(default_factory=dict)
    """Its rate limiters, by the scope whose clock they use."""

    @property
    def is_used_up(self) -> bool:
        return self.fault.times is not None and self.injected >= self.fault.times

    def decide(self) -> bool:
        """Whether to inject it into a matching request, which is counted."""
        self.matched += 1
        if self.is_used_up or self.matched <= self.fault.skip:
            return False
        # drawn even if `rate` is 1, so that the sequence depends on the seed alone
        if self.rng.random() >= self.fault.rate:
            return False
        self.injected += 1
        return True

    def to_json(self) -> dict[str, Any]:
        fault = {k: v for k, v in asdict(self.fault).items() if v is not None}
        return {
            "id": self.id,
            "seen": self.matched,
            "struck": self.injected,
            "over": self.is_used_up,
        } | fault


@dataclass(slots=True)
class Effects:
    """The combined effect of the faults on one request."""

    scope: int | None = None
    """Of the request."""
    delay_s: float = 0.0
    simulation_word: str = ""
    """The word for the simulated problem."""
    problem: Problem | None = None
    connection: ConnectionFault | None = None
    drip: Drip = Drip()
    fault_ids: list[int] = field(default_factory=list)
    """Ids of the injected faults."""

    @property
    def is_slow(self) -> bool:
        """Whether the request takes longer than without faults."""
        return self.delay_s > 0 or self.connection is ConnectionFault.DRIP

    @property
    def description(self) -> str:
        """The faults, as the request log shows them."""
        return ", ".join(f"fault {id_}" for id_ in self.fault_ids)


class TooManyFaults(Exception):
    """One more fault would exceed the bound of its scope, or of all together."""


class FaultInjector:
    """All faults that are set."""

    def __init__(self, clocks: Clocks, *, max_slow_requests: int | None = None) -> None:
        """`clocks` time the faults' rate limits. `max_slow_requests` bounds the requests of one
        scope that are slow at the same time."""
        self._active: dict[int | None, dict[int, ActiveFault]] = {}
        """By scope and id."""
        self._clocks = clocks
        self._max_slow_requests = max_slow_requests
        self._slow_requests: Counter[int | None] = Counter()
        """Under way, by scope."""
        self._next_id = 1

    def may_affect(self, scope: int | None) -> bool:
        """Whether there are faults for the requests of a scope."""
        return scope in self._active or None in self._active

    def add(self, scope: int | None, fault: InjectedFault) -> ActiveFault:
        """Add a fault. Raises TooManyFaults."""
        everywhere = list(self.in_scope(None))
        calls = sum(active.fault.limit.count for active in everywhere if active.fault.limit)
        calls += fault.limit.count if fault.limit else 0
        if (
            len(everywhere) >= MAX_FAULTS
            or len(self._active.get(scope, ())) >= MAX_FAULTS_OF_SCOPE
            or calls > MAX_LIMITED_CALLS
        ):
            raise TooManyFaults
        active = ActiveFault(self._next_id, scope, fault, random.Random(fault.seed))  # noqa: S311
        self._next_id += 1
        self._active.setdefault(scope, {})[active.id] = active
        return active

    def in_scope(self, scope: int | None) -> list[ActiveFault]:
        """The faults of a scope; for None all faults."""
        scopes = self._active if scope is None else (scope,)
        return [active for one in scopes for active in self._active.get(one, {}).values()]

    def remove(self, scope: int | None, fault_id: int | None = None) -> int:
        """Remove one fault, or all of a scope; returns their number."""
        removed = [active for active in self.in_scope(scope) if fault_id in (None, active.id)]
        for active in removed:
            faults = self._active[active.scope]
            del faults[active.id]
            if not faults:
                del self._active[active.scope]
        return len(removed)

    async def inject(self, scope: int | None, dialect: str, operation: str) -> Effects | None:
        """The effects on a request; None without any. All matching faults count the request."""
        effects = Effects(scope)
        matching = dict(self._active.get(None, {}))
        if scope is not None:
            matching |= self._active.get(scope, {})
        for _, active in sorted(matching.items()):
            fault = active.fault
            if (
                fault.dialect in (None, dialect)
                and fault.operation in (None, operation)
                and active.decide()
            ):
                effects.fault_ids.append(active.id)
                await self._apply(active, scope, effects)
        return effects if effects.fault_ids else None

    def begin(self, effects: Effects) -> None:
        """Count a request that is slow by its effects, until `end`.

        Raises `Problem` if its scope has too many of them; such a request is not counted.
        """
        if not effects.is_slow:
            return
        slow = self._slow_requests[effects.scope]
        if self._max_slow_requests is not None and slow >= self._max_slow_requests:
            raise Problem(ProblemKind.UNAVAILABLE, "Too many requests of this key are slow.")
        self._slow_requests[effects.scope] = slow + 1

    def end(self, effects: Effects) -> None:
        """The request of these effects is answered."""
        if not effects.is_slow:
            return
        self._slow_requests[effects.scope] -= 1
        if not self._slow_requests[effects.scope]:
            del self._slow_requests[effects.scope]

    async def _apply(self, active: ActiveFault, scope: int | None, effects: Effects) -> None:
        fault = active.fault
        effects.delay_s += _latency_s(fault, active.rng)
        effects.simulation_word = effects.simulation_word or fault.simulate or ""
        if fault.connection is not None:
            effects.connection, effects.drip = fault.connection, fault.drip
        if fault.limit is not None and effects.problem is None:
            effects.problem = await self._check_limit(active, scope, fault.limit)

    async def _check_limit(
        self, active: ActiveFault, scope: int | None, limit: RateLimit
    ) -> Problem | None:
        if limit.count == 0:
            return Problem(ProblemKind.TOO_FAST, limit=0, retry_after_s=limit.per_s)
        # a fault for all scopes counts separately for a scope with its own clock
        timed_by = self._clocks.owning_scope(scope) if active.scope is None else active.scope
        limiter = active.windows.get(timed_by)
        if limiter is None:
            limiter = MovingWindowLimiter(partial(self._clocks.now, timed_by))
            active.windows[timed_by] = limiter
        try:
            await limiter.hit(active.id, Rate(limit.count, limit.per_s))
        except RateLimitExceeded as exc:
            return Problem(
                ProblemKind.TOO_FAST,
                limit=exc.limit,
                retry_after_s=exc.retry_after_s,
                reset_at=exc.reset_at,
            )
        return None


def _latency_s(fault: InjectedFault, rng: random.Random) -> float:
    match fault.latency_ms:
        case None:
            return 0.0
        case LogNormal(median=median, sigma=sigma):
            ms = rng.lognormvariate(log(median), sigma) if median else 0.0
        case (lowest, highest):
            ms = rng.uniform(lowest, highest)
        case fixed:
            ms = float(fixed)
    return min(ms, MAX_LATENCY_MS) / 1000
