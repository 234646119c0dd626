"""The verdict cache: known verdicts, and verifications that are in flight.

Equal questions that come while one is in flight share its verification, which runs to its end
even if every client has left, and is cached for as long as its verdict deserves.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, Protocol

from adapters.contract.problems import Problem, ProblemKind
from engine.cache import SingleFlight, TooManyFlights
from engine.model import Address, Checks, Verdict, Verification
from gateway.verdicts.memory import MemoryCache
from gateway.verdicts.owners import with_guessed_person

MAX_IN_FLIGHT = 4_000
"""Verifications in flight; one more is refused as `UNAVAILABLE`."""

Verify = Callable[[], Coroutine[Any, Any, Verification]]
"""Verifies an address that no cached verdict serves."""


class VerdictStore(Protocol):
    """Answers that survive a restart."""

    async def get_many(
        self, route_name: str, addresses: Sequence[Address], checks: Checks
    ) -> Mapping[str, tuple[Verification, float]]:
        """The answers to exactly these questions, by normalised address, and when they expire
        (Unix time, s)."""
        ...

    def put(self, route_name: str, verification: Verification, expires_at: float) -> None: ...


class VerdictCache:
    """The verdict cache of one process.

    A verdict serves only questions of the route that it was found by: a route gets no verdict
    that another paid for, or that came from a source which it does not use.
    """

    def __init__(
        self,
        *,
        ttl_s: Mapping[Verdict, float],
        clock: Callable[[], float],
        stale_s: float = 0.0,
        store: VerdictStore | None = None,
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        """`stale_s`: how long an expired verdict is still given while it is verified anew.
        `clock` is Unix time in seconds."""
        self._clock = clock
        self._memory = MemoryCache(clock, stale_s=stale_s)
        self._ttl_s = ttl_s
        self._store = store
        self._flights: SingleFlight[tuple[str, Checks, str, bool], Verification] = SingleFlight(
            max_flights=max_in_flight
        )

    @property
    def in_flight(self) -> int:
        """Single verifications in flight."""
        return len(self._flights)

    def get(
        self, address: Address, checks: Checks, route_name: str = ""
    ) -> tuple[Verification, int] | None:
        """A verdict in memory that serves, and its TTL in seconds.

        A negative TTL: it has expired, and should be verified anew (`verify`).
        """
        normalized = address.normalized
        for wider in CHECKS_COVERING[checks]:
            entry = self._memory.get((normalized, wider, route_name))
            if entry is not None:
                verification, expires_at = entry
                ttl_s = math.floor(expires_at - self._clock())
                return verification.for_address(address), ttl_s
        return None

    async def get_many(
        self, addresses: Sequence[Address], checks: Checks, route_name: str = ""
    ) -> dict[str, Verification]:
        """The answers that are kept anywhere, by normalised address, without taking them into
        memory."""
        found: dict[str, Verification] = {}
        for address in addresses:
            known = self.get(address, checks, route_name)
            if known is not None and known[1] >= 0:
                found[address.normalized] = known[0]
        missing = [a for a in addresses if a.valid and a.normalized not in found]
        stored = await self._get_many_stored(missing, checks, route_name)
        return found | {address: answer for address, (answer, _) in stored.items()}

    def put(
        self, verification: Verification, route_name: str = "", *, in_memory: bool = True
    ) -> None:
        """Let an answer be known for as long as its verdict deserves.

        Not `at_hand`: only where it survives a restart, so that a long list does not push
        everything else out of memory.
        """
        ttl_s = self._ttl_s[verification.verdict]
        if ttl_s <= 0:
            return
        address = verification.address
        expires_at = self._clock() + ttl_s
        if in_memory:
            evidence = verification.evidence
            if evidence.transcript:
                # Most of a verification's size, and of no use to another client.
                evidence = replace(evidence, transcript=())
            key = (address.normalized, verification.checks, route_name)
            cached = replace(verification, evidence=evidence, cached=True)
            self._memory.put(key, cached, expires_at)
        # A malformed address costs nothing to verify anew.
        if self._store is not None and address.valid:
            self._store.put(route_name, verification, expires_at)

    def is_verifying(
        self, address: Address, checks: Checks, route_name: str = "", *, refresh: bool = False
    ) -> bool:
        """Whether `verify` would share a verification in flight."""
        return self._flights.is_running((address.normalized, checks, route_name, refresh))

    def verify(
        self,
        address: Address,
        checks: Checks,
        verify: Verify,
        *,
        route_name: str = "",
        refresh: bool = False,
    ) -> asyncio.Task[Verification]:
        """The task that verifies the address, which equal questions share.

        `verify` is called unless a stored verdict serves; with `refresh`, whatever is stored. The
        task goes on when nobody awaits it any more. Raises `Problem`.
        """
        key = (address.normalized, checks, route_name, refresh)
        verify_and_put = partial(self._verify, address, checks, verify, route_name, refresh)
        try:
            return self._flights.join(key, verify_and_put)
        except TooManyFlights:
            raise Problem(ProblemKind.UNAVAILABLE, retry_after_s=1) from None

    async def aclose(self) -> None:
        """Cancel what is in flight."""
        await self._flights.aclose()

    async def _verify(
        self, address: Address, checks: Checks, verify: Verify, route_name: str, refresh: bool
    ) -> Verification:
        if not refresh and (stored := await self._get_stored(address, checks, route_name)):
            return stored
        verification = await verify()
        self.put(verification, route_name)
        return verification

    async def _get_stored(
        self, address: Address, checks: Checks, route_name: str
    ) -> Verification | None:
        """The stored verdict, which is then in memory too."""
        found = await self._get_many_stored([address], checks, route_name)
        if address.normalized not in found:
            return None
        verification, expires_at = found[address.normalized]
        verification = with_guessed_person(verification)
        key = (address.normalized, verification.checks, route_name)
        self._memory.put(key, verification, expires_at)
        return verification

    async def _get_many_stored(
        self, addresses: Sequence[Address], checks: Checks, route_name: str
    ) -> dict[str, tuple[Verification, float]]:
        """The stored answers that serve, and when they expire."""
        serving: dict[str, tuple[Verification, float]] = {}
        if self._store is None:
            return serving
        for fuller in CHECKS_COVERING[checks]:
            missing = [a for a in addresses if a.normalized not in serving]
            found = await self._store.get_many(route_name, missing, fuller)
            for address, (answer, expires_at) in found.items():
                if expires_at > self._clock():
                    serving[address] = (replace(answer, cached=True), expires_at)
        return serving


def _checks_covering() -> Mapping[Checks, tuple[Checks, ...]]:
    """For each question the answers that serve it, itself first."""
    every = [Checks(*flags) for flags in product((False, True), repeat=3)]
    return {
        wanted: (wanted, *(c for c in every if c != wanted and c.covers(wanted)))
        for wanted in every
    }


CHECKS_COVERING = _checks_covering()
