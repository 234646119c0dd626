"""The overview: what the server did over the last hour, day or month, and what needs attention."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.observability.activity import (
    MICROS,
    Counts,
    Outcome,
    Subject,
    Tally,
    percentile_ms,
)
from gateway.observability.activity_log import MINUTE_S, QUARTER_DAY_S, QUARTER_S, ActivityLog
from gateway.status.batches import stuck_batches, undelivered_webhooks
from gateway.status.notices import Facts, Notice, find_notices, uses_engine
from gateway.status.sources import SourceControl
from gateway.store import Store

if TYPE_CHECKING:
    from engine.smtp.egress import Egress
    from gateway.doctor.finding import Finding
    from gateway.reputation import ReputationStore
    from gateway.settings import Settings

MAX_REFUSALS = 200


@dataclass(frozen=True, slots=True)
class Period:
    """A time that ends now."""

    name: str
    length_s: int
    span_s: int
    """Of its buckets."""


PERIODS = {
    period.name: period
    for period in (
        Period("hour", 3600, MINUTE_S),
        Period("day", 86_400, QUARTER_S),
        Period("month", 30 * 86_400, QUARTER_DAY_S),
    )
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a breakdown."""

    name: str
    count: int
    mean_ms: float | None = None
    amount: float = 0.0
    """In the currency of the settings."""

    @property
    def weighted_ms(self) -> float:
        """For a mean over several rows."""
        return (self.mean_ms or 0.0) * self.count


@dataclass(frozen=True, slots=True)
class Activity:
    """What the server did in a period."""

    period: Period
    starts: Sequence[int]
    """Unix time at which each bucket begins, without gaps."""
    buckets: Sequence[Counts]
    total: Counts

    def rows(self, subject: Subject) -> list[Row]:
        """The names of a subject, the most frequent first."""
        rows = [
            Row(
                name,
                tally.count,
                tally.total / tally.count / 1000 if tally.total and tally.count else None,
                tally.total / MICROS,
            )
            for (each, name), tally in self.total.items()
            if each == subject
        ]
        return sorted(rows, key=lambda row: (-row.count, row.name))

    def count(self, subject: Subject, name: str) -> int:
        return self.total.get((subject, name), Tally()).count

    def series(self, subject: Subject, name: str) -> list[int]:
        """The counts of one name by bucket."""
        return [counts.get((subject, name), Tally()).count for counts in self.buckets]

    def amounts(self, name: str) -> list[float]:
        """What was spent at a source, by bucket."""
        spent = [counts.get((Subject.SPENT, name), Tally()).total for counts in self.buckets]
        return [micros / MICROS for micros in spent]

    def percentiles_ms(self, percent: float) -> list[float | None]:
        return [percentile_ms(counts, percent) for counts in self.buckets]

    @property
    def requests(self) -> int:
        return sum(self.count(Subject.OUTCOME, outcome) for outcome in Outcome)

    @property
    def verdicts(self) -> int:
        """Of single verifications."""
        return sum(row.count for row in self.rows(Subject.VERDICT))

    @property
    def batch_verdicts(self) -> int:
        """Of addresses of batches."""
        return sum(row.count for row in self.rows(Subject.BATCH_VERDICT))

    @property
    def spent(self) -> float:
        return sum(row.amount for row in self.rows(Subject.SPENT))

    def to_json(self) -> dict[str, Any]:
        """For the native API: sums by subject, without the buckets."""
        return {
            "period": self.period.name,
            "requests": self.requests,
            "p50_ms": percentile_ms(self.total, 50),
            "p95_ms": percentile_ms(self.total, 95),
            "spent": self.spent,
            "by": {
                subject.value: {row.name: row.count for row in self.rows(subject)}
                for subject in Subject
                if subject is not Subject.LATENCY
            },
        }


@dataclass(slots=True)
class Overview:
    """Collects it. `clock` is Unix time in seconds; methods may raise StoreError."""

    settings: Settings
    store: Store
    log: ActivityLog
    sources: SourceControl
    egresses: Iterable[Egress]
    reputation: ReputationStore
    not_ready_reason: Callable[[], Awaitable[str | None]]
    clock: Callable[[], float]
    findings: Sequence[Finding] = field(default=())
    """Of the doctor, when it ran last in this process."""
    examined_at: float | None = None

    async def activity(self, period: Period) -> Activity:
        """What was done, up to the last few seconds."""
        span = period.span_s
        now = int(self.clock())
        first = now - period.length_s
        first -= first % span
        found = await self.log.read(span, first)
        starts = range(first, now + 1, span)
        buckets = [found.get(start, {}) for start in starts]
        total: Counts = {}
        for counts in buckets:
            for key, tally in counts.items():
                summed = total.setdefault(key, Tally())
                summed.count += tally.count
                summed.total += tally.total
        return Activity(period, starts, buckets, total)

    async def notices(self) -> list[Notice]:
        """What needs attention now."""
        return find_notices(
            Facts(
                settings=self.settings,
                sources=await self.sources.list(),
                egresses=tuple(self.egresses) if uses_engine(self.settings) else (),
                refusals=await self.reputation.recent_refusals(MAX_REFUSALS),
                stuck=await stuck_batches(self.store, self.clock()),
                webhooks=await undelivered_webhooks(self.store),
                not_ready=await self.not_ready_reason(),
                findings=self.findings,
            )
        )
