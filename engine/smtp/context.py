"""What all probes of an engine share: identity, limits, pacing, caches and reputation."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.cache import TtlCache
from engine.dns.resolver import Resolver
from engine.model import Meaning, Stage
from engine.smtp.dialogue import Conversation
from engine.smtp.meanings import WITHOUT_REPLY
from engine.smtp.pacing import Pacer
from engine.smtp.pipe import ReplyPipe
from engine.smtp.reputation import ReputationTracker
from engine.smtp.terms import Identity, Target

UNRESPONSIVE_FOR_S = 60.0
"""How long the other hosts of a domain are asked before one that did not answer."""
CATCH_ALL_TTL_S = 3600.0
CATCH_ALL_CACHE_SIZE = 100_000
UNRESPONSIVE_CACHE_SIZE = 20_000


@dataclass(frozen=True, slots=True)
class ProbeLimits:
    """How long and where an inquiry may go; times in seconds."""

    port: int
    allow_private_networks: bool
    connect_timeout_s: float
    command_timeout_s: float
    greylist_pauses_s: tuple[float, ...]
    bulk: bool = False
    """Asked for a list: whoever waits for one address goes first."""


class Deadline:
    """A point in time, and what is left until then."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end = clock() + seconds

    @property
    def left_s(self) -> float:
        return max(0.0, self._end - self._clock())


class CatchAllCache:
    """Which domains accept every name, by domain and operator, for an hour."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._cache: TtlCache[tuple[str, str], bool] = TtlCache(CATCH_ALL_CACHE_SIZE, clock)

    def get(self, domain: str, operator: str) -> bool | None:
        return self._cache.get((domain, operator))

    def update(self, domain: str, operator: str, accepts: bool | None) -> bool | None:
        """Note what a control address showed, if anything; returns what is known now."""
        if accepts is None:
            return self.get(domain, operator)
        self._cache.put((domain, operator), accepts, CATCH_ALL_TTL_S)
        return accepts


class UnresponsiveTargets:
    """Places that did not answer lately, or with nothing that is SMTP."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._cache: TtlCache[Target, Meaning] = TtlCache(UNRESPONSIVE_CACHE_SIZE, clock)

    def __contains__(self, target: Target) -> bool:
        return self._cache.get(target) is not None

    def record_visit(self, target: Target, meaning: Meaning, stage: Stage) -> None:
        """What a visit came to."""
        if stage is not Stage.RCPT and meaning in WITHOUT_REPLY | {Meaning.UNREACHABLE}:
            self._cache.put(target, meaning, UNRESPONSIVE_FOR_S)
        else:
            self._cache.put(target, meaning, 0)


class PendingQuits:
    """Connections that said QUIT and wait for the answer, so that no caller has to."""

    def __init__(self) -> None:
        self._pipes: set[ReplyPipe] = set()

    def __len__(self) -> int:
        return len(self._pipes)

    def quit(self, conversation: Conversation) -> None:
        pipe = conversation.quit()
        if not pipe.closed:
            self._pipes.add(pipe)
            pipe.on_closed(lambda: self._pipes.discard(pipe))

    async def aclose(self) -> None:
        """Cut what still waits."""
        pipes = list(self._pipes)
        for pipe in pipes:
            pipe.abort()
        for pipe in pipes:
            await pipe.wait_closed()


@dataclass(frozen=True, slots=True)
class ProbeContext:
    """What all inquiries of an engine share."""

    identity: Identity
    limits: ProbeLimits
    resolver: Resolver
    pacer: Pacer
    rng: random.Random
    tls: ssl.SSLContext | None
    clock: Callable[[], float]
    catch_all_cache: CatchAllCache
    unresponsive: UnresponsiveTargets
    reputation: ReputationTracker
    pending_quits: PendingQuits = field(default_factory=PendingQuits)
