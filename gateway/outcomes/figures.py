"""The main figures of the report in memory, for metrics and for pages that reload."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from engine.model import Verdict
from gateway.outcomes.agreements import AgreementFigures
from gateway.outcomes.records import OutcomeRecords
from gateway.outcomes.statistics import Share
from gateway.store import StoreError

REFRESH_S = 60.0
NOTHING = Share(0, 0)


class OutcomeFigures(Collector):
    """How right each source was over all providers, as of the last minute, and as metrics."""

    def __init__(self, records: OutcomeRecords) -> None:
        self._records = records
        self.bounced: Mapping[tuple[str, Verdict], Share] = {}
        """By source and verdict, of the addresses whose outcome is known."""
        self.agreement: Sequence[AgreementFigures] = ()
        """Of shadow sources."""

    async def refresh_periodically(self) -> None:
        """Read the figures, until cancelled. While the database does not answer they stay."""
        while True:
            with contextlib.suppress(StoreError):  # what writes into the database logs it
                await self.refresh()
            await asyncio.sleep(REFRESH_S)

    async def refresh(self) -> None:
        """Read the figures. Raises StoreError."""
        counts, bounces = Counter[tuple[str, Verdict]](), Counter[tuple[str, Verdict]]()
        for tally in await self._records.tallies():
            counts[tally.source, tally.verdict] += tally.count
            bounces[tally.source, tally.verdict] += tally.bounced
        self.bounced = {key: Share(bounces[key], counts[key]) for key in counts}
        found = await self._records.agreements.figures()
        self.agreement = [each for each in found if not each.provider]

    def bounced_of(self, source: str, verdict: Verdict) -> Share:
        """Of the addresses to which a source gave a verdict, those that bounced."""
        return self.bounced.get((source, verdict), NOTHING)

    def agreement_with(self, source: str) -> list[AgreementFigures]:
        """The agreement of a source with others, where either is a shadow source."""
        return [each for each in self.agreement if source in (each.shadow, each.source)]

    def collect(self) -> Iterator[Metric]:
        outcomes = GaugeMetricFamily(
            "veriplex_judged_addresses",
            "Addresses whose outcome is known, by what a source had said.",
            labels=("source", "verdict", "outcome"),
        )
        for (source, verdict), share in sorted(self.bounced.items()):
            outcomes.add_metric((source, verdict.value, "bounced"), share.hits)
            outcomes.add_metric((source, verdict.value, "delivered"), share.count - share.hits)
        agreement = GaugeMetricFamily(
            "veriplex_shadow_agreement",
            "Addresses that a shadow source was asked about, by whether it gave the same verdict.",
            labels=("shadow", "source", "same"),
        )
        for each in self.agreement:
            same = each.agreement.same
            agreement.add_metric((each.shadow, each.source, "yes"), same.hits)
            agreement.add_metric((each.shadow, each.source, "no"), same.count - same.hits)
        yield from (outcomes, agreement)
