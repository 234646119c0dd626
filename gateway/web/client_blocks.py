"""Blocks of client addresses after too many failed attempts, for the vendors that have them.

Off unless the dialect has a `ClientBlock`. A block lasts until the server is restarted: the
vendors call it permanent and publish no way to end it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from cachetools import LRUCache

from adapters.contract.dialect import Dialect
from adapters.contract.problems import ProblemKind

MAX_CLIENTS = 100_000
"""Addresses in each of the two tables; the least recently used are evicted first."""


class ClientBlocks:
    """Counts failed attempts by client address and dialect."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: LRUCache[tuple[str, str], deque[float]] = LRUCache(MAX_CLIENTS)
        self._blocked: LRUCache[tuple[str, str], bool] = LRUCache(MAX_CLIENTS)

    def is_blocked(self, dialect: Dialect, client_ip: str) -> bool:
        return dialect.client_block is not None and (dialect.name, client_ip) in self._blocked

    def count_failed_attempt(self, dialect: Dialect, client_ip: str, kind: ProblemKind) -> None:
        """Count a problem if it is a failed attempt in the dialect."""
        rule = dialect.client_block
        if rule is None or kind not in rule.counted:
            return
        key = (dialect.name, client_ip)
        times = self._failures.setdefault(key, deque(maxlen=rule.failures))
        times.append(self._clock())
        if len(times) == rule.failures and times[-1] - times[0] <= rule.window_s:
            self._blocked[key] = True
