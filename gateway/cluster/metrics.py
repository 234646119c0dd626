"""Metrics of one process's part in the work, and of all processes together.

The latter begin with `veriplex_cluster_`. Every process exports them, so that they are read with
`max()`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.cluster.ports import Dispatch, DispatchState
from gateway.store import Store, StoreError

CLUSTER_EVERY_S = 5.0
"""How often the database is asked, however often metrics are read."""


class Backlog(Protocol):
    """As `gateway.batches.backlog.Backlog`."""

    @property
    def due_chunks(self) -> int: ...
    @property
    def oldest_due_s(self) -> float: ...
    @property
    def chunks_in_flight(self) -> int: ...
    @property
    def expired_leases(self) -> int: ...
    @property
    def webhooks_due(self) -> int: ...


class ClusterCollector(Collector):
    """The numbers of all processes are those of the last `refresh`."""

    def __init__(
        self,
        store: Store,
        dispatch: Dispatch,
        read_backlog: Callable[[], Awaitable[Backlog]],
        clock_offset_s: Callable[[], float],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._dispatch = dispatch
        self._read_backlog = read_backlog
        self._clock_offset_s = clock_offset_s
        self._monotonic = monotonic
        self._read_at = float("-inf")
        self._backlog: Backlog | None = None
        self._waiting_turns: int | None = None

    async def refresh(self) -> None:
        """Count anew; without an answer of the database there are no numbers of all processes."""
        if self._monotonic() - self._read_at < CLUSTER_EVERY_S:
            return
        self._read_at = self._monotonic()
        try:
            self._backlog = await self._read_backlog()
            if not self._dispatch.is_alone:
                async with self._store.read() as connection:
                    waiting = await self._dispatch.waiting_turns(connection)
                self._waiting_turns = sum(waiting.values())
        except StoreError:
            self._backlog = self._waiting_turns = None

    def collect(self) -> Iterator[Metric]:
        yield _gauge(
            "veriplex_clock_offset_seconds",
            "Seconds that the database's clock is ahead of this machine's.",
            self._clock_offset_s(),
        )
        connections = GaugeMetricFamily(
            "veriplex_database_connections", "Connections of the pool.", labels=("state",)
        )
        for state, count in self._store.connections().items():
            connections.add_metric((state,), count)
        yield connections
        if not self._dispatch.is_alone:
            yield from _dispatch_metrics(self._dispatch.state())
        yield from self._cluster_metrics()

    def _cluster_metrics(self) -> Iterator[Metric]:
        if self._waiting_turns is not None:
            yield _gauge(
                "veriplex_cluster_turns_waiting",
                "Turns that are due and that no process has taken.",
                self._waiting_turns,
            )
        if self._backlog is None:
            return
        yield _gauge(
            "veriplex_cluster_chunks_due",
            "Chunks of batches that are due and that no process works on.",
            self._backlog.due_chunks,
        )
        yield _gauge(
            "veriplex_cluster_oldest_due_seconds",
            "For how long the oldest of them has been due.",
            self._backlog.oldest_due_s,
        )
        yield _gauge(
            "veriplex_cluster_chunks_in_flight",
            "Chunks under a lease.",
            self._backlog.chunks_in_flight,
        )
        yield _gauge(
            "veriplex_cluster_leases_expired",
            "Chunks whose worker did not renew its lease, and that wait for another one.",
            self._backlog.expired_leases,
        )
        yield _gauge(
            "veriplex_cluster_webhooks_due", "Webhooks to be sent.", self._backlog.webhooks_due
        )


def _dispatch_metrics(state: DispatchState) -> Iterator[Metric]:
    turns = CounterMetricFamily(
        "veriplex_turns", "Turns, by what came of them.", labels=("outcome",)
    )
    for outcome, count in state.turns.items():
        turns.add_metric((outcome,), count)
    yield turns
    yield CounterMetricFamily(
        "veriplex_dispatch_restarts",
        "Workers of the job engine in this process that ended and were started anew.",
        value=state.restarts,
    )
    yield CounterMetricFamily(
        "veriplex_dispatch_jobs_freed",
        "Jobs of dead workers that this process made available again.",
        value=state.freed,
    )
    yield _gauge(
        "veriplex_dispatch_last_answer_seconds",
        "Seconds since the database answered the job engine of this process.",
        state.last_answer_s,
    )


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, value=value)
