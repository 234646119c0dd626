"""The shared server and the living processes as Prometheus metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from gateway.cluster.processes import LivingProcesses
    from gateway.cluster.shared import Shared


class SharedCollector(Collector):
    """Reads the state at each scrape."""

    def __init__(self, shared: Shared, processes: LivingProcesses) -> None:
        self._shared = shared
        self._processes = processes

    def collect(self) -> Iterator[Metric]:
        yield from self._processes_alive()
        store = self._shared.store
        if store is None:
            return
        yield GaugeMetricFamily(
            "veriplex_shared_up", "1 while the shared server is used.", value=float(store.is_up)
        )
        calls = CounterMetricFamily(
            "veriplex_shared_calls", "Calls to the shared server.", labels=("outcome",)
        )
        calls.add_metric(("ok",), store.calls - store.failures)
        calls.add_metric(("failed",), store.failures)
        yield calls
        yield CounterMetricFamily(
            "veriplex_shared_fallback_seconds",
            "Time in which the shared server was done without.",
            value=store.down_s,
        )
        yield CounterMetricFamily(
            "veriplex_shared_changes",
            "How often the shared server was given up, or used again.",
            value=store.changes,
        )

    def _processes_alive(self) -> Iterator[Metric]:
        """The same in every process; to be read with `max`, not summed."""
        alive = GaugeMetricFamily(
            "veriplex_processes",
            "Living processes of the database, by this one's last count.",
            labels=("kind", "version"),
        )
        counts = Counter((one.kind, one.version) for one in self._processes.living)
        for labels, count in sorted(counts.items()):
            alive.add_metric(labels, count)
        yield alive
