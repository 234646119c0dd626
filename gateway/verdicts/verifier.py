"""What finds out about addresses, one or many: the probe engine, the policy, a stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from engine.model import Checks, Verification

CONCURRENT_VERIFICATIONS = 100
"""Verifications of one piece of work under way at a time, where they are asked one by one."""

OnResult = Callable[[int, Verification], None]
"""Takes the place in the sequence, and the answer."""


class Verifier(Protocol):
    """Finds out about an address: the probe engine, the policy, or what stands in for them."""

    async def verify(
        self, text: str, checks: Checks = ..., deadline_s: float | None = None
    ) -> Verification: ...


class RetryLater(Exception):
    """Nobody can answer now what was left out; it makes sense to ask again later."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"not before {retry_after_s:.0f} s from now")
        self.retry_after_s = retry_after_s


class BulkVerifier(Protocol):
    """Verifies many addresses together."""

    async def verify_many(
        self, texts: Sequence[str], checks: Checks, *, on_result: OnResult
    ) -> None:
        """Call `on_result` for each as it is known, in any order.

        What is left out failed; if that was for a bug, it is raised at the end, else perhaps
        NotNow.
        """
        ...


class OneByOne:
    """Asks a verifier for each address, a few at a time."""

    def __init__(self, verifier: Verifier, *, concurrency: int = CONCURRENT_VERIFICATIONS) -> None:
        self._verifier = verifier
        self._concurrency = concurrency

    async def verify_many(
        self, texts: Sequence[str], checks: Checks, *, on_result: OnResult
    ) -> None:
        todo = iter(enumerate(texts))
        bugs: list[Exception] = []
        waits_s: list[float] = []

        async def work() -> None:
            for place, text in todo:
                try:
                    answer = await self._verifier.verify(text, checks)
                except RetryLater as later:
                    # the others would only learn the same
                    waits_s.append(later.retry_after_s)
                    return
                except Exception as exc:
                    bugs.append(exc)
                else:
                    on_result(place, answer)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._concurrency, len(texts))):
                group.create_task(work())
        if bugs:
            # one is enough to find the fault by
            raise bugs[0]
        if waits_s:
            raise RetryLater(min(waits_s))
