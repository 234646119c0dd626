"""What all probes of an engine share: ways out, limits, caches."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from engine.cache import TtlCache
from engine.dns.resolver import Resolver
from engine.sharing import NO_NOTES, Notes
from engine.smtp.catch_all import control_address
from engine.smtp.dialogue import Conversation
from engine.smtp.egress import EgressSet
from engine.smtp.pipe import ReplyPipe

CATCH_ALL_TTL_S = 3600.0
CATCH_ALL_CACHE_SIZE = 100_000
"""Domains."""
_CATCH_ALL_WORDS = ("yes", "no")


@dataclass(frozen=True, slots=True)
class ProbeLimits:
    """Where a probe may connect, and how long it may wait."""

    port: int
    allow_private_networks: bool
    """Whether addresses that are not global may be connected to."""
    connect_timeout_s: float
    command_timeout_s: float
    """For the banner and for each reply."""
    greylist_pauses_s: tuple[float, ...]
    """Waits before a greylisted address is asked about again; its length bounds the retries."""
    bulk: bool = False
    """Lower priority than single verifications; waits for a slot until the operator is skipped."""


class Deadline:
    """A point in time, and the seconds left until then."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end = clock() + seconds

    @property
    def left_s(self) -> float:
        return max(0.0, self._end - self._clock())

    def share_s(self, *, is_last: bool) -> float:
        """What one wait may take: half of what is left, so that something is left for other
        targets; all of it if there are none (`is_last`)."""
        left_s = self.left_s
        return max(0.05, left_s if is_last else left_s / 2)


class CatchAllCache:
    """Which domains accept every name, for an hour.

    Kept by domain and operator: the mail hosts of one domain may belong to several.
    """

    def __init__(self, clock: Callable[[], float], notes: Notes = NO_NOTES) -> None:
        """`notes` tell other processes, and what they found."""
        self._cache: TtlCache[tuple[str, str], bool] = TtlCache(CATCH_ALL_CACHE_SIZE, clock)
        self._notes = notes

    async def learn(self, domain: str, operator: str) -> None:
        """Take over what another process found, if nothing is known here."""
        if self._cache.get((domain, operator)) is None:
            word = await self._notes.get(f"catch-all {domain} {operator}")
            if word in _CATCH_ALL_WORDS:
                self._cache.put((domain, operator), word == "yes", CATCH_ALL_TTL_S)

    def get(self, domain: str, operator: str) -> bool | None:
        return self._cache.get((domain, operator))

    def update(self, domain: str, operator: str, accepts: bool | None) -> bool | None:
        """Store what a control address showed; returns what is known now. None changes nothing."""
        if accepts is None:
            return self.get(domain, operator)
        if self._cache.get((domain, operator)) is not accepts:
            word = "yes" if accepts else "no"
            self._notes.put(f"catch-all {domain} {operator}", word, CATCH_ALL_TTL_S)
        self._cache.put((domain, operator), accepts, CATCH_ALL_TTL_S)
        return accepts


class PendingQuits:
    """Connections on which QUIT was sent and whose reply is awaited, so that no caller has to."""

    def __init__(self) -> None:
        self._pipes: set[ReplyPipe] = set()

    def __len__(self) -> int:
        return len(self._pipes)

    def quit(self, conversation: Conversation) -> None:
        """End `conversation` with QUIT without waiting for the reply."""
        pipe = conversation.quit()
        if not pipe.closed:
            self._pipes.add(pipe)
            pipe.on_closed(lambda: self._pipes.discard(pipe))

    async def aclose(self) -> None:
        """Abort the connections that still wait."""
        pipes = list(self._pipes)
        for pipe in pipes:
            pipe.abort()
        for pipe in pipes:
            await pipe.wait_closed()


@dataclass(frozen=True, slots=True)
class ProbeContext:
    """What all probes of one engine share."""

    egresses: EgressSet
    limits: ProbeLimits
    resolver: Resolver
    rng: random.Random
    tls: ssl.SSLContext | None
    """None to leave STARTTLS out."""
    clock: Callable[[], float]
    now: Callable[[], datetime]
    catch_all_cache: CatchAllCache
    pending_quits: PendingQuits = field(default_factory=PendingQuits)

    def control_address(self, domain: str) -> str:
        """The address at `domain` that shows whether the domain accepts every name."""
        return control_address(domain, self.now().timestamp())
