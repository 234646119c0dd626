"""Sources: upstreams and the engine, their state and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import Response

from engine.model import Verdict
from gateway.web.console.services import ConsoleServices
from gateway.web.console.visit import PageRoute, Section, Visit

if TYPE_CHECKING:
    from gateway.status.overview import Activity, Row

VERDICTS = frozenset(verdict.value for verdict in Verdict)
STATE_COLOURS = {
    "in use": "ok",
    "recovering": "warn",
    "resting": "warn",
    "no credits": "bad",
    "key refused": "bad",
    "banned": "bad",
    "over budget": "warn",
    "paused": "info",
    "not in a route": "",
}


def section(services: ConsoleServices) -> Section | None:
    if services.overview is None:
        return None
    page = SourcesPage(services)
    return Section(
        "Sources",
        "/sources",
        "sources",
        (
            PageRoute("/sources", page.show),
            PageRoute("/sources/{name}/pause", page.pause, "POST"),
            PageRoute("/sources/{name}/resume", page.resume, "POST"),
            PageRoute("/sources/{name}/try", page.try_now, "POST"),
        ),
    )


class SourcesPage:
    def __init__(self, services: ConsoleServices) -> None:
        assert services.overview is not None
        self._overview = services.overview
        self._sources = services.overview.sources
        self._figures = None if services.outcomes is None else services.outcomes.figures

    async def show(self, visit: Visit) -> Response:
        """The page."""
        from gateway.outcomes import words
        from gateway.status.overview import PERIODS

        activity = await self._overview.activity(PERIODS["day"])
        return visit.render(
            "sources.html",
            sources=await self._sources.list(),
            answers=answers_by_source(activity),
            colours=STATE_COLOURS,
            figures=self._figures,
            say=words,
        )

    async def pause(self, visit: Visit) -> Response:
        """Ask a source no more."""
        name = self._name(visit)
        await self._sources.pause(name)
        visit.log_change("source.pause", source=name)
        return visit.redirect("/sources", f"{name} is paused: it is not asked until it is resumed.")

    async def resume(self, visit: Visit) -> Response:
        """Ask it again."""
        name = self._name(visit)
        await self._sources.resume(name)
        visit.log_change("source.resume", source=name)
        return visit.redirect("/sources", f"{name} is in use again.")

    async def try_now(self, visit: Visit) -> Response:
        """Ask an upstream for its balance, and end its rest."""
        name = self._name(visit)
        result = await self._sources.try_now(name)
        visit.log_change("source.try", source=name, works=result.works)
        return visit.redirect("/sources", f"{name}: {result.text}")

    def _name(self, visit: Visit) -> str:
        name: str = visit.request.path_params["name"]
        if not self._sources.has(name):
            raise HTTPException(404)
        return name


def answers_by_source(
    activity: Activity,
) -> Mapping[str, tuple[Sequence[Row], Sequence[Row]]]:
    """By source: how often it gave each verdict, and how often it failed in which way."""
    from gateway.observability.activity import Subject
    from gateway.status.overview import Row

    found: dict[str, tuple[list[Row], list[Row]]] = {}
    for row in activity.rows(Subject.ATTEMPT):
        source, _, outcome = row.name.partition(" ")
        verdicts, faults = found.setdefault(source, ([], []))
        (verdicts if outcome in VERDICTS else faults).append(Row(outcome, row.count, row.mean_ms))
    return found
