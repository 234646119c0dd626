"""The verdict cache: known verdicts, and verifications that are in flight.

Equal requests share a verification in flight. It runs to its end even if every client has
disconnected, and its verdict is cached for the TTL of its kind.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from adapters.contract.problems import Problem, ProblemKind
from engine.cache import SingleFlight, TooManyFlights
from engine.model import Address, Checks, Verdict, Verification
from engine.turns import Turns, current_party
from gateway.errors import LOCAL_SOURCE
from gateway.verdicts.copies import decode_copy, encode_copy
from gateway.verdicts.memory import CacheEntry, MemoryCache
from gateway.verdicts.owners import with_guessed_person

if TYPE_CHECKING:  # the sandbox shares nothing, and starts without a database's imports
    from gateway.cluster.shared.flights import SharedFlights

MAX_IN_FLIGHT = 4_000
"""Verifications in flight; one more is refused as `UNAVAILABLE`, and so is one of an account that
has its share of them (`Turns.exceeds_share`)."""

MAX_FOLLOWED_S = 30.0
"""How long another process's verification of the same address is waited for."""

Verify = Callable[[], Coroutine[Any, Any, Verification]]
"""Verifies an address that no cached verdict serves."""


class VerdictStore(Protocol):
    """Verdicts that survive a restart."""

    async def get_many(
        self, partition: str, addresses: Sequence[Address], checks: Sequence[Checks]
    ) -> Mapping[str, tuple[Verification, float]]:
        """By normalised address, the verdict, marked as cached, and when it expires (Unix time, s).

        Of several verdicts on an address the one with the first of `checks` is taken. The names of
        people are not guessed (`gateway.verdicts.owners`).
        """
        ...

    def put(self, partition: str, verification: Verification, expires_at: float) -> None: ...


class SharedTask(NamedTuple):
    """A verification in flight."""

    task: asyncio.Task[Verification]
    is_shared: bool
    """Whether an equal request began it."""


