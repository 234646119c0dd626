"""Answers that are known, and answers that are being found out.

One question in flight is asked once, whoever waits for it, and goes on when they have
left; its answer is kept as long as its verdict deserves.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from typing import Protocol

from cachetools import TLRUCache

from adapters.dialect import Problem, ProblemKind
from engine.model import Address, Checks, Verdict, Verification

MAX_KNOWN = 100_000
"""Answers kept; the least recently used go first."""
MAX_IN_FLIGHT = 2_000
"""Questions in flight; one more is turned away as `UNAVAILABLE`."""

_Key = tuple[str, Checks]


class Verifier(Protocol):
    """Finds out about an address: the probe engine, or whatever stands in for it."""

    async def verify(
        self, text: str, checks: Checks = ..., deadline_s: float | None = None
    ) -> Verification: ...


class Verdicts:
    """The verdict cache in front of a verifier."""

    def __init__(
        self,
        verifier: Verifier,
        *,
        ttl_s: Mapping[Verdict, float],
        clock: Callable[[], float],
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        self._verifier = verifier
        self._clock = clock
        self._known: TLRUCache[_Key, tuple[Verification, float]] = TLRUCache(
            MAX_KNOWN, ttu=lambda _, entry, __: entry[1], timer=clock
        )
        self._ttl_s = ttl_s
        self._max_in_flight = max_in_flight
        self._in_flight: dict[_Key, asyncio.Task[Verification]] = {}

    def known(self, address: Address, checks: Checks) -> tuple[Verification, int] | None:
        """The kept answer that serves this question, and for how many seconds it still will."""
        for fuller in COVERING[checks]:
            entry = self._known.get((address.normalized, fuller))
            if entry is not None:
                verification, expires_at = entry
                # the address as this caller wrote it, not as the first one did
                ttl_s = max(int(expires_at - self._clock()), 0)
                return replace(verification, address=address, cached=True), ttl_s
        return None

    def keep(self, verification: Verification) -> None:
        """Let an answer be known for as long as its verdict deserves."""
        key = (verification.address.normalized, verification.checks)
        expires_at = self._clock() + self._ttl_s[verification.verdict]
        self._known[key] = (verification, expires_at)

    def find_out(self, address: Address, checks: Checks) -> asyncio.Task[Verification]:
        """The task that finds it out, shared by all who ask meanwhile. Raises `Problem`."""
        key = (address.normalized, checks)
        task = self._in_flight.get(key)
        if task is None:
            if len(self._in_flight) >= self._max_in_flight:
                raise Problem(ProblemKind.UNAVAILABLE, retry_after_s=1)
            task = asyncio.create_task(self._find_out(key, address.raw))
            self._in_flight[key] = task
            task.add_done_callback(_retrieve)
        return task

    async def aclose(self) -> None:
        """Give up what is still in flight."""
        for task in tuple(self._in_flight.values()):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

    async def _find_out(self, key: _Key, text: str) -> Verification:
        try:
            verification = await self._verifier.verify(text, key[1])
            self.keep(verification)
            return verification
        finally:
            del self._in_flight[key]


def _retrieve(task: asyncio.Task[Verification]) -> None:
    """Look at the exception of a task that all its waiters may have left."""
    if not task.cancelled():
        task.exception()


def _covering() -> Mapping[Checks, tuple[Checks, ...]]:
    """For each question the answers that serve it, itself first."""
    every = [Checks(*flags) for flags in product((False, True), repeat=3)]
    return {
        wanted: (wanted, *(c for c in every if c != wanted and c.covers(wanted)))
        for wanted in every
    }


COVERING = _covering()
