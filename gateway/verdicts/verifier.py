"""Verifiers of one address and of many: the probe engine, the policy, or a stand-in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from engine.model import Address, Checks, Verification, VerificationStream
from gateway.tasks import merge

CONCURRENT_VERIFICATIONS = 100
"""Concurrent verifications of a list that is verified address by address."""


class Verifier(Protocol):
    """Verifies one address."""

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification: ...


class RetryLater(Exception):
    """No source can answer the addresses without a result now; later one may."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"not before {retry_after_s:.0f} s from now")
        self.retry_after_s = retry_after_s


class BulkVerifier(Protocol):
    """Verifies many addresses together."""

    def verify_many(self, addresses: Iterable[Address], checks: Checks) -> VerificationStream:
        """The verifications of distinct addresses, as they complete, in any order.

        A slow consumer slows the work; one that may stop early closes the stream
        (`contextlib.aclosing`). An address without a result at the end failed: the stream then
        ends with the bug that was the cause, or with RetryLater.
        """
        ...


class OneByOne:
    """Verifies many addresses with a verifier of one, a few at a time."""

    def __init__(self, verifier: Verifier, *, concurrency: int = CONCURRENT_VERIFICATIONS) -> None:
        self._verifier = verifier
        self._concurrency = concurrency

    async def verify_many(self, addresses: Iterable[Address], checks: Checks) -> VerificationStream:
        """As `BulkVerifier.verify_many`."""
        left = iter(addresses)
        failures = _Failures()
        workers = [self._verify_next(left, checks, failures) for _ in range(self._concurrency)]
        async with aclosing(merge(workers)) as results:
            async for result in results:
                yield result
        failures.raise_worst()

    async def _verify_next(
        self, left: Iterator[Address], checks: Checks, failures: _Failures
    ) -> VerificationStream:
        """Verify the next address that is left, and so on until none is."""
        for address in left:
            try:
                verification = await self._verifier.verify(address, checks)
            except RetryLater as later:
                # The next address would have the same result.
                failures.retry_later.append(later)
                return
            except Exception as exc:
                failures.bugs.append(exc)
            else:
                yield address, verification


@dataclass(slots=True)
class _Failures:
    """Why addresses of a list have no result."""

    bugs: list[Exception] = field(default_factory=list)
    retry_later: list[RetryLater] = field(default_factory=list)

    def raise_worst(self) -> None:
        """Raise the first bug, else the shortest wait, if there was either."""
        if self.bugs:
            raise self.bugs[0]
        if self.retry_later:
            raise min(self.retry_later, key=lambda later: later.retry_after_s)
