"""The egresses and our reputation by each, as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from engine.smtp.egress import EgressSet

MAX_OPERATOR_SERIES = 30
"""Pairs of egress and operator, those with most refusals; each has a series for each meaning."""


class EgressCollector(Collector):
    """Reads the state of the egresses at each scrape."""

    def __init__(self, egresses: EgressSet) -> None:
        self._egresses = egresses

    def collect(self) -> Iterator[Metric]:
        refusals = CounterMetricFamily(
            "veriplex_refusals",
            "Refusals of us, not of a mailbox, since the start; the worst operators.",
            labels=("egress", "operator", "meaning"),
        )
        paused = GaugeMetricFamily(
            "veriplex_paused_operators",
            "Operators of mail hosts of which at least one host is paused.",
            labels=("egress",),
        )
        conversations = CounterMetricFamily(
            "veriplex_egress_conversations",
            "Conversations with mail hosts since the start.",
            labels=("egress",),
        )
        faults = CounterMetricFamily(
            "veriplex_egress_faults",
            "Failures of the egress itself, such as its proxy's, since the start.",
            labels=("egress",),
        )
        resting = GaugeMetricFamily(
            "veriplex_egress_resting",
            "1 while the egress is not used because it failed.",
            labels=("egress",),
        )
        rows = []
        for egress in self._egresses:
            operators = egress.reputation.operators()
            rows += [(egress.name, operator) for operator in operators]
            held = sum(1 for one in operators if one.paused_s or one.paused_hosts)
            paused.add_metric((egress.name,), held)
            conversations.add_metric((egress.name,), egress.reputation.conversations)
            faults.add_metric((egress.name,), egress.health.faults)
            resting.add_metric((egress.name,), float(egress.health.left_s > 0))
        rows.sort(key=lambda row: (-row[1].refusal_count, -row[1].conversations))
        for name, operator in rows[:MAX_OPERATOR_SERIES]:
            for meaning, count in operator.refusals.items():
                refusals.add_metric((name, operator.operator, meaning), count)
        yield from (refusals, paused, conversations, faults, resting)
