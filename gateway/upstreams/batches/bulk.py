"""Batches through the policy: lists where a source takes them, else one address at a time.

Sources are asked in the strategy's order. Each gets the addresses that are still open as one
list: the engine groups them by mail host, an upstream gets a list of its own. At the first
source that takes no list, the rest is asked about one by one, by all the policy's rules; so is
whatever a list left open. A quorum is always asked one by one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from adapters.contract.upstream import UpstreamQuery, UpstreamResult
from engine.address.syntax import parse_address
from engine.model import Address, Attempt, Checks, Evidence, Reason, Verification
from gateway.accounts.caller import Caller
from gateway.batches.intake import CHUNK_SIZE
from gateway.batches.model import Claim
from gateway.batches.ports import ChunkVerifier
from gateway.errors import NoAnswer
from gateway.settings import LOCAL_SOURCE, Completion, Strategy
from gateway.upstreams.batches.records import OriginChunk
from gateway.upstreams.batches.vendor_jobs import VendorJobInput, VendorJobRunner
from gateway.upstreams.routing.budgets import MICROS_PER_UNIT, SpendingScope
from gateway.upstreams.routing.completion import DNS_ONLY, complete_evidence, list_evidence
from gateway.upstreams.routing.policy import Policy, SourceRoute
from gateway.upstreams.routing.strategies import SOURCE_ORDERS, is_final, most_informative
from gateway.upstreams.source.source import LocalSource, Source, UpstreamSource
from gateway.verdicts.verifier import BulkVerifier, OneByOne, OnResult, RetryLater

log = logging.getLogger(__name__)

CONCURRENT_SINGLES = 200
"""Of all batches: more would only wait for the upstreams' connections, and time out there."""
MIN_RETRY_WAIT_S = 5.0
"""Before what nobody answered is asked again."""


class BulkPolicy:
    """Who answers which piece of work. `clock` is Unix time in seconds."""

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
            policy, bulk_verifier, vendor_jobs, clock, rng, asyncio.Semaphore(CONCURRENT_SINGLES)
        )

    def choose_verifier(self, claim: Claim, retries_greylisted: bool) -> ChunkVerifier:
        """By the route of the key that the batch came with.

        `patient`: what is greylisted is asked about again, and need not be paid for.
        """
        route, key = self._context.policy.route_for_key(claim.key_id, claim.key_label)
        names = [source.name for source in route.sources]
        if names == [LOCAL_SOURCE]:
            return ChunkVerifier(self._context.bulk_verifier, route.name)
        piece = OriginChunk(claim.batch_id, claim.origin_chunk)
        asking = _Asking(self._context, route, key, piece, retries_greylisted)
        return ChunkVerifier(asking, route.name, is_remote=self._vendor_job_size(route) > 0)

    def chunk_size(self, caller: Caller) -> int:
        """How many addresses of a caller make a piece of work: one list of the first source."""
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
    single_slots: asyncio.Semaphore


@dataclass(slots=True)
class _OpenAddress:
    """An address without an answer."""

    place: int
    address: Address
    candidates: list[Verification] = field(default_factory=list)
    """Answers that are not good enough to stop at."""
    attempts: list[Attempt] = field(default_factory=list)


