"""Answers that are known, and answers that are being found out.

One question in flight is asked once, whoever waits for it, and goes on when they have
left; its answer is kept as long as its verdict deserves.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Protocol

from adapters.contract.problems import Problem, ProblemKind
from engine.model import Address, Checks, Verdict, Verification
from gateway.verdicts.memory import MemoryCache
from gateway.verdicts.owners import with_guessed_person
from gateway.verdicts.verifier import Verifier

MAX_IN_FLIGHT = 2_000
"""Questions in flight; one more is turned away as `UNAVAILABLE`."""


class VerdictStore(Protocol):
    """Answers that survive a restart."""

    async def get_many(
        self, route_name: str, addresses: Sequence[Address], checks: Checks
    ) -> Mapping[str, tuple[Verification, float]]:
        """The answers to exactly these questions, by normalised address, and when they expire
        (Unix time, s)."""
        ...

    def put(self, route_name: str, verification: Verification, expires_at: float) -> None: ...


_CacheKey = tuple[str, Checks, str]
"""Normalised address, checks, and whose answers may serve."""


class VerdictCache:
    """The verdict cache in front of a verifier.

    An answer serves questions with the same `shares` alone: routes of keys do not get the
    answers that other routes paid for, or that other sources gave.
    """

    def __init__(
        self,
        verifier: Verifier,
        *,
        ttl_s: Mapping[Verdict, float],
        clock: Callable[[], float],
        stale_s: float = 0.0,
        store: VerdictStore | None = None,
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        """`stale_s`: how long after its time an answer is still given once, while it is
        renewed."""
        self._verifier = verifier
        self._clock = clock
        self._memory = MemoryCache(clock, stale_s=stale_s)
        self._ttl_s = ttl_s
        self._store = store
        self._max_in_flight = max_in_flight
        self._in_flight: dict[tuple[_CacheKey, bool], asyncio.Task[Verification]] = {}

    @property
    def in_flight(self) -> int:
        """Single verifications that somebody waits for."""
        return len(self._in_flight)

    def get(
        self, address: Address, checks: Checks, route_name: str = ""
    ) -> tuple[Verification, int] | None:
        """The kept answer that serves this question, and for how many seconds it still will.

        Less than none: its time is over, and it should be renewed (`find_out`).
        """
        for fuller in CHECKS_COVERING[checks]:
            entry = self._memory.get((address.normalized, fuller, route_name))
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
        # without the transcript, which is most of an answer's size and is about that one time
        evidence = verification.evidence
        if evidence.transcript:
            evidence = replace(evidence, transcript=())
        as_known = replace(verification, evidence=evidence, cached=True)
        if in_memory:
            key = (address.normalized, verification.checks, route_name)
            self._memory.put(key, as_known, expires_at)
        # what is wrong with an address is seen again for nothing
        if self._store is not None and address.valid:
            self._store.put(route_name, verification, expires_at)

    def is_verifying(
        self, address: Address, checks: Checks, route_name: str = "", *, refresh: bool = False
    ) -> bool:
        """Whether somebody has asked this already, and `find_out` would share the answer."""
        return ((address.normalized, checks, route_name), refresh) in self._in_flight

    def verify(
        self,
        address: Address,
        checks: Checks,
        verifier: Verifier | None = None,
        *,
        route_name: str = "",
        refresh: bool = False,
    ) -> asyncio.Task[Verification]:
        """The task that finds it out, shared by all who ask meanwhile. Raises `Problem`.

        `refresh` looks at nothing that is kept.
        """
        flight = ((address.normalized, checks, route_name), refresh)
        task = self._in_flight.get(flight)
        if task is None:
            if len(self._in_flight) >= self._max_in_flight:
                raise Problem(ProblemKind.UNAVAILABLE, retry_after_s=1)
            task = asyncio.create_task(self._verify(flight, address, verifier or self._verifier))
            self._in_flight[flight] = task
            task.add_done_callback(_retrieve_exception)
        return task

    async def aclose(self) -> None:
        """Give up what is still in flight."""
        for task in tuple(self._in_flight.values()):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

    async def _verify(
        self, in_flight_key: tuple[_CacheKey, bool], address: Address, verifier: Verifier
    ) -> Verification:
        key, refresh = in_flight_key
        try:
            if not refresh and (found := await self._get_stored(key, address)):
                return found
            verification = await verifier.verify(address, key[1])
            self.put(verification, key[2])
            return verification
        finally:
            del self._in_flight[in_flight_key]

    async def _get_stored(self, key: _CacheKey, address: Address) -> Verification | None:
        """The stored answer, which is then known in memory again."""
        _, checks, shares = key
        found = (await self._get_many_stored([address], checks, shares)).get(address.normalized)
        if found is None:
            return None
        as_known = with_guessed_person(found[0])
        self._memory.put((address.normalized, as_known.checks, shares), as_known, found[1])
        return as_known

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


def _retrieve_exception(task: asyncio.Task[Verification]) -> None:
    """Look at the exception of a task that all its waiters may have left."""
    if not task.cancelled():
        task.exception()


def _checks_covering() -> Mapping[Checks, tuple[Checks, ...]]:
    """For each question the answers that serve it, itself first."""
    every = [Checks(*flags) for flags in product((False, True), repeat=3)]
    return {
        wanted: (wanted, *(c for c in every if c != wanted and c.covers(wanted)))
        for wanted in every
    }


CHECKS_COVERING = _checks_covering()
