"""The overview: what needs attention, and what the server did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import Response

from engine.model import Verdict
from gateway.web.console.charts import Chart, Line
from gateway.web.console.services import ConsoleServices
from gateway.web.console.visit import PageRoute, Section, Visit

if TYPE_CHECKING:
    from gateway.status.overview import Activity, Period

POLL_S = {"hour": 5, "day": 30, "month": 120}
"""How often an open page loads its numbers again."""
MAX_SPENDERS = 8
"""Sources with a line of their own in the chart of spending."""


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """How often a verdict was given."""

    name: str
    one_by_one: int
    in_batches: int

    @property
    def count(self) -> int:
        return self.one_by_one + self.in_batches


def section(services: ConsoleServices) -> Section:
    if services.overview is None:
        start = StartPage(services)
        return Section("Overview", "", "overview", (PageRoute("", start.show),))
    page = OverviewPage(services)
    routes = (PageRoute("", page.show), PageRoute("/activity", page.table))
    return Section("Overview", "", "overview", routes)


class StartPage:
    """In a sandbox: how to call it."""

    def __init__(self, services: ConsoleServices) -> None:
        self._services = services

    async def show(self, visit: Visit) -> Response:
        """The page."""
        services = self._services
        url = services.sandbox.url
        calls = [
            (dialect, dialect.example.curl(f"{url}/{dialect.name}", dialect.sandbox_key))
            for dialect in services.dialects
            if dialect.example is not None
        ]
        return visit.render("start.html", dialects=services.dialects, url=url, calls=calls)


class OverviewPage:
    def __init__(self, services: ConsoleServices) -> None:
        assert services.overview is not None
        self._services = services
        self._overview = services.overview

    async def show(self, visit: Visit) -> Response:
        """The page."""
        period = _period(visit)
        activity = await self._overview.activity(period)
        return visit.render(
            "overview.html",
            notices=await self._overview.notices(),
            activity=activity,
            tiles=_tiles(activity),
            verdicts=_verdicts(activity),
            charts=list(_charts(activity)),
            poll_s=POLL_S[period.name],
            dialects=self._services.dialects,
            url=self._services.sandbox.url,
        )

    async def table(self, visit: Visit) -> Response:
        """The charts' numbers as a table."""
        activity = await self._overview.activity(_period(visit))
        return visit.render("activity.html", activity=activity, charts=list(_charts(activity)))


def _period(visit: Visit) -> Period:
    from gateway.status.overview import PERIODS

    period = PERIODS.get(visit.query.get("period", "hour"))
    if period is None:
        raise HTTPException(404)
    return period


def _tiles(activity: Activity) -> dict[str, float | None]:
    from gateway.observability.activity import Outcome, Subject, percentile_ms

    cache = {row.name: row.count for row in activity.rows(Subject.CACHE)}
    return {
        "requests": activity.requests,
        "per_minute": activity.requests / (activity.period.length_s / 60),
        "verdicts": activity.verdicts + activity.batch_verdicts,
        "one_by_one": activity.verdicts,
        "in_batches": activity.batch_verdicts,
        "hits": sum(cache.get(name, 0) for name in ("hit", "stale", "stored")),
        "lookups": sum(cache.values()),
        "refused": activity.count(Subject.OUTCOME, Outcome.REFUSED),
        "failed": activity.count(Subject.OUTCOME, Outcome.FAILED),
        "p50": percentile_ms(activity.total, 50),
        "p95": percentile_ms(activity.total, 95),
        "spent": activity.spent,
    }


def _verdicts(activity: Activity) -> list[VerdictRow]:
    from gateway.observability.activity import Subject

    rows = (
        VerdictRow(
            verdict.value,
            activity.count(Subject.VERDICT, verdict),
            activity.count(Subject.BATCH_VERDICT, verdict),
        )
        for verdict in Verdict
    )
    return sorted(rows, key=lambda row: -row.count)


def _charts(activity: Activity) -> Iterator[Chart]:
    from gateway.observability.activity import Outcome, Subject

    def lines(names: dict[str, str], *subjects: Subject) -> list[Line]:
        found = []
        for name, colour in names.items():
            series = [activity.series(subject, name) for subject in subjects]
            found.append(Line(name, [sum(counts) for counts in zip(*series, strict=True)], colour))
        return found

    outcomes = {
        Outcome.ANSWERED: "series-1",
        Outcome.REFUSED: "series-3",
        Outcome.FAILED: "series-5",
    }
    # without the bucket of now, which is not whole, if there is another one
    starts = activity.starts[:-1] if any(activity.buckets[:-1]) else activity.starts
    yield Chart(
        "requests",
        "Requests",
        "Answered, refused for a mistake of the client (4xx), failed (5xx).",
        starts,
        lines({str(name): colour for name, colour in outcomes.items()}, Subject.OUTCOME),
    )
    yield Chart(
        "verdicts",
        "Verdicts",
        "Verified addresses, those of batches too.",
        starts,
        lines(
            {verdict.value: verdict.value for verdict in Verdict},
            Subject.VERDICT,
            Subject.BATCH_VERDICT,
        ),
    )
    yield Chart(
        "latency",
        "Latency",
        "Half of the requests, and 95 in a hundred, were answered faster.",
        starts,
        [
            Line("p50", activity.percentiles_ms(50), "series-2"),
            Line("p95", activity.percentiles_ms(95), "series-4"),
        ],
        "ms",
    )
    spenders = [row.name for row in activity.rows(Subject.SPENT)][:MAX_SPENDERS]
    if spenders:
        yield Chart(
            "spent",
            "Spending",
            "What sources were paid, in the currency of the settings.",
            starts,
            [Line(name, activity.amounts(name)) for name in spenders],
            "money",
        )
