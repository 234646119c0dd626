"""Shadow traffic as Prometheus metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.upstreams.routing.budgets import MICROS_PER_UNIT
from gateway.upstreams.shadow.traffic import ShadowTraffic


class ShadowCollector(Collector):
    """Reads the counts of the shadow sources at each scrape."""

    def __init__(self, traffic: ShadowTraffic) -> None:
        self._traffic = traffic

    def collect(self) -> Iterator[Metric]:
        outcomes = CounterMetricFamily(
            "veriplex_shadow_questions",
            "Questions to shadow sources, by what came of them.",
            labels=("source", "outcome"),
        )
        spent = CounterMetricFamily(
            "veriplex_shadow_spent",
            "Spent on shadow requests, in the currency of the settings.",
            labels=("source",),
        )
        waiting = GaugeMetricFamily(
            "veriplex_shadow_waiting",
            "Questions that wait for a shadow source.",
            labels=("source",),
        )
        # a source may be the shadow of several routes
        counts, money, queued = Counter[tuple[str, str]](), Counter[str](), Counter[str]()
        for source in self._traffic.sources:
            counts.update({(source.name, word): n for word, n in source.outcomes.items()})
            money[source.name] += source.spent_micros
            queued[source.name] += source.waiting
        for (name, outcome), count in sorted(counts.items()):
            outcomes.add_metric((name, outcome), count)
        for name, micros in sorted(money.items()):
            spent.add_metric((name,), micros / MICROS_PER_UNIT)
            waiting.add_metric((name,), queued[name])
        yield from (outcomes, spent, waiting)
