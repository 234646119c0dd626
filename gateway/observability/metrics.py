"""The metrics of the process, and its access log.

A task of its own writes the lines of the access log a few times a second, so that no request waits
for a terminal or a disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from platform import python_version
from typing import Any, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector

from engine.model import Attempt
from gateway.observability.activity import ActivityCounter
from gateway.observability.request_metrics import RequestMetrics
from gateway.tasks import in_background

log = logging.getLogger("veriplex.request")

# the second series beside each counter, which nobody reads
disable_created_metrics()  # type: ignore[no-untyped-call]

MAX_UNWRITTEN_LINES = 10_000
"""Lines of the access log that wait to be written; beyond it the oldest are dropped and counted."""
WRITE_EVERY_S = 0.2

CACHE_OUTCOMES = ("hit", "stale", "stored", "miss", "refresh")
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class AccessLogEntry(NamedTuple):
    """One line of the access log. It holds neither the key nor the mailbox."""

    request_id: str
    dialect: str
    endpoint: str
    method: str
    status: int
    source: str
    seconds: float
    key: str
    """The key's label or hint."""
    domain: str
    problem: str
    at: float = 0.0
    """When the request came, in Unix time."""
    path: str = ""
    """Without keys and mailboxes (`gateway.observability.access_line`)."""
    verdict: str = ""
    cache: str = ""
    """What the verdict cache had: the part of `Cache-Status` after its name."""
    client: str = ""
    """The client's address, behind a trusted proxy the one that the proxy saw."""
    hint: str = ""
    """What the client probably does wrong, for the operator."""

    def to_fields(self) -> dict[str, Any]:
        """The fields of its line."""
        fields = {name: getattr(self, name) for name in _LOGGED_FIELDS if getattr(self, name) != ""}
        fields["ms"] = round(self.seconds * 1000, 2)
        return fields


_LOGGED_FIELDS = (
    *("request_id", "dialect", "endpoint", "method", "path", "status", "verdict", "source"),
    *("cache", "key", "domain", "problem", "hint", "client"),
)
OWN_PATHS = "veriplex"
"""In the place of a dialect, of requests to the server's own paths."""
QUIET_ENDPOINTS = frozenset({"alive", "ready", "metrics", "console"})
"""Of the server's own, asked every few seconds by machines and by open pages: a line each only at
level `debug`."""


@dataclass(frozen=True, slots=True)
class MetricsAccess:
    """Who may read the metrics."""

    enabled: bool = True
    token: str | None = None
    """To be shown as a bearer token; None lets everybody read them who reaches the server."""


class MetricsUnavailable(Exception):
    """The metrics of the other processes could not be had."""


class Metrics:
    """Counts and logs requests, and counts attempts and cache look-ups."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = RequestMetrics(BUCKETS_S)
        self.registry.register(self._requests)
        self._dropped_lines = Counter(
            "veriplex_log_lines_dropped", "Request log lines lost.", registry=self.registry
        )
        self._refused_connections = Counter(
            "veriplex_connections_refused",
            "Connections refused or ended before their request was read, by the reason.",
            ("reason",),
            registry=self.registry,
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
        self.activity = ActivityCounter()
        self._attempt_counters: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._spent = Counter(
            "veriplex_spent",
            "Spent at a source, in the currency of the settings.",
            ("source",),
            registry=self.registry,
        )
        self._unwritten: deque[AccessLogEntry] = deque()
        self._refreshers: list[Callable[[], Awaitable[None]]] = []
        self.text_of_all: Callable[[], Awaitable[bytes]] | None = None
        """What `text` returns in one of several processes: the metrics of all, in the same format.
        It may raise MetricsUnavailable."""
        ProcessCollector(registry=self.registry)
        build = Info("veriplex_build", "The version that runs.", registry=self.registry)
        build.info({"version": version("veriplex"), "python": python_version()})

    def count_attempt(self, attempt: Attempt) -> None:
        """Count one query to a source, and what it cost."""
        labels = (attempt.source, attempt.outcome)
        counters = self._attempt_counters.get(labels)
        if counters is None:
            # kept, since finding a counter by its labels takes ten times as long as counting
            counters = (self._attempts.labels(*labels), self._attempt_seconds.labels(labels[0]))
            self._attempt_counters[labels] = counters
        self.activity.count_attempt(attempt)
        counters[0].inc()
        counters[1].observe(attempt.latency_ms / 1000)
        if attempt.cost:
            self._spent.labels(attempt.source).inc(attempt.cost)

    def count_refused_connection(self, reason: str) -> None:
        """Count a connection that the edge refused (`gateway.web.edge`)."""
        self._refused_connections.labels(reason).inc()

    def count_cache_lookup(self, outcome: str) -> None:
        """Count one look-up in the verdict cache; `outcome` is one of `CACHE_OUTCOMES`."""
        self._cache[outcome].inc()
        self.activity.count_cache_lookup(outcome)

    def register_collector(
        self, collector: Collector, refresh: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Add the metrics of another room; `refresh` brings them up to date."""
        self.registry.register(collector)
        if refresh is not None:
            self._refreshers.append(refresh)

    def record_request(self, entry: AccessLogEntry) -> None:
        """Count one request, and queue its line of the access log."""
        self._requests.count(
            entry.dialect, entry.endpoint, entry.status, entry.source, entry.seconds
        )
        if entry.dialect != OWN_PATHS or entry.verdict:
            self.activity.count_request(
                entry.dialect, entry.status, entry.source, entry.verdict, entry.seconds
            )
        is_quiet = entry.endpoint in QUIET_ENDPOINTS and entry.status < 400
        if log.isEnabledFor(logging.DEBUG if is_quiet else logging.INFO):
            if len(self._unwritten) >= MAX_UNWRITTEN_LINES:
                self._unwritten.popleft()
                self._dropped_lines.inc()
            self._unwritten.append(entry)

    async def text(self) -> bytes:
        """All metrics of the server in Prometheus' text format. Raises MetricsUnavailable."""
        if self.text_of_all is not None:
            return await self.text_of_all()
        await self.refresh()
        return self.render()

    async def refresh(self) -> None:
        """Bring up to date what is counted elsewhere; for `render`."""
        for refresh in self._refreshers:
            await refresh()

    def render(self) -> bytes:
        """All metrics of this process in Prometheus' text format."""
        return generate_latest(self.registry)

    @contextlib.asynccontextmanager
    async def writing_access_log(self) -> AsyncIterator[None]:
        """Write queued lines while inside, and the rest on leaving."""
        try:
            async with in_background(self._write_periodically()):
                yield
        finally:
            self._write_lines()

    async def _write_periodically(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            self._write_lines()

    def _write_lines(self) -> None:
        while self._unwritten:
            entry = self._unwritten.popleft()
            log.info("request", extra={"at": entry.at, "fields": entry.to_fields()})