class _Asking:
    """A `BulkVerifier` for one piece of work."""

    def __init__(
        self,
        means: _BulkContext,
        route: SourceRoute,
        key: SpendingScope | None,
        piece: OriginChunk,
        patient: bool,
    ) -> None:
        self._means = means
        self._route = route
        self._key = key
        self._piece = piece
        self._patient = patient

    async def verify_many(
        self, texts: Sequence[str], checks: Checks, *, on_result: OnResult
    ) -> None:
        """Raises NotNow, StoreError, and whatever is a bug."""
        rest = {place: _OpenAddress(place, parse_address(text)) for place, text in enumerate(texts)}
        if checks.smtp and self._route.strategy is not Strategy.QUORUM:
            for source in SOURCE_ORDERS[self._route.strategy](self._route.sources, self._means.rng):
                if not rest or not await self._as_list(source, rest, checks, on_result):
                    break
        if rest:
            await self._one_by_one(rest, checks, on_result)

    async def _as_list(
        self, source: Source, rest: dict[int, _OpenAddress], checks: Checks, on_result: OnResult
    ) -> bool:
        """Ask a source about all that is open; False if it is rather asked one by one."""
        hearing = _Hearing(self._means.policy, self._route, source, rest, on_result)
        if isinstance(source, LocalSource):
            await self._ask_engine(rest, checks, hearing)
            return True
        if not isinstance(source, UpstreamSource) or source.min_job_size is None:
            return False
        lookup = None
        if self._route.complete is Completion.DNS:
            lookup = asyncio.create_task(self._look_up(rest, hearing))
        try:
            return await self._ask_upstream(source, rest, checks, hearing)
        finally:
            if lookup is not None:
                lookup.cancel()

    async def _ask_engine(
        self, rest: Mapping[int, _OpenAddress], checks: Checks, hearing: _Hearing
    ) -> None:
        opened = list(rest.values())

        def on_found(place: int, found: Verification) -> None:
            last = self._patient and found.reason is Reason.GREYLISTED
            hearing.heard(opened[place], found, last=last)

        texts = [each.address.raw for each in opened]
        await self._means.bulk_verifier.verify_many(texts, checks, on_result=on_found)

    async def _look_up(self, rest: Mapping[int, _OpenAddress], hearing: _Hearing) -> None:
        """Look at DNS while the upstream is being waited for."""
        opened = list(rest.values())

        def on_found(place: int, found: Verification) -> None:
            hearing.looked_up[opened[place].place] = found.evidence

        texts = [each.address.raw for each in opened]
        try:
            await self._means.bulk_verifier.verify_many(texts, DNS_ONLY, on_result=on_found)
        except Exception:
            log.exception("completion.dns_failed", extra={"batch": self._piece.batch_id})

    async def _ask_upstream(
        self,
        source: UpstreamSource,
        rest: Mapping[int, _OpenAddress],
        checks: Checks,
        hearing: _Hearing,
    ) -> bool:
        addresses = [each.address for each in rest.values() if each.address.valid]
        by_address = {each.address.normalized: each for each in rest.values()}
        began = self._means.clock()

        def on_row(email: str, told: UpstreamResult, at: float) -> None:
            each = by_address.get(email) or by_address.get(parse_address(email).normalized)
            if each is not None and each.place in rest:
                took_s = self._means.clock() - began
                hearing.heard(each, source.to_verification(each.address, checks, told, at, took_s))

        paying = self._means.policy.spending_scopes(source.name, self._key)
        work = VendorJobInput(self._piece, addresses, checks, paying)
        return await self._means.vendor_jobs.run_jobs(source, work, on_row)

    async def _one_by_one(
        self,
        rest: Mapping[int, _OpenAddress],
        checks: Checks,
        on_result: OnResult,
    ) -> None:
        opened = list(rest.values())
        single = _SingleVerifier(
            self._means, self._route, self._key, {e.address.raw: e for e in opened}
        )
        await OneByOne(single).verify_many(
            [each.address.raw for each in opened],
            checks,
            on_result=lambda place, found: on_result(opened[place].place, found),
        )


class _Hearing:
    """What a source says of a list."""

    def __init__(
        self,
        policy: Policy,
        route: SourceRoute,
        source: Source,
        rest: dict[int, _OpenAddress],
        on_result: OnResult,
    ) -> None:
        self._policy = policy
        self._route = route
        self._source = source
        self._rest = rest
        self._on_result = on_result
        self.looked_up: dict[int, Evidence] = {}
        """What DNS says, by place."""

    def heard(self, each: _OpenAddress, found: Verification, *, last: bool = False) -> None:
        """Take an answer: it is the last word, or kept for comparison."""
        latency_ms = round(found.duration_s * 1000)
        cost = self._source.price / MICROS_PER_UNIT
        attempt = Attempt(self._source.name, found.verdict, latency_ms, cost)
        self._policy.report_attempt(attempt)
        each.attempts.append(attempt)
        if found.source != LOCAL_SOURCE and self._route.complete is not Completion.NONE:
            looked_up = self.looked_up.get(each.place)
            tells = self._source.evidence_fields
            evidence = complete_evidence(
                found, tells, list_evidence(each.address, tells), looked_up
            )
            found = replace(found, evidence=evidence)
        each.candidates.append(found)
        if last or is_final(self._route.strategy, self._source, found):
            del self._rest[each.place]
            self._on_result(each.place, _final_verification(each))


class _SingleVerifier:
    """A `Verifier` for what lists left open, by the sources that have not said anything."""

    def __init__(
        self,
        context: _BulkContext,
        route: SourceRoute,
        key: SpendingScope | None,
        opened: Mapping[str, _OpenAddress],
    ) -> None:
        self._context = context
        self._route = route
        self._key = key
        self._opened = opened

    async def verify(
        self, text: str, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        """Raises NotNow."""
        each = self._opened[text]
        heard = {attempt.source for attempt in each.attempts}
        left = tuple(source for source in self._route.sources if source.name not in heard)
        if not left:
            return _final_verification(each)
        route = replace(self._route, sources=left)
        question = UpstreamQuery(each.address, checks, wait_s=route.deadline_s)
        try:
            async with self._context.single_slots:
                found = await self._context.policy.verify_by_route(
                    route, self._key, question, deadline_s or route.deadline_s
                )
        except NoAnswer as none:
            if each.candidates:
                return _final_verification(each)
            if none.as_unknown or none.is_permanent:
                return none.to_unknown_verification(self._context.clock())
            raise RetryLater(max(none.retry_after_s or 0.0, MIN_RETRY_WAIT_S)) from none
        each.candidates.append(found)
        each.attempts.extend(found.attempts)
        return _final_verification(each)


def _final_verification(each: _OpenAddress) -> Verification:
    """The best of what was heard, with all that it took."""
    return replace(most_informative(each.candidates), attempts=tuple(each.attempts))
