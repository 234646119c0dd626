"""Batches through the routes: lists where a source takes them, else one address at a time.

Sources are asked in the strategy's order. Each gets the addresses without a final verification
as one list: the engine groups them by mail host, an upstream gets a vendor job. At the first
source that takes no list, the addresses left are verified one by one, by all the policy's rules,
and so is any address that a list left open. A quorum is always asked one by one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence, Set
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from engine.address.syntax import parse_address
from engine.model import (
    Address,
    Attempt,
    Checks,
    Evidence,
    Reason,
    Verification,
    VerificationStream,
)
from engine.turns import FairSlots
from engine.verification import unknown_verification
from gateway.accounts.caller import Caller
from gateway.batches.intake import CHUNK_SIZE
from gateway.batches.model import Claim
from gateway.batches.ports import ChunkVerifier
from gateway.errors import NO_SOURCE, NoAnswer
from gateway.settings import LOCAL_SOURCE, Completion, Strategy
from gateway.tasks import in_background
from gateway.upstreams.batches.records import OriginChunk, VendorJobInput
from gateway.upstreams.batches.vendor_jobs import ChunkJobs, VendorJobRunner
from gateway.upstreams.routing.budgets import MICROS_PER_UNIT, SpendingScope
from gateway.upstreams.routing.completion import DNS_ONLY, complete_evidence, list_evidence
from gateway.upstreams.routing.measured import MeasuredOrder
from gateway.upstreams.routing.policy import Policy
from gateway.upstreams.routing.routes import SourceRoute
from gateway.upstreams.routing.strategies import SOURCE_ORDERS, is_final, most_informative
from gateway.upstreams.source.source import Source
from gateway.upstreams.source.upstream import UpstreamSource
from gateway.verdicts.verifier import BulkVerifier, OneByOne, RetryLater

log = logging.getLogger(__name__)

CONCURRENT_SINGLES = 200
"""Of all batches: more would only wait for the upstreams' connections, and time out there."""
CHOSEN_AT_ONCE = 500
"""Addresses whose source is chosen between two turns of the event loop."""
MIN_RETRY_WAIT_S = 5.0
"""Before addresses that no source answered are asked about again."""


