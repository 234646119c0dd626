"""Shadow traffic: which answers are checked with which shadow sources."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from engine.model import Verdict, Verification
from gateway.errors import NO_SOURCE
from gateway.upstreams.shadow.source import ShadowSource

log = logging.getLogger(__name__)

REPORT_EVERY_S = 60.0
"""Between two log events about questions that were dropped."""


@dataclass(frozen=True, slots=True)
class ShadowRoute:
    """The shadow sources of one route."""

    share: float
    """The share of the answers that each of them is asked about."""
    sources: Sequence[ShadowSource]


class ShadowTraffic:
    """Shadow sources by the name of their route."""

    def __init__(
        self,
        routes: Mapping[str, ShadowRoute],
        route_of: Callable[[str], str],
        rng: random.Random,
    ) -> None:
        """`route_of` names the route of a partition of the verdict cache."""
        self._routes = routes
        self._route_of = route_of
        self._rng = rng
        self._reported: dict[ShadowSource, Counter[str]] = {}

    @property
    def sources(self) -> Sequence[ShadowSource]:
        return [source for route in self._routes.values() for source in route.sources]

    def observe(self, given: Verification, partition: str) -> None:
        """Ask shadow sources later about the address of a new answer, if it is in the sample.

        It returns at once. Not asked are those that took part in the answer. An answer for want of
        any source, without the check of the mailbox, or that is asked again anyway, is left out.
        """
        route = self._routes.get(self._route_of(partition)) if self._routes else None
        if route is None or not given.checks.smtp or not given.address.valid:
            return
        if given.temporary or given.source == NO_SOURCE:
            return
        answered = {each.source for each in given.attempts if each.outcome in _VERDICTS}
        for source in route.sources:
            if source.name == given.source or source.name in answered:
                continue
            if self._rng.random() < route.share:
                source.offer(given)

    async def report_periodically(self) -> None:
        """Log what was dropped, until cancelled."""
        while True:
            await asyncio.sleep(REPORT_EVERY_S)
            self.report()

    def report(self) -> None:
        """Log how many questions were dropped since the last report, and why."""
        for source in self.sources:
            now = Counter(source.outcomes)
            new = now - self._reported.get(source, Counter())
            self._reported[source] = now
            if dropped := {k: n for k, n in sorted(new.items()) if k.startswith("dropped_")}:
                log.info("shadow.dropped", extra={"source": source.name, "dropped": dropped})

    async def aclose(self) -> None:
        """Drop what waits, and end what is in flight."""
        for source in self.sources:
            await source.aclose()


_VERDICTS = frozenset(verdict.value for verdict in Verdict)
