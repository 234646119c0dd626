"""Outcomes: what became of mails, how right each source was, and what misled the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from starlette.responses import Response

from engine.model import Verdict
from gateway.outcomes.statistics import ScoreBand, Share
from gateway.web.console.services import ConsoleServices
from gateway.web.console.visit import PAGE_HEADERS, PageRoute, Section, Visit

if TYPE_CHECKING:
    from gateway.outcomes.report import OutcomeReport

MAX_REASONS = 50
MAX_CANDIDATES = 50
"""On the page."""
MAX_EXPORTED = 1_000
MAX_PROVIDERS = 12
"""Of one source; those with most outcomes."""
MAX_AGREEMENT = 50
"""Rows of the table of shadow sources."""
NONE = Share(0, 0)


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """What became of mail to one provider, by the verdict of a source."""

    provider: str
    """Empty for all providers."""
    bounced: Mapping[Verdict, Share]


@dataclass(frozen=True, slots=True)
class SourceOutcomes:
    """How right one source was."""

    name: str
    rows: Sequence[ProviderRow]
    """Of all providers first."""
    left_out: int
    """Providers that are not shown."""
    calibration: Sequence[ScoreBand]

    @property
    def overall(self) -> Mapping[Verdict, Share]:
        return self.rows[0].bounced


def section(services: ConsoleServices) -> Section | None:
    if services.outcomes is None:
        return None
    page = OutcomesPage(services)
    return Section(
        "Outcomes",
        "/outcomes",
        "outcomes",
        (
            PageRoute("/outcomes", page.show),
            PageRoute("/outcomes/candidates.json", page.export),
        ),
    )


class OutcomesPage:
    def __init__(self, services: ConsoleServices) -> None:
        assert services.outcomes is not None
        self._outcomes = services.outcomes

    async def show(self, visit: Visit) -> Response:
        """The page."""
        from gateway.outcomes import words
        from gateway.outcomes.candidates import read_candidates
        from gateway.outcomes.report import read_report

        records = self._outcomes.records
        report = await read_report(records, MAX_REASONS)
        return visit.render(
            "outcomes.html",
            is_kept=self._outcomes.is_kept,
            report=report,
            sources=sources_of(report),
            candidates=await read_candidates(records, MAX_CANDIDATES),
            verdicts=tuple(Verdict),
            say=words,
            nothing=NONE,
            max_agreement=MAX_AGREEMENT,
        )

    async def export(self, visit: Visit) -> Response:
        """The candidates for the reply table, as a file."""
        from gateway.outcomes.candidates import candidates_as_dict, read_candidates

        found = await read_candidates(self._outcomes.records, MAX_EXPORTED)
        name = "attachment; filename=veriplex-candidates.json"
        return Response(
            orjson.dumps(candidates_as_dict(found), option=orjson.OPT_INDENT_2),
            headers={**PAGE_HEADERS, "Content-Disposition": name},
            media_type="application/json",
        )


def sources_of(report: OutcomeReport) -> list[SourceOutcomes]:
    """The figures by source, of each provider in one row."""
    found: dict[str, dict[str, dict[Verdict, Share]]] = {}
    for each in report.verdicts:
        found.setdefault(each.source, {}).setdefault(each.provider, {})[each.verdict] = each.bounced
    return [
        SourceOutcomes(
            name=source,
            rows=[ProviderRow(*row) for row in list(providers.items())[: MAX_PROVIDERS + 1]],
            left_out=max(0, len(providers) - MAX_PROVIDERS - 1),
            calibration=report.calibration.get(source, ()),
        )
        for source, providers in found.items()
    ]
