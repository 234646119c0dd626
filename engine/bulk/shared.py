"""What the bulk calls of one engine share: host pools, slots, and what was learnt about domains."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from engine.bulk.host_pool import HostPool
from engine.cache import TtlCache
from engine.model import Address, Checks, Evidence, Smtp, Verification
from engine.smtp.context import CATCH_ALL_CACHE_SIZE, ProbeContext
from engine.smtp.egress import Egress
from engine.smtp.terms import RcptReply, Target
from engine.turns import FairSlots

MAX_DOMAIN_LOOKUPS = 64
"""Domains looked up in DNS at a time."""
MAX_SINGLE_PROBES = 100
"""Addresses on the single path at a time."""
MAX_CONNECTIONS = 400
"""Of all host pools together."""
MAX_HOST_POOLS = 5_000
"""Mail hosts whose limits are kept; idle pools are evicted beyond it."""
UNREACHABLE_DOMAIN_FOR_S = 60.0
"""How long a domain whose hosts cannot be asked is not tried again, at most."""


class SingleProbe(Protocol):
    """The single path: one address, with all that a conversation of its own can find out."""

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification: ...


class BulkShared:
    """The state that outlives a bulk call."""

    def __init__(
        self,
        context: ProbeContext,
        single: SingleProbe,
        *,
        now: Callable[[], datetime],
        recipients_per_connection: int,
        unreachable_for_s: float,
    ) -> None:
        """`single` should not wait for greylisting.

        A domain whose hosts cannot be asked is asked again after `unreachable_for_s`, which is
        shorter than the wait before a batch's first retry.
        """
        self.context = context
        self.single = single
        self.now = now
        self.connections_per_host = sum(
            egress.config.connections_per_host for egress in context.egresses
        )
        """By all egresses together."""
        self._unreachable_for_s = min(unreachable_for_s, UNREACHABLE_DOMAIN_FOR_S)
        self._recipients_per_connection = recipients_per_connection
        self._pools: dict[tuple[str, str, str], HostPool] = {}
        self._connection_slots = FairSlots(MAX_CONNECTIONS)
        self.lookup_slots = FairSlots(MAX_DOMAIN_LOOKUPS)
        self.single_slots = FairSlots(MAX_SINGLE_PROBES)
        self.control_refusals: TtlCache[tuple[str, str], RcptReply] = TtlCache(
            CATCH_ALL_CACHE_SIZE, context.clock
        )
        """Replies that refused a control, by domain and operator."""
        self._unreachable_domains: TtlCache[str, Evidence] = TtlCache(
            CATCH_ALL_CACHE_SIZE, context.clock
        )

    def pool_for(self, target: Target, egress: Egress) -> HostPool:
        key = target.host, target.ip, egress.name
        pool = self._pools.get(key)
        if pool is None:
            if len(self._pools) >= MAX_HOST_POOLS:
                self._evict_idle_pools()
            pool = self._pools[key] = HostPool(
                self.context,
                target,
                egress,
                recipients_per_connection=self._recipients_per_connection,
                connection_slots=self._connection_slots,
            )
        return pool

    def has_connected(self, smtp: Smtp) -> bool:
        """Whether a host pool has had a connection to the host that `smtp` is from."""
        pool = self._pools.get((smtp.host or "", smtp.ip or "", smtp.egress or ""))
        return pool is not None and pool.has_connected

    def unreachable_evidence(self, domain: str) -> Evidence | None:
        """The evidence that the domain's hosts cannot be asked for now; None if they can."""
        return self._unreachable_domains.get(domain)

    def mark_unreachable(self, domain: str, evidence: Evidence) -> None:
        self._unreachable_domains.put(domain, evidence, self._unreachable_for_s)

    async def aclose(self) -> None:
        """Close the connections that are still open; calls should be over."""
        for pool in self._pools.values():
            await pool.aclose()

    def _evict_idle_pools(self) -> None:
        idle = sorted((pool.last_used_s, key) for key, pool in self._pools.items() if pool.idle)
        for _, key in idle[: MAX_HOST_POOLS // 10 + 1]:
            del self._pools[key]
