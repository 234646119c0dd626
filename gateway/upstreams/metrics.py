"""The state of circuits and keys as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.upstreams.source.circuit import CircuitState

if TYPE_CHECKING:
    from gateway.upstreams.opening import PolicyServices


class UpstreamCollector(Collector):
    """Reads the state of the upstreams at each scrape."""

    def __init__(self, services: PolicyServices) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        circuits = GaugeMetricFamily(
            "veriplex_circuit", "1 for the state that a circuit is in.", labels=("source", "state")
        )
        credits = GaugeMetricFamily(
            "veriplex_upstream_credits", "As last read from the balance.", labels=("source", "key")
        )
        dead = GaugeMetricFamily(
            "veriplex_upstream_dead_keys", "Keys that were refused.", labels=("source",)
        )
        banned = GaugeMetricFamily(
            "veriplex_upstream_banned",
            "1 if it refuses our account or our address.",
            labels=("source",),
        )
        for source in self._services.upstreams:
            banned.add_metric((source.name,), float(source.circuit.is_banned))
            for state in CircuitState:
                circuits.add_metric((source.name, state), float(source.circuit.state is state))
            for key in source.keys.keys:
                if key.credits is not None:
                    credits.add_metric((source.name, str(key.number)), key.credits)
            dead.add_metric((source.name,), sum(key.dead for key in source.keys.keys))
        yield from (circuits, credits, dead, banned)
