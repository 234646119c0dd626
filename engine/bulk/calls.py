"""Verification of many addresses: grouped by domain, and domains by mail host.

A call reads addresses, hands those of each domain to a `DomainProbe`, and yields results as they
come, in any order. A slow consumer slows the reading down. A greylisted address is not waited for:
the owner of the batch retries it later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from datetime import datetime
from itertools import islice

from engine.address.offline import with_list_evidence
from engine.bulk.domain_probe import DomainProbe
from engine.bulk.shared import BulkShared, SingleProbe
from engine.bulk.transaction import PendingAddress
from engine.model import Address, Checks, Evidence, Verification, VerificationStream
from engine.smtp.context import ProbeContext
from engine.turns import acting_for, current_party
from engine.verification import verification_from_evidence

MAX_IN_FLIGHT_PER_CALL = 10_000
"""Addresses of one call that were read and whose results were not taken yet."""
PARSE_BURST = 500
"""Addresses read before other tasks get a turn."""


class BulkProbe:
    """Verifies batches for one engine."""

    def __init__(
        self,
        context: ProbeContext,
        single: SingleProbe,
        *,
        now: Callable[[], datetime],
        recipients_per_connection: int,
        unreachable_for_s: float,
    ) -> None:
        """`single` and `unreachable_for_s` are those of `BulkShared`."""
        self._shared = BulkShared(
            context,
            single,
            now=now,
            recipients_per_connection=recipients_per_connection,
            unreachable_for_s=unreachable_for_s,
        )

    def verify_many(self, addresses: Iterable[Address], checks: Checks) -> VerificationStream:
        """As `ProbeEngine.verify_many`."""
        return _BulkCall(self._shared, checks).verifications(addresses)

    async def aclose(self) -> None:
        """Close the connections that are still open; calls should be over."""
        await self._shared.aclose()


class _BulkCall:
    """One list of addresses on its way to the consumer of its verifications."""

    _tasks: asyncio.TaskGroup

    def __init__(self, shared: BulkShared, checks: Checks) -> None:
        self.checks = checks
        self._party = current_party()
        self._shared = shared
        self._is_running = True
        self._failure: Exception | None = None
        self._unanswered = 0
        self._results: list[tuple[Address, Verification]] = []
        """Results for the consumer, who gets all that there are at a time."""
        self._being_taken = 0
        """Results that the consumer is working through."""
        self._has_results = asyncio.Event()
        """Set when there are results, and when there will be no more."""
        self._progress = asyncio.Event()
        """Set when an address was answered and when results were taken."""

    async def verifications(self, addresses: Iterable[Address]) -> VerificationStream:
        """Run the list in a task of its own, and yield its results."""
        running = asyncio.create_task(self._run(iter(addresses)))
        running.add_done_callback(lambda _: self._has_results.set())
        try:
            while results := await self._take_results(running):
                for result in results:
                    yield result
            await running
        finally:
            self._is_running = False
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    # -- for DomainProbe (DomainCall) ----------------------------------------------------

    @property
    def is_active(self) -> bool:
        return self._is_running and self._failure is None

    def start_task(self, task: Coroutine[None, None, None]) -> None:
        with acting_for(self._party):  # a host pool, which works for all, may have called
            self._tasks.create_task(task)

    def deliver(self, address: Address, verification: Verification) -> None:
        self._unanswered -= 1
        if self._is_running:
            self._results.append((address, verification))
            self._has_results.set()
        self._progress.set()

    def fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._progress.set()

    # -- private -------------------------------------------------------------------------

    async def _run(self, addresses: Iterator[Address]) -> None:
        try:
            async with asyncio.TaskGroup() as self._tasks:
                try:
                    while await self._start_addresses(addresses):
                        await self._wait_for_progress(
                            lambda: self._in_flight <= MAX_IN_FLIGHT_PER_CALL // 2
                        )
                    await self._wait_for_progress(lambda: self._unanswered == 0)
                finally:
                    self._is_running = False
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _take_results(
        self, running: asyncio.Task[None]
    ) -> list[tuple[Address, Verification]]:
        """Wait for results and take them; none if the list has ended."""
        self._being_taken = 0
        self._progress.set()
        while not self._results and not running.done():
            self._has_results.clear()
            await self._has_results.wait()
        results, self._results = self._results, []
        self._being_taken = len(results)
        return results

    @property
    def _in_flight(self) -> int:
        """Addresses that were read and whose results were not taken."""
        return self._unanswered + len(self._results) + self._being_taken

    async def _start_addresses(self, addresses: Iterator[Address]) -> bool:
        """Start some addresses; False if there are no more."""
        domains: dict[str, list[PendingAddress]] = {}
        has_more = True
        for _ in range(MAX_IN_FLIGHT_PER_CALL // 2 // PARSE_BURST):
            burst = list(islice(addresses, PARSE_BURST))
            has_more = len(burst) == PARSE_BURST
            for address in burst:
                self._start_address(address, domains)
            if not has_more:
                break
            await asyncio.sleep(0)
        lookups = self._shared.lookup_slots
        for domain, pending in domains.items():
            await lookups.acquire(self._party)
            probe = DomainProbe(self, self._shared, domain, pending)
            task = self._tasks.create_task(probe.start())
            task.add_done_callback(lambda _: lookups.release(self._party))
        return has_more

    def _start_address(self, address: Address, domains: dict[str, list[PendingAddress]]) -> None:
        """Add the address to those of its domain, or deliver its result if it needs no network."""
        self._unanswered += 1
        if address.valid and (self.checks.dns or self.checks.smtp):
            domains.setdefault(address.ascii_domain, []).append(PendingAddress(address))
            return
        evidence = with_list_evidence(address, Evidence())
        verification = verification_from_evidence(
            address, evidence, self.checks, verified_at=self._shared.now()
        )
        self.deliver(address, verification)

    async def _wait_for_progress(self, is_enough: Callable[[], bool]) -> None:
        """Wait until `is_enough`. Raises the failure for which some addresses get no result."""
        while self._failure is None and not is_enough():
            self._progress.clear()
            await self._progress.wait()
        if self._failure is not None:
            raise self._failure
