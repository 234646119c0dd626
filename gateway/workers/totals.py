"""The metrics of several processes as those of one.

Counters and histograms are added up, those of processes that ended included: Prometheus would take
a smaller sum for a restart. A gauge is the greatest value of any process, or the sum or the least
where that says more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

Families: TypeAlias = list[list[Any]]
"""Metrics as JSON: a list of [name, type, documentation, [[name, labels, value], …]]."""

_ADDED_TYPES = frozenset({"counter", "histogram", "summary"})

GAUGES: Mapping[str, Callable[[float, float], float]] = {
    "process_virtual_memory_bytes": float.__add__,
    "process_resident_memory_bytes": float.__add__,
    "process_open_fds": float.__add__,
    "veriplex_database_connections": float.__add__,
    "veriplex_shadow_waiting": float.__add__,
    "process_start_time_seconds": min,
    # 1 while all is well
    "veriplex_shared_up": min,
    # as each process last read it; the vendor knows of no difference
    "veriplex_upstream_credits": min,
}
"""How the values of two processes become one; of any other gauge the greater is taken: it says what
is in the database that all share, or is 1 while something is the case."""


def to_families(metrics: Iterable[Metric]) -> Families:
    return [
        [
            metric.name,
            metric.type,
            metric.documentation,
            [[sample.name, sample.labels, sample.value] for sample in metric.samples],
        ]
        for metric in metrics
    ]


class Totals:
    """The sum of reports."""

    def __init__(self, reports: Iterable[Families] = ()) -> None:
        self._kinds: dict[str, tuple[str, str]] = {}
        self._values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
        for report in reports:
            self.add(report)

    def add(self, report: Families, *, ended: bool = False) -> None:
        """Add the metrics of a process; of one that has `ended` only what it has counted."""
        for name, kind, documentation, samples in report:
            is_added = kind in _ADDED_TYPES
            if ended and not is_added:
                continue
            self._kinds.setdefault(name, (kind, documentation))
            values = self._values.setdefault(name, {})
            combine = float.__add__ if is_added else GAUGES.get(name, max)
            for sample, labels, value in samples:
                key = (sample, tuple(labels.items()))
                known = values.get(key)
                # JSON has the whole numbers among them as int
                values[key] = float(value) if known is None else combine(known, float(value))

    def families(self) -> Families:
        return [
            [
                name,
                *kind,
                [
                    [sample, dict(labels), value]
                    for (sample, labels), value in self._values[name].items()
                ],
            ]
            for name, kind in self._kinds.items()
        ]


class FamiliesCollector(Collector):
    """Shows families to prometheus_client, which writes them."""

    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        for name, kind, documentation, samples in self._families:
            metric = Metric(name, documentation, kind)
            metric.samples = [Sample(*sample) for sample in samples]
            yield metric
