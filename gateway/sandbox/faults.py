"""Faults on demand: what goes wrong, how often, and for whom.

A fault fits some of the requests, by scope, dialect and operation, and of those it strikes
the share, or the number, that it was told to. Random decisions come from the fault's own seed,
so that a run can be repeated.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import partial
from math import isfinite, log
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Interval

from adapters.contract.operations import Rate
from adapters.contract.problems import Problem, ProblemKind
from gateway.accounts.limits import MovingWindowLimiter, RateLimitExceeded
from gateway.sandbox.clock import Clocks
from gateway.sandbox.simulate import PROBLEM_WORDS

MAX_FAULTS = 1_000
MAX_LATENCY_MS = 600_000


class ConnectionFault(StrEnum):
    """What becomes of the connection that the reply goes over."""

    RESET = "reset"  # before the first byte
    TRUNCATE = "truncate"  # after half of the body
    DRIP = "drip"  # the body comes a few bytes at a time


Milliseconds = Annotated[float, Interval(ge=0, le=MAX_LATENCY_MS)]

FORBID_EXTRA: dict[str, Any] = {"extra": "forbid"}
"""To pydantic, with which the control API reads these: no unknown names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogNormal:
    """A latency with a long tail, as networks have it."""

    __pydantic_config__: ClassVar = FORBID_EXTRA

    median: Milliseconds
    sigma: Annotated[float, Interval(ge=0, le=5)] = 0.5
    """Of the logarithm: 0.5 puts one in fifty beyond 2.8 times the median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """A real limiter: `count` calls in any `per_s` seconds."""

    __pydantic_config__: ClassVar = FORBID_EXTRA

    count: Annotated[int, Interval(ge=0, le=1_000_000)]
    per_s: Annotated[int, Interval(ge=1, le=31 * 86_400)] = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Drip:
    """How slowly a body comes."""

    __pydantic_config__: ClassVar = FORBID_EXTRA

    bytes: Annotated[int, Interval(ge=1, le=65_536)] = 16
    every_ms: Milliseconds = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectedFault:
    """One fault, as the control API takes it. Raises ValueError if it makes no sense."""

    __pydantic_config__: ClassVar = FORBID_EXTRA

    dialect: str | None = None
    operation: str | None = None
    """The endpoint's name, as the request log shows it."""
    rate: Annotated[float, Interval(ge=0, le=1)] = 1.0
    """Of the requests that fit, the share that it strikes."""
    seed: int | str = 0
    skip: Annotated[int, Ge(0)] = 0
    """So many requests that fit are let through first."""
    times: Annotated[int, Ge(1)] | None = None
    """It strikes so often and is over: fail so many times, then succeed."""

    simulate: str | None = None
    """A word for a problem (`gateway.sandbox.simulate`)."""
    limit: RateLimit | None = None
    latency_ms: Milliseconds | tuple[Milliseconds, Milliseconds] | LogNormal | None = None
    """Fixed, uniform between two, or log-normal."""
    connection: ConnectionFault | None = None
    drip: Drip = Drip()

    def __post_init__(self) -> None:
        if self.simulate is not None and self.simulate not in PROBLEM_WORDS:
            raise ValueError(f"simulate should be one of {', '.join(sorted(PROBLEM_WORDS))}")
        if not (self.simulate or self.limit or self.connection or self.latency_ms is not None):
            raise ValueError("set at least one of simulate, limit, latency_ms and connection")
        if isinstance(self.latency_ms, float) and not isfinite(self.latency_ms):
            raise ValueError("latency_ms should be a number")


@dataclass(slots=True)
class ActiveFault:
    """A fault, and how far it is."""

    id: int
    scope: int | None
    """Whose requests; None is everybody's."""
    fault: InjectedFault
    rng: random.Random
    matched: int = 0
    """Requests that fitted."""
    injected: int = 0
    windows: dict[int | None, MovingWindowLimiter] = field(default_factory=dict)
    """What its limiter counts, by whose clock."""

    @property
    def is_used_up(self) -> bool:
        return self.fault.times is not None and self.injected >= self.fault.times

    def decide(self) -> bool:
        """Decide on one request that fits, and count it."""
        self.matched += 1
        if self.is_used_up or self.matched <= self.fault.skip:
            return False
        # drawn even where it cannot matter, so that the sequence is the seed's alone
        if self.rng.random() >= self.fault.rate:
            return False
        self.injected += 1
        return True

    def to_json(self) -> dict[str, Any]:
        told = {k: v for k, v in asdict(self.fault).items() if v is not None}
        return {
            "id": self.id,
            "seen": self.matched,
            "struck": self.injected,
            "over": self.is_used_up,
        } | told


@dataclass(slots=True)
class Effects:
    """What the faults do to one request."""

    delay_s: float = 0.0
    simulation_word: str = ""
    """The simulated problem."""
    problem: Problem | None = None
    connection: ConnectionFault | None = None
    drip: Drip = Drip()
    fault_ids: list[int] = field(default_factory=list)
    """Ids of the faults that struck."""

    @property
    def description(self) -> str:
        """They as the request log shows them."""
        return ", ".join(f"fault {id_}" for id_ in self.fault_ids)


class TooManyFaults(Exception):
    """There are `MAX_FAULTS` already."""


class FaultInjector:
    """The faults that are set; `clocks` are for the limiters."""

    def __init__(self, clocks: Clocks) -> None:
        self._active: dict[int, ActiveFault] = {}
        self._clocks = clocks
        self._next_id = 1

    def __bool__(self) -> bool:
        return bool(self._active)

    def add(self, scope: int | None, fault: InjectedFault) -> ActiveFault:
        """Set one. Raises TooManyFaults."""
        if len(self._active) >= MAX_FAULTS:
            raise TooManyFaults
        armed = ActiveFault(self._next_id, scope, fault, random.Random(fault.seed))  # noqa: S311
        self._next_id += 1
        self._active[armed.id] = armed
        return armed

    def in_scope(self, scope: int | None) -> Iterator[ActiveFault]:
        """A scope's own; for None all there are."""
        for armed in self._active.values():
            if scope in (None, armed.scope):
                yield armed

    def remove(self, scope: int | None, fault_id: int | None = None) -> int:
        """Take one away, or all of a scope's; how many went."""
        gone = [a.id for a in self.in_scope(scope) if fault_id in (None, a.id)]
        for id_ in gone:
            del self._active[id_]
        return len(gone)

    async def inject(self, scope: int | None, dialect: str, operation: str) -> Effects | None:
        """What happens to this request; None if nothing does. Every fault counts it."""
        effects = Effects()
        for armed in self._active.values():
            fault = armed.fault
            if (
                armed.scope in (None, scope)
                and fault.dialect in (None, dialect)
                and fault.operation in (None, operation)
                and armed.decide()
            ):
                effects.fault_ids.append(armed.id)
                await self._apply(armed, scope, effects)
        return effects if effects.fault_ids else None

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
        # everybody's fault counts apart for those who have a time of their own
        whose = self._clocks.owning_scope(scope) if active.scope is None else active.scope
        limiter = active.windows.get(whose)
        if limiter is None:
            limiter = MovingWindowLimiter(partial(self._clocks.now, whose))
            active.windows[whose] = limiter
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
