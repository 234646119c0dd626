"""Bounds the verifications in flight of one account, so that it leaves room for the others."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import Any

from adapters.contract.problems import Problem, ProblemKind

SHARE_OF_FREE = 0.25
"""Of the free places, the part that one account may take. Alone it gets a fifth of all places; each
further account gets a quarter of the rest."""
MIN_SHARE = 16
"""Places that an account gets in any case."""


class AccountShares:
    """Counts verifications in flight by account."""

    def __init__(self, places: int) -> None:
        """`places` is the most that may be in flight in all."""
        self._free = places
        self._taken: Counter[int] = Counter()

    def check(self, account_id: int) -> None:
        """Raises `Problem` (`UNAVAILABLE`) if the account has its share in flight already."""
        if self._taken[account_id] >= max(MIN_SHARE, self._free * SHARE_OF_FREE):
            raise Problem(ProblemKind.UNAVAILABLE, retry_after_s=1)

    def take(self, account_id: int, task: asyncio.Task[Any]) -> None:
        """Count a verification until its task is done."""
        self._taken[account_id] += 1
        self._free -= 1
        task.add_done_callback(partial(self._give_back, account_id))

    def _give_back(self, account_id: int, _: asyncio.Task[Any]) -> None:
        self._free += 1
        self._taken[account_id] -= 1
        if not self._taken[account_id]:
            del self._taken[account_id]
