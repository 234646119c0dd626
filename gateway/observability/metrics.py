"""What the operator sees of each request: one log line and a few counters.

Log lines are collected and written by a task of their own, a few times a second, so that
no request waits for a terminal or a disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from engine.model import Attempt
from gateway.observability.request_metrics import Tally
from gateway.tasks import in_background

if TYPE_CHECKING:
    from engine.smtp.reputation import Standing

log = logging.getLogger("veriplex.request")

MAX_WAITING = 10_000
"""Log lines that may wait to be written; beyond that the oldest are dropped, and counted."""
WRITE_EVERY_S = 0.2

CACHE_OUTCOMES = ("hit", "stale", "stored", "miss", "refresh")
OPERATORS_SHOWN = 30
"""Of mail hosts, those that refused us most often; each has a series for each meaning."""
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Seen(NamedTuple):
    """One request as it is logged: no key, no mailbox."""

    request_id: str
    dialect: str
    endpoint: str
    method: str
    status: int
    source: str
    seconds: float
    key: str
    """The key's label for display."""
    domain: str
    problem: str


class Observer:
    """Counts and logs requests."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Tally(BUCKETS_S)
        self.registry.register(self._requests)
        self._dropped = Counter(
            "veriplex_log_lines_dropped", "Request log lines lost.", registry=self.registry
        )
        self._attempts = Counter(
            "veriplex_attempts",
            "Sources asked, by what came of it.",
            ("source", "outcome"),
            registry=self.registry,
        )
        self._attempt_seconds = Histogram(
            "veriplex_attempt_seconds",
            "Time that a source took.",
            ("source",),
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        cache = Counter(
            "veriplex_cache",
            "Verifications by what the cache had: hit, stale, stored, miss, refresh.",
            ("outcome",),
            registry=self.registry,
        )
        self._cache = {name: cache.labels(name) for name in CACHE_OUTCOMES}
        self._of_attempts: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._cost = Counter(
            "veriplex_spent",
            "Spent at a source, in the currency of the settings.",
            ("source",),
            registry=self.registry,
        )
        self._waiting: deque[Seen] = deque()

    def attempt(self, attempt: Attempt) -> None:
        """Count one source that was asked."""
        place = (attempt.source, attempt.outcome)
        counters = self._of_attempts.get(place)
        if counters is None:
            # looking a counter up by its labels costs ten times what counting does
            counters = (self._attempts.labels(*place), self._attempt_seconds.labels(place[0]))
            self._of_attempts[place] = counters
        counters[0].inc()
        counters[1].observe(attempt.latency_ms / 1000)
        if attempt.cost:
            self._cost.labels(attempt.source).inc(attempt.cost)

    def cache(self, outcome: str) -> None:
        """Count one look into the cache."""
        self._cache[outcome].inc()

    def watch(self, collector: Collector) -> None:
        """Show what somebody else counts with the counters."""
        self.registry.register(collector)

    def watch_standing(self, standing: Standing) -> None:
        """Show how mail hosts' operators treat us with the counters."""
        self.registry.register(_Standing(standing))

    def request(self, seen: Seen) -> None:
        """Count one request, and queue its log line."""
        self._requests.count(seen.dialect, seen.endpoint, seen.status, seen.source, seen.seconds)
        if log.isEnabledFor(logging.INFO):
            if len(self._waiting) >= MAX_WAITING:
                self._waiting.popleft()
                self._dropped.inc()
            self._waiting.append(seen)

    def metrics(self) -> bytes:
        """The counters in Prometheus' text format."""
        return generate_latest(self.registry)

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write log lines while inside, and what is left on leaving."""
        try:
            async with in_background(self._write_on()):
                yield
        finally:
            self._write()

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            self._write()

    def _write(self) -> None:
        while self._waiting:
            seen = self._waiting.popleft()
            fields = {k: v for k, v in seen._asdict().items() if v != "" and k != "seconds"}
            log.info("request", extra={"fields": {**fields, "ms": round(seen.seconds * 1000, 2)}})


class _Standing(Collector):
    """How mail hosts' operators treat us."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    def collect(self) -> Iterator[Metric]:
        refusals = CounterMetricFamily(
            "veriplex_refusals",
            "Refusals of us, not of a mailbox, that this process heard; the worst operators.",
            labels=("operator", "meaning"),
        )
        accounts = self._standing.accounts()
        for account in accounts[:OPERATORS_SHOWN]:
            for meaning, count in account.refusals.items():
                refusals.add_metric((account.operator, meaning), count)
        paused = sum(1 for a in accounts if a.paused_s or a.paused_hosts)
        yield refusals
        yield GaugeMetricFamily(
            "veriplex_paused_operators",
            "Operators of mail hosts some or all of which are left alone for now.",
            value=paused,
        )
