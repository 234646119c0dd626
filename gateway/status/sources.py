"""The sources of verifications: their state and why, what they cost; and pausing them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from adapters.contract.upstream import Fault, FaultKind
from gateway.settings import LOCAL_SOURCE, Settings
from gateway.settings.effective import without_userinfo
from gateway.upstreams.opening import PolicyServices
from gateway.upstreams.routing.budgets import MICROS_PER_UNIT, source_scope
from gateway.upstreams.source.circuit import CircuitState
from gateway.upstreams.source.keys import UpstreamKey
from gateway.upstreams.source.upstream import UpstreamSource

TRY_TIMEOUT_S = 10.0
"""For the answer of an upstream that is tried now."""


class SourceState(StrEnum):
    """Whether a source is asked."""

    IN_USE = "in use"
    RECOVERING = "recovering"
    """After an outage it gets a growing share of the requests."""
    RESTING = "resting"
    """After faults; then a request tries it."""
    NO_CREDITS = "no credits"
    KEY_REFUSED = "key refused"
    BANNED = "banned"
    """The vendor refuses our account or our address."""
    OVER_BUDGET = "over budget"
    PAUSED = "paused"
    """By an operator."""
    UNUSED = "not in a route"


FAULT_WORDS: dict[str, str] = {
    FaultKind.UNREACHABLE: "no connection could be made",
    FaultKind.BUSY: "its limit of requests was reached",
    FaultKind.TIMED_OUT: "no answer came in time",
    FaultKind.BROKEN: "the connection was closed before the end of a reply",
    FaultKind.GARBAGE: "a reply was not one of the vendor's",
    FaultKind.SERVER_ERROR: "the vendor reported a fault of its own",
    FaultKind.PENDING: "the vendor was still working when the time was over",
    FaultKind.TOO_FAST: "the vendor limited our rate",
    FaultKind.NO_CREDITS: "the account has no credits left",
    FaultKind.DEAD_KEY: "the vendor refused the key",
    FaultKind.BANNED: "the vendor refuses our account or our address",
    FaultKind.REFUSED: "the vendor refused a request",
}


@dataclass(frozen=True, slots=True)
class Budget:
    """What was spent in a time, of what may be; in the currency of the settings."""

    spent: float
    cap: float
    """0 is no limit."""

    @property
    def share(self) -> float:
        """0 to 1, and more if it is exceeded; 0 without a limit."""
        return self.spent / self.cap if self.cap else 0.0


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """One key of an upstream, by its number."""

    number: int
    state: str
    credits: int | None
    """As the vendor reported last; None if it did not."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source, as this process sees it; budgets and pauses are those of all processes."""

    name: str
    title: str
    """Of the dialect."""
    base_url: str
    state: SourceState
    why: str
    """A sentence; empty in use."""
    ready_in_s: float
    """Seconds until it is asked again; 0 if it is now, infinite if an operator has to act."""
    latency_ms: float | None
    """Moving mean of answers."""
    latency_p95_ms: float | None
    price: float
    keys: tuple[KeyStatus, ...]
    day: Budget
    month: Budget
    routes: tuple[str, ...]
    """Names of the routes that ask it; the default one is empty."""
    paused_at: int | None = None
    """Unix time, if an operator has paused it."""

    @property
    def is_local(self) -> bool:
        return self.name == LOCAL_SOURCE

    @property
    def credits(self) -> int | None:
        """Of all keys together; None if no vendor said."""
        known = [key.credits for key in self.keys if key.credits is not None]
        return sum(known) if known else None


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What a source said when it was tried."""

    works: bool
    text: str
    """A sentence."""


class NoSuchSource(Exception):
    """No source has this name."""


class SourceControl:
    """Shows and changes the sources. Methods may raise StoreError."""

    def __init__(self, settings: Settings, services: PolicyServices) -> None:
        self._settings = settings
        self._services = services
        self._routes = {"": settings.sources}
        self._routes |= {route.name: settings.sources_of(route) for route in settings.routes}
        self._urls = {each.name: without_userinfo(each.base_url) for each in settings.upstreams}
        self._caps = {
            each.name: (each.daily_budget, each.monthly_budget) for each in settings.upstreams
        }

    def has(self, name: str) -> bool:
        return name in self._urls or (name == LOCAL_SOURCE and bool(self._routes_of(name)))

    async def list(self) -> Sequence[SourceStatus]:
        """The engine, if a route has it, then the upstreams in the order of the settings."""
        found = [self._local()] if self._routes_of(LOCAL_SOURCE) else []
        return [*found, *[await self._upstream(each) for each in self._services.upstreams]]

    async def read_pauses(self) -> None:
        """Take over at once what operators paused or resumed by other processes."""
        await self._services.pauses.read()

    async def pause(self, name: str) -> None:
        """Ask a source no more, in any process. Raises NoSuchSource."""
        self._check(name)
        await self._services.pauses.pause(name)

    async def resume(self, name: str) -> None:
        """Ask it again. Raises NoSuchSource."""
        self._check(name)
        await self._services.pauses.resume(name)

    async def try_now(self, name: str) -> TrialResult:
        """Ask an upstream for its balance, which costs nothing, and end its rest.

        The next request of a client is then its trial. Raises NoSuchSource, for the engine too.
        """
        source = next((each for each in self._services.upstreams if each.name == name), None)
        if source is None:
            raise NoSuchSource(name)
        return await try_upstream(source)

    def _check(self, name: str) -> None:
        if not self.has(name):
            raise NoSuchSource(name)

    def _routes_of(self, name: str) -> tuple[str, ...]:
        return tuple(route for route, sources in self._routes.items() if name in sources)

    def _local(self) -> SourceStatus:
        paused_at = self._services.pauses.since.get(LOCAL_SOURCE)
        state = SourceState.IN_USE if paused_at is None else SourceState.PAUSED
        free = Budget(0.0, 0.0)
        return SourceStatus(
            name=LOCAL_SOURCE,
            title="This server's own engine",
            base_url="",
            state=state,
            why="" if paused_at is None else "An operator has paused it.",
            ready_in_s=0.0 if paused_at is None else math.inf,
            latency_ms=None,
            latency_p95_ms=None,
            price=0.0,
            keys=(),
            day=free,
            month=free,
            routes=self._routes_of(LOCAL_SOURCE),
            paused_at=paused_at,
        )

    async def _upstream(self, source: UpstreamSource) -> SourceStatus:
        day, month = await self._services.budgets.spent(source_scope(source.name).name)
        daily, monthly = self._caps[source.name]
        budgets = (
            Budget(max(0, day) / MICROS_PER_UNIT, daily),
            Budget(max(0, month) / MICROS_PER_UNIT, monthly),
        )
        routes = self._routes_of(source.name)
        paused_at = self._services.pauses.since.get(source.name)
        state, why = _state_of(source, budgets, is_paused=paused_at is not None, routes=routes)
        ready_in_s = source.ready_in_s
        if state in (SourceState.PAUSED, SourceState.UNUSED):
            ready_in_s = math.inf
        mean_s, p95_s = source.latency.mean_s, source.latency.percentile_s(95)
        return SourceStatus(
            name=source.name,
            title=source.vendor_api.dialect.title,
            base_url=self._urls[source.name],
            state=state,
            why=why,
            ready_in_s=ready_in_s,
            latency_ms=None if mean_s is None else mean_s * 1000,
            latency_p95_ms=None if p95_s is None else p95_s * 1000,
            price=source.price / MICROS_PER_UNIT,
            keys=tuple(_keys_of(source)),
            day=budgets[0],
            month=budgets[1],
            routes=routes,
            paused_at=paused_at,
        )


async def try_upstream(source: UpstreamSource) -> TrialResult:
    """End the rest of an upstream, and ask for its balance with each of its keys."""
    source.end_rest()
    results = []
    for key in source.keys.keys:
        began = time.perf_counter()
        answer = await source.fetch_balance(key, TRY_TIMEOUT_S)
        took_ms = round((time.perf_counter() - began) * 1000)
        if isinstance(answer, int):
            source.keys.record_balance(key, answer)
        results.append(_trial(key.number, answer, took_ms, count=len(source.keys.keys)))
    return TrialResult(all(each.works for each in results), " ".join(each.text for each in results))


def _state_of(
    source: UpstreamSource, budgets: Iterable[Budget], *, is_paused: bool, routes: Sequence[str]
) -> tuple[SourceState, str]:
    """The state, and a sentence that says why."""
    last = _fault_sentence(source)
    keys = source.keys.keys
    if is_paused:
        return SourceState.PAUSED, "An operator has paused it."
    if not routes:
        return SourceState.UNUSED, "No route names it (routing.order)."
    if source.circuit.is_banned:
        return SourceState.BANNED, f"It refuses our account or our address. {last}"
    if source.keys.all_dead:
        return SourceState.KEY_REFUSED, f"It refuses every key. {last}"
    if any(each.cap and each.spent + source.price / MICROS_PER_UNIT > each.cap for each in budgets):
        return SourceState.OVER_BUDGET, "What it may spend is spent."
    is_empty = all(each.dead or _lacks_credits(source, each) for each in keys)
    if source.keys.ready_in_s > 0 and is_empty:
        return SourceState.NO_CREDITS, "Its account has no credits left."
    if source.ready_in_s > 0 or source.circuit.state is CircuitState.HALF_OPEN:
        return SourceState.RESTING, last or "It has failed too often."
    if source.circuit.state is CircuitState.RECOVERING:
        return SourceState.RECOVERING, f"It answers again. {last}"
    return SourceState.IN_USE, ""


def _lacks_credits(source: UpstreamSource, key: UpstreamKey) -> bool:
    """Whether a key that rests does so for a lack of credits: by its balance, or else by what the
    vendor said last."""
    fault = source.last_fault
    is_told = fault is not None and fault.kind is FaultKind.NO_CREDITS
    return key.credits == 0 or (key.credits is None and is_told)


def _fault_sentence(source: UpstreamSource) -> str:
    fault = source.last_fault
    if fault is None:
        return ""
    words = FAULT_WORDS.get(fault.kind, str(fault.kind))
    status = f", HTTP {fault.status}" if fault.status else ""
    return f"Last fault: {words}{status}."


def _keys_of(source: UpstreamSource) -> Iterable[KeyStatus]:
    in_use = source.keys.current_number
    for key in source.keys.keys:
        if key.dead:
            state = "refused"
        elif source.keys.is_resting(key):
            state = "no credits" if _lacks_credits(source, key) else "resting"
        else:
            state = "in use" if key.number == in_use else "spare"
        yield KeyStatus(key.number, state, key.credits)


def _trial(number: int, answer: int | Fault | None, took_ms: int, *, count: int) -> TrialResult:
    key = f"Key {number}" if count > 1 else "Its key"
    if isinstance(answer, Fault):
        words = FAULT_WORDS.get(answer.kind, str(answer.kind))
        status = f" (HTTP {answer.status})" if answer.status else ""
        return TrialResult(False, f"{key}: {words}{status}, after {took_ms} ms.")
    if answer is None:
        return TrialResult(
            True, f"{key}: this vendor has no free call; the next request is the trial."
        )
    return TrialResult(answer > 0, f"{key}: answered in {took_ms} ms, {answer:,} credits left.")
