"""Egress and reputation: by which ways mail servers are asked, and who refuses us there."""

from __future__ import annotations

from starlette.responses import Response

from gateway.web.console.services import ConsoleServices
from gateway.web.console.visit import PageRoute, Section, Visit

MAX_REFUSALS = 200
MAX_OPERATORS = 100
"""Of one egress, as this process has seen them."""


def section(services: ConsoleServices) -> Section | None:
    from gateway.status.notices import uses_engine

    if services.overview is None or not uses_engine(services.overview.settings):
        return None
    page = EgressPage(services)
    return Section("Egress and reputation", "/egress", "egress", (PageRoute("/egress", page.show),))


class EgressPage:
    def __init__(self, services: ConsoleServices) -> None:
        assert services.overview is not None
        self._overview = services.overview

    async def show(self, visit: Visit) -> Response:
        """The page."""
        from gateway.doctor.facts import RefusalHistory
        from gateway.doctor.refusals import judge_refusals

        overview = self._overview
        recent = await overview.reputation.recent_refusals(MAX_REFUSALS)
        configured = {egress.name: egress for egress in overview.settings.egress}
        return visit.render(
            "egress.html",
            egresses=[
                {
                    "egress": egress,
                    "settings": configured.get(egress.name),
                    "operators": egress.reputation.operators()[:MAX_OPERATORS],
                    "refused": sum(each.day for each in recent if each.egress == egress.name),
                }
                for egress in overview.egresses
            ],
            engine=overview.settings.engine,
            findings=judge_refusals(RefusalHistory(recent)) if recent else [],
            has_several=len(configured) > 1,
        )
