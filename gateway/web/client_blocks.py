"""Blocks of client addresses after too many failed attempts, for the vendors that have them.

Off unless the dialect has a `ClientBlock`. A block is permanent, as the vendors say: it is stored
until `veriplex blocks lift` ends it. Without a database, in a standalone sandbox, it lasts as long
as the process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from cachetools import LRUCache

from adapters.contract.dialect import Dialect
from adapters.contract.operations import Rate
from adapters.contract.problems import ProblemKind
from gateway.cluster.limits import MovingWindowLimiter, RateLimiter, RateLimitExceeded
from gateway.errors import StorageUnavailable

log = logging.getLogger(__name__)

MAX_CLIENTS = 100_000
"""Addresses in each of the two tables; the least recently used are evicted first."""
KNOWN_FOR_S = 0.9
"""How long a stored block, or that there is none, is remembered: a lifted one ends within a
second in every process."""


class BlockStore(Protocol):
    """Where blocks are stored; documented in `gateway.accounts.blocked_clients`."""

    async def is_blocked(self, dialect: str, client: str) -> bool: ...

    async def block(self, dialect: str, client: str) -> None: ...


class ClientBlocks:
    """Counts failed attempts by client address and dialect."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        store: BlockStore | None = None,
        limiter: RateLimiter | None = None,
    ) -> None:
        """`clock` is in seconds. Without a store, blocks are in memory; `limiter` counts the
        attempts, if other processes count them, too."""
        self._clock = clock
        self._store = store
        self._limiter = limiter or MovingWindowLimiter(clock, max_windows=MAX_CLIENTS)
        self._blocked: LRUCache[tuple[str, str], tuple[bool, float | None]] = LRUCache(MAX_CLIENTS)
        """Whether a client is blocked, and until when that is known; None is for good."""

    async def is_blocked(self, dialect: Dialect, client_ip: str) -> bool:
        """Raises StorageUnavailable."""
        if dialect.client_block is None:
            return False
        key = (dialect.name, client_ip)
        blocked, until = self._blocked.get(key, (False, 0.0))
        if self._store is None or until is None or self._clock() < until:
            return blocked
        blocked = await self._store.is_blocked(*key)
        self._blocked[key] = (blocked, self._clock() + KNOWN_FOR_S)
        return blocked

    async def count_failed_attempt(
        self, dialect: Dialect, client_ip: str, kind: ProblemKind
    ) -> None:
        """Count a problem if it is a failed attempt in the dialect."""
        rule = dialect.client_block
        if rule is None or kind not in rule.counted:
            return
        key = (dialect.name, client_ip)
        # the attempt that is one too many does not fit any more
        rate = Rate(rule.failures - 1, max(1, round(rule.window_s)))
        if rate.count and await self._has_attempts_left(key, rate):
            return
        self._limiter.forget(key, rate)
        self._blocked[key] = (True, None if self._store is None else self._clock() + KNOWN_FOR_S)
        if self._store is None:
            return
        try:
            await self._store.block(*key)
        except StorageUnavailable as exc:
            self._blocked[key] = (True, None)
            log.warning("client_block.not_stored", extra={"error": str(exc)})

    async def _has_attempts_left(self, key: tuple[str, str], rate: Rate) -> bool:
        try:
            await self._limiter.hit(key, rate)
        except RateLimitExceeded:
            return False
        return True