class VerdictCache:
    """The verdict cache of one process.

    A verdict serves only requests of its own partition. The routes have one each, so that a route
    gets no verdict that another paid for, or that came from a source which it does not use; and so
    have the accounts, unless the settings let them share.
    """

    def __init__(
        self,
        *,
        ttl_s: Mapping[Verdict, float],
        clock: Callable[[], float],
        stale_s: float = 0.0,
        store: VerdictStore | None = None,
        max_in_flight: int = MAX_IN_FLIGHT,
        shared_flights: SharedFlights | None = None,
        on_verified: Callable[[Verification, str], None] = lambda *_: None,
    ) -> None:
        """`stale_s`: how long an expired verdict is still given while it is verified anew.
        `clock` is Unix time in seconds. `shared_flights` are those of all processes.
        `on_verified` is called with each new verification of a valid address, and its partition."""
        self._clock = clock
        self._memory = MemoryCache(clock, stale_s=stale_s)
        self._ttl_s = ttl_s
        self._store = store
        self._shared_flights = shared_flights
        self._flights: SingleFlight[tuple[str, Checks, str, bool], Verification] = SingleFlight(
            max_flights=max_in_flight
        )
        self._max_in_flight = max_in_flight
        self._on_verified = on_verified
        self._turns = Turns()

    @property
    def in_flight(self) -> int:
        """Single verifications in flight."""
        return len(self._flights)

    def get(
        self, address: Address, checks: Checks, partition: str = ""
    ) -> tuple[Verification, int] | None:
        """A verdict in memory that serves, and its TTL in seconds.

        A negative TTL: it has expired, and should be verified anew (`verify`).
        """
        for wider in CHECKS_COVERING[checks]:
            entry = self._memory.get((address.normalized, wider, partition))
            if entry is not None:
                verification, expires_at = entry
                ttl_s = math.floor(expires_at - self._clock())
                return verification.for_address(address), ttl_s
        return None

    async def get_many(
        self, addresses: Sequence[Address], checks: Checks, partition: str = ""
    ) -> dict[str, Verification]:
        """By normalised address, the verdicts that serve, in memory or stored.

        Stored ones do not take up memory afterwards.
        """
        found: dict[str, Verification] = {}
        for address in addresses:
            hit = self.get(address, checks, partition)
            if hit is not None and hit[1] >= 0:
                found[address.normalized] = hit[0]
        if self._store is not None:
            missing = [a for a in addresses if a.valid and a.normalized not in found]
            stored = await self._store.get_many(partition, missing, CHECKS_COVERING[checks])
            found |= {normalized: verdict for normalized, (verdict, _) in stored.items()}
        return found

    def put(
        self, verification: Verification, partition: str = "", *, in_memory: bool = True
    ) -> float:
        """Cache a verdict for the TTL of its kind; returns when it expires, 0 if it is not cached.

        Not that of an invalid address, which costs nothing to verify anew and may be of any
        length. Without `in_memory` it is stored only, so that a long list does not evict
        everything else from memory.
        """
        if verification.address.valid:
            self._on_verified(verification, partition)
        # Of a temporary one the next few minutes may show more, whatever its verdict.
        verdict = Verdict.UNKNOWN if verification.temporary else verification.verdict
        ttl_s = self._ttl_s[verdict]
        address = verification.address
        if ttl_s <= 0 or not address.valid:
            return 0.0
        if verification.source != LOCAL_SOURCE:
            # An upstream has no more to say to a request that wants the policies as well.
            full = replace(verification.checks, policies=True)
            verification = replace(verification, checks=full)
        expires_at = self._clock() + ttl_s
        if in_memory:
            evidence = verification.evidence
            if evidence.transcript:
                # Most of a verification's size, and of no use to another client.
                evidence = replace(evidence, transcript=())
            key = (address.normalized, verification.checks, partition)
            cached = replace(verification, evidence=evidence, cached=True)
            self._memory.put(key, cached, expires_at)
        if self._store is not None:
            self._store.put(partition, verification, expires_at)
        return expires_at

    def verify(
        self,
        address: Address,
        checks: Checks,
        verify: Verify,
        *,
        partition: str = "",
        refresh: bool = False,
    ) -> SharedTask:
        """Verify the address in a task that equal requests share.

        `verify` is called unless a stored verdict serves, and in any case with `refresh`. The
        task continues when nothing awaits it any more. It counts for the party that began it
        (`engine.turns`). Raises `Problem`.
        """
        key = (address.normalized, checks, partition, refresh)
        is_shared = self._flights.is_running(key)
        party = current_party()
        if not is_shared and self._turns.exceeds_share(party, self._max_in_flight):
            raise Problem(ProblemKind.UNAVAILABLE, retry_after_s=1)
        call = partial(self._verify, address, checks, verify, partition, refresh)
        try:
            task = self._flights.join(key, call)
        except TooManyFlights:
            raise Problem(ProblemKind.UNAVAILABLE, retry_after_s=1) from None
        if not is_shared:
            self._turns.take(party)
            task.add_done_callback(lambda _: self._turns.give_back(party))
        return SharedTask(task, is_shared)

    async def aclose(self) -> None:
        """Cancel the verifications in flight."""
        await self._flights.aclose()

    async def _verify(
        self, address: Address, checks: Checks, verify: Verify, partition: str, refresh: bool
    ) -> Verification:
        what = f"{partition}\n{checks!r}\n{address.normalized}"
        flights = self._shared_flights
        if refresh or flights is None or not flights.are_shared:
            if not refresh and (stored := await self._get_stored(address, checks, partition)):
                return stored[0]
            verification = await verify()
            expires_at = self.put(verification, partition)
            if flights is not None and flights.are_shared and expires_at > self._clock():
                encoded = encode_copy(verification, expires_at)
                flights.publish(what, encoded, expires_at - self._clock())
            return verification
        async with flights.join(what, MAX_FOLLOWED_S) as flight:
            if flight.answer is not None:
                copy = decode_copy(flight.answer, address)
                if copy is not None and copy[1] > self._clock():
                    return self._put_in_memory(*copy, partition)
            if (entry := await self._get_stored(address, checks, partition)) is None:
                verification = await verify()
                entry = verification, self.put(verification, partition)
            if entry[1] > self._clock():
                flight.publish(encode_copy(*entry), entry[1] - self._clock())
            return entry[0]

    async def _get_stored(
        self, address: Address, checks: Checks, partition: str
    ) -> CacheEntry | None:
        """The stored verdict, which is then in memory too, and when it expires."""
        if self._store is None:
            return None
        found = await self._store.get_many(partition, [address], CHECKS_COVERING[checks])
        if address.normalized not in found:
            return None
        verification, expires_at = found[address.normalized]
        return self._put_in_memory(verification, expires_at, partition), expires_at

    def _put_in_memory(
        self, verification: Verification, expires_at: float, partition: str
    ) -> Verification:
        """Cache a verdict that was found elsewhere; returns it with its guess at a person."""
        verification = with_guessed_person(verification)
        key = (verification.address.normalized, verification.checks, partition)
        self._memory.put(key, verification, expires_at)
        return verification


def _checks_covering() -> Mapping[Checks, tuple[Checks, ...]]:
    """For each set of checks those whose verdicts serve it, itself first."""
    every = [Checks(*flags) for flags in product((False, True), repeat=4)]
    return {
        wanted: (wanted, *(c for c in every if c != wanted and c.covers(wanted)))
        for wanted in every
    }


CHECKS_COVERING = _checks_covering()
