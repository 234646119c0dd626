"""Chooses the route of each question, and completes what its sources answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from adapters.contract.upstream import UpstreamQuery
from engine.address.offline import offline_evidence
from engine.model import Address, Attempt, Checks, Verification
from engine.verification import verification_from_evidence
from gateway.accounts.caller import Caller
from gateway.settings import LOCAL_SOURCE, Completion, Strategy
from gateway.upstreams.routing.budgets import Budgets, SpendingCap, SpendingScope, source_scope
from gateway.upstreams.routing.changes import Changes
from gateway.upstreams.routing.completion import EvidenceCompletion
from gateway.upstreams.routing.query import OnAttempt, QueryContext, SourceQuery
from gateway.upstreams.routing.routes import SourceRoute
from gateway.verdicts.verifier import Verifier

IN_LISTED_ORDER = frozenset({Strategy.FAILOVER, Strategy.WATERFALL})
"""Strategies that ask a local engine listed first before any upstream, so that what it finds in DNS
need not be looked up beside the upstream."""


class Policy:
    """All routes. `clock` is Unix time, `monotonic` a steady clock, in seconds."""

    def __init__(
        self,
        default: SourceRoute,
        routes: Mapping[str, SourceRoute],
        budgets: Budgets,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        rng: random.Random,
        caps: Mapping[str, SpendingCap] | None = None,
        lookup: Verifier | None = None,
        on_attempt: OnAttempt = lambda _: None,
        shares_cache: bool = False,
        changes: Changes | None = None,
    ) -> None:
        """`routes` by key label, `caps` by source; `lookup` looks addresses up in DNS.

        With `shares_cache` a cached verdict also serves other accounts than the one that asked.
        `changes` is notified when a source is back.
        """
        self._default = default
        self._routes = routes
        self._clock = clock
        self._scopes = {name: source_scope(name, cap) for name, cap in (caps or {}).items()}
        self._lookup = lookup
        self._on_attempt = on_attempt
        self._shares_cache = shares_cache
        self._query_context = QueryContext(
            budgets, self.spending_scopes, monotonic, rng, on_attempt, changes or Changes()
        )

    async def aclose(self) -> None:
        """Cancel the requests that outlived their queries."""
        tasks = tuple(self._query_context.background)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def cache_partition(self, account_id: int, key_label: str) -> str:
        """Which cached verdicts may serve the questions of a key: those of the same route and,
        unless accounts share, of the same account."""
        route = self._routes.get(key_label, self._default)
        return route.name if self._shares_cache else f"{route.name}/{account_id}"

    @staticmethod
    def route_of_partition(partition: str) -> str:
        """The name of the route that a partition of the cache belongs to."""
        return partition.partition("/")[0]

    def route_for_key(
        self, key_id: int, key_label: str
    ) -> tuple[SourceRoute, SpendingScope | None]:
        """The route of a key's questions, and the key's budget if it has one."""
        route = self._routes.get(key_label, self._default)
        return route, SpendingScope(f"key:{key_id}", route.key_cap) if route.key_cap else None

    def spending_scopes(self, source: str, key: SpendingScope | None) -> tuple[SpendingScope, ...]:
        """The budgets that a request to a source is paid from."""
        own = self._scopes.get(source) or source_scope(source)
        return (own,) if key is None else (own, key)

    def report_attempt(self, attempt: Attempt) -> None:
        """Count an attempt that a batch made."""
        self._on_attempt(attempt)

    async def verify(
        self, address: Address, checks: Checks, *, caller: Caller, refresh: bool = False
    ) -> Verification:
        """Answer a caller's question; with `refresh`, upstreams shall not use their caches.

        Raises NoAnswer.
        """
        route, key = self.route_for_key(caller.key_id, caller.key_label)
        return await self.verify_by_route(route, key, address, checks, refresh=refresh)

    async def verify_by_route(
        self,
        route: SourceRoute,
        key: SpendingScope | None,
        address: Address,
        checks: Checks,
        *,
        refresh: bool = False,
    ) -> Verification:
        """The answer of a route's sources, completed, with its attempts. Raises NoAnswer."""
        if not address.valid:
            # No upstream need be asked, let alone paid, to see that.
            local = tuple(
                source
                for source in route.sources
                if source.name == LOCAL_SOURCE and not source.unusable_fault
            )
            if not local:
                return self._malformed_verification(address, checks)
            route = replace(route, sources=local)
        question = UpstreamQuery(address, checks, refresh, route.deadline_s)
        query = SourceQuery(self._query_context, route, key, question)
        completion = self._start_completion(route, question)
        if completion is None:
            return await query.run()
        with completion:
            verification = await query.run()
            if verification.source == LOCAL_SOURCE:
                return verification
            provided = next(
                source.evidence_fields
                for source in route.sources
                if source.name == verification.source
            )
            evidence = await completion.complete(
                verification, provided, query.local_evidence, query.left_s
            )
            return replace(verification, evidence=evidence)

    def _malformed_verification(self, address: Address, checks: Checks) -> Verification:
        return verification_from_evidence(
            address,
            offline_evidence(address),
            checks,
            verified_at=datetime.fromtimestamp(self._clock(), UTC),
        )

    def _start_completion(
        self, route: SourceRoute, question: UpstreamQuery
    ) -> EvidenceCompletion | None:
        """Begin to collect what completes an upstream's answer; None if there is nothing to."""
        is_local_first = route.sources[0].name == LOCAL_SOURCE
        if route.complete is Completion.NONE or (is_local_first and len(route.sources) == 1):
            return None
        wants_dns = route.complete is Completion.DNS and question.checks.dns
        completion = EvidenceCompletion(
            question.address, self._lookup if wants_dns else None, question.wait_s
        )
        if not (is_local_first and route.strategy in IN_LISTED_ORDER):
            completion.start(frozenset.intersection(*[s.evidence_fields for s in route.sources]))
        return completion
