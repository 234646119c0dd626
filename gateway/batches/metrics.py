"""Metrics of the batches in the database, which all processes share."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from adapters.contract.jobs import JobState
from gateway.store import Store, StoreError
from gateway.store.tables import batches

STATES = {
    "waiting": (JobState.PREPARING, JobState.QUEUED),
    "running": (JobState.RUNNING,),
}
"""The label of the metric, and the states of a batch."""


class BatchCollector(Collector):
    """How many batches wait and run, and the rows that are left of them.

    The numbers are those of the last `refresh`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[str, tuple[int, int]] | None = None

    async def refresh(self) -> None:
        """Count anew; without an answer of the database there are no numbers."""
        states = [state for each in STATES.values() for state in each]
        rows_left = func.coalesce(func.sum(batches.c.rows - batches.c.done), 0)
        query = (
            select(batches.c.state, func.count(), rows_left)
            .where(batches.c.state.in_(states))
            .group_by(batches.c.state)
        )
        try:
            async with self._store.read() as connection:
                self._found = {
                    state: (int(count), int(left))
                    for state, count, left in await connection.execute(query)
                }
        except StoreError:
            self._found = None

    def collect(self) -> Iterator[Metric]:
        if self._found is None:
            return
        counts = GaugeMetricFamily(
            "veriplex_batches", "Batches that wait or run.", labels=("state",)
        )
        for label, states in STATES.items():
            counts.add_metric((label,), sum(self._found.get(s, (0, 0))[0] for s in states))
        yield counts
        yield GaugeMetricFamily(
            "veriplex_batch_rows_left",
            "Rows of these batches that have no result yet.",
            value=sum(left for _, left in self._found.values()),
        )