class BulkPolicy:
    """Chooses the verifier of each chunk. `clock` is Unix time in seconds."""

    def __init__(
        self,
        policy: Policy,
        bulk_verifier: BulkVerifier,
        vendor_jobs: VendorJobRunner,
        *,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._context = _BulkContext(
            policy, bulk_verifier, vendor_jobs, clock, rng, FairSlots(CONCURRENT_SINGLES)
        )

    def choose_verifier(self, claim: Claim, retries_greylisted: bool) -> ChunkVerifier:
        """By the route of the key that the batch came with.

        `retries_greylisted`: greylisted addresses are asked about again later, so the next
        source need not be paid for them.
        """
        policy = self._context.policy
        route, key = policy.route_for_key(claim.key_id, claim.key_label)
        partition = policy.cache_partition(claim.account_id, claim.key_label)
        is_local = [source.name for source in route.sources] == [LOCAL_SOURCE]
        if is_local and not route.sources[0].unusable_fault:
            return ChunkVerifier(self._context.bulk_verifier, partition)
        chunk = OriginChunk(claim.batch_id, claim.origin_chunk)
        verifier = _RouteVerifier(
            self._context, route, key, chunk, retries_greylisted, wants_retries=claim.retries
        )
        return ChunkVerifier(verifier, partition, is_remote=self._vendor_job_size(route) > 0)

    def chunk_size(self, caller: Caller) -> int:
        """How many addresses of a caller make a chunk: one vendor job of the first source."""
        route, _ = self._context.policy.route_for_key(caller.key_id, caller.key_label)
        return self._vendor_job_size(route) or CHUNK_SIZE

    @staticmethod
    def _vendor_job_size(route: SourceRoute) -> int:
        first = route.sources[0]
        return first.max_job_size if isinstance(first, UpstreamSource) else 0


@dataclass(frozen=True, slots=True)
class _BulkContext:
    policy: Policy
    bulk_verifier: BulkVerifier
    vendor_jobs: VendorJobRunner
    clock: Callable[[], float]
    rng: random.Random
    single_slots: FairSlots


@dataclass(slots=True)
class _OpenAddress:
    """An address without a final verification."""

    address: Address
    candidates: list[Verification] = field(default_factory=list)
    """Verifications that are not good enough to stop at."""
    attempts: list[Attempt] = field(default_factory=list)
    first: Source | None = None
    """The source that `measured` has chosen for it, and why."""
    reason: str = ""
    failed: set[str] = field(default_factory=set)
    """Sources whose vendor job of it failed: they come last."""

    def best(self) -> Verification:
        """The candidate that says most, with all attempts."""
        return replace(most_informative(self.candidates), attempts=tuple(self.attempts))


_OpenAddresses = dict[Address, _OpenAddress]


class _RouteVerifier:
    """A `BulkVerifier` for one chunk: its route's sources."""

    def __init__(
        self,
        context: _BulkContext,
        route: SourceRoute,
        key: SpendingScope | None,
        chunk: OriginChunk,
        retries_greylisted: bool,
        *,
        wants_retries: bool,
    ) -> None:
        """`wants_retries`: the client has not refused them."""
        self._context = context
        self._route = route
        self._key = key
        self._chunk = chunk
        self._retries_greylisted = retries_greylisted
        self._wants_retries = wants_retries

    async def verify_many(self, addresses: Iterable[Address], checks: Checks) -> VerificationStream:
        """As `BulkVerifier.verify_many`; may also end with StoreError."""
        left = {address: _OpenAddress(address) for address in addresses}
        if self._route.measured is not None:
            await self._choose_first(left.values(), self._route.measured)
        passed: set[str] = set()
        for source in self._sources_of_lists(checks):
            if not left:
                return
            its = self._addresses_for(source, left, passed)
            passed.add(source.name)
            if not its:
                continue
            if source.name == LOCAL_SOURCE and source.unusable_fault:
                continue
            jobs = None
            if isinstance(source, UpstreamSource):
                jobs = await self._context.vendor_jobs.prepare(
                    source,
                    self._job_input(source, its, checks),
                    partial(self._others_can_take, source),
                )
                if jobs is None:
                    if self._route.measured is not None:
                        continue
                    break
                results = self._ask_upstream(source, jobs, left, checks)
            else:
                results = self._ask_engine(its, checks)
            async with aclosing(results):
                async for each, verification in results:
                    self._record(source, each, verification)
                    if self._is_final(source, verification):
                        del left[each.address]
                        yield each.address, each.best()
            if jobs is not None:
                self._record_failures(source, jobs, left)
                if jobs.refused and self._route.measured is None:
                    break
        single = _SingleVerifier(self._context, self._route, self._key, left)
        async with aclosing(OneByOne(single).verify_many(tuple(left), checks)) as singles:
            async for result in singles:
                yield result

    def _sources_of_lists(self, checks: Checks) -> Iterable[Source]:
        """The sources in the order in which they are given the list; none for some lists."""
        if not checks.smtp or self._route.strategy is Strategy.QUORUM:
            return ()
        return SOURCE_ORDERS[self._route.strategy](self._route.sources, self._context.rng)

    async def _choose_first(
        self, addresses: Iterable[_OpenAddress], measured: MeasuredOrder
    ) -> None:
        """Choose for each address the first source that gets it as part of a list."""
        for number, each in enumerate(addresses):
            if number % CHOSEN_AT_ONCE == 0:
                await asyncio.sleep(0)
            chosen = measured.order(self._route.sources, each.address, self._context.rng)
            each.first, each.reason = chosen.order[0], chosen.reason

    def _addresses_for(
        self, source: Source, left: _OpenAddresses, passed: Set[str]
    ) -> _OpenAddresses:
        """The addresses that a source gets as a list: with `measured` those that it is the first
        for, or whose first is one of `passed`, which have had their lists."""
        if self._route.measured is None:
            return left
        names = {source.name, *passed}
        return {
            address: each
            for address, each in left.items()
            if each.first is not None and each.first.name in names
        }

    def _others_can_take(self, source: Source) -> bool:
        return any(
            other is not source and not other.unusable_fault and other.ready_in_s <= 0
            for other in self._route.sources
        )

    def _job_input(
        self, source: UpstreamSource, left: Iterable[Address], checks: Checks
    ) -> VendorJobInput:
        return VendorJobInput(
            self._chunk,
            [address for address in left if address.valid],
            checks,
            self._context.policy.spending_scopes(source.name, self._key),
            retries=self._wants_retries,
        )

    async def _ask_engine(
        self, left: _OpenAddresses, checks: Checks
    ) -> AsyncGenerator[tuple[_OpenAddress, Verification], None]:
        stream = self._context.bulk_verifier.verify_many(tuple(left), checks)
        async with aclosing(stream) as results:
            async for address, verification in results:
                yield left[address], verification

    async def _ask_upstream(
        self, source: UpstreamSource, jobs: ChunkJobs, left: _OpenAddresses, checks: Checks
    ) -> AsyncGenerator[tuple[_OpenAddress, Verification], None]:
        """The results of vendor jobs, completed by what DNS says meanwhile."""
        by_email = {each.address.normalized: each for each in left.values()}
        began = self._context.clock()
        looked_up: dict[Address, Evidence] = {}
        async with (
            in_background(self._look_up_dns(tuple(left), looked_up)),
            aclosing(jobs.rows()) as rows,
        ):
            async for row in rows:
                # The vendor may write the address in another way, and may send a row twice.
                email = row.email if row.email in by_email else parse_address(row.email).normalized
                each = by_email.pop(email, None)
                if each is None:
                    continue
                verification = source.to_verification(
                    each.address, checks, row.result, row.received_at, self._context.clock() - began
                )
                yield each, self._complete(source, verification, looked_up.get(each.address))

    async def _look_up_dns(
        self, addresses: Iterable[Address], looked_up: dict[Address, Evidence]
    ) -> None:
        """Look the addresses up in DNS while the upstream works, if the settings want it."""
        if self._route.complete is not Completion.DNS:
            return
        try:
            stream = self._context.bulk_verifier.verify_many(addresses, DNS_ONLY)
            async with aclosing(stream) as results:
                async for address, verification in results:
                    looked_up[address] = verification.evidence
        except Exception:
            log.exception("completion.dns_failed", extra={"batch": self._chunk.batch_id})

    def _complete(
        self, source: Source, verification: Verification, looked_up: Evidence | None
    ) -> Verification:
        if self._route.complete is Completion.NONE:
            return verification
        provided = source.evidence_fields
        lists = list_evidence(verification.address, provided)
        evidence = complete_evidence(verification, provided, lists, looked_up)
        return replace(verification, evidence=evidence)

    def _record(self, source: Source, each: _OpenAddress, verification: Verification) -> None:
        latency_ms = round(verification.duration_s * 1000)
        cost = source.price / MICROS_PER_UNIT
        reason = each.reason if source is each.first else ""
        attempt = Attempt(source.name, verification.verdict, latency_ms, cost, detail=reason)
        self._context.policy.report_attempt(attempt)
        each.attempts.append(attempt)
        each.candidates.append(verification)

    def _record_failures(self, source: Source, jobs: ChunkJobs, left: _OpenAddresses) -> None:
        """Show of each address without a result that a job of it may have been billed."""
        cost = source.price / MICROS_PER_UNIT
        for fault, addresses in jobs.failures:
            for address in addresses:
                if (each := left.get(address)) is not None:
                    each.attempts.append(Attempt(source.name, fault, cost=cost))
                    each.failed.add(source.name)

    def _is_final(self, source: Source, verification: Verification) -> bool:
        """Whether no further source is asked about the address now."""
        is_retried = (
            source.name == LOCAL_SOURCE
            and verification.reason is Reason.GREYLISTED
            and self._retries_greylisted
        )
        return is_retried or is_final(self._route.strategy, source, verification)


class _SingleVerifier:
    """A `Verifier` for addresses that lists left open, by the sources that were not asked."""

    def __init__(
        self,
        context: _BulkContext,
        route: SourceRoute,
        key: SpendingScope | None,
        left: Mapping[Address, _OpenAddress],
    ) -> None:
        self._context = context
        self._route = route
        self._key = key
        self._left = left

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        """Raises RetryLater."""
        each = self._left[address]
        asked = {verification.source for verification in each.candidates}
        sources = [source for source in self._route.sources if source.name not in asked]
        if not sources:
            return each.best()
        others = [source for source in sources if source.name not in each.failed]
        failed = [source for source in sources if source.name in each.failed]
        try:
            async with self._context.single_slots.slot():
                try:
                    found = await self._verify(others or failed, address, checks)
                except NoAnswer:
                    if not others or not failed:
                        raise
                    found = await self._verify(failed, address, checks)
        except NoAnswer as none:
            if each.candidates:
                return each.best()
            if none.as_unknown or none.is_permanent:
                return unknown_verification(
                    address,
                    checks,
                    verified_at=datetime.fromtimestamp(self._context.clock(), UTC),
                    source=NO_SOURCE,
                    attempts=(*each.attempts, *none.attempts),
                )
            raise RetryLater(max(none.retry_after_s or 0.0, MIN_RETRY_WAIT_S)) from none
        each.candidates.append(found)
        each.attempts.extend(found.attempts)
        return each.best()

    async def _verify(
        self, sources: Sequence[Source], address: Address, checks: Checks
    ) -> Verification:
        """Raises NoAnswer."""
        route = replace(self._route, sources=tuple(sources))
        return await self._context.policy.verify_by_route(route, self._key, address, checks)
