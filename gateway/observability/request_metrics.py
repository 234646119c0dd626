"""Counts requests for Prometheus.

A collector of our own, since two metrics of prometheus_client, each with a lock, would take as long
as reading a request. It needs no lock: all counting is done in the event loop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class RequestMetrics(Collector):
    """Requests by dialect, endpoint, status and source, and their duration."""

    def __init__(self, buckets_s: Sequence[float]) -> None:
        self._buckets_s = tuple(buckets_s)
        self._bounds = [*map(floatToGoString, self._buckets_s), "+Inf"]
        self._requests: dict[tuple[str, str, int, str], int] = {}
        self._seconds: dict[tuple[str, str], tuple[list[int], list[float]]] = {}

    def count(self, dialect: str, endpoint: str, status: int, source: str, seconds: float) -> None:
        key = (dialect, endpoint, status, source)
        self._requests[key] = self._requests.get(key, 0) + 1
        labels = (dialect, endpoint)
        times = self._seconds.get(labels)
        if times is None:
            times = self._seconds[labels] = ([0] * len(self._bounds), [0.0])
        counts, total = times
        counts[bisect_left(self._buckets_s, seconds)] += 1
        total[0] += seconds

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "veriplex_requests",
            "Vendor requests answered.",
            labels=("dialect", "endpoint", "status", "source"),
        )
        for (dialect, endpoint, status, source), count in self._requests.items():
            requests.add_metric((dialect, endpoint, str(status), source), count)
        yield requests
        seconds = HistogramMetricFamily(
            "veriplex_request_seconds",
            "Time to answer a vendor request.",
            labels=("dialect", "endpoint"),
        )
        for labels, (counts, total) in self._seconds.items():
            buckets = list(zip(self._bounds, map(float, accumulate(counts)), strict=True))
            seconds.add_metric(labels, buckets, total[0])
        yield seconds
