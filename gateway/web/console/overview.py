"""The overview: how to call this server."""

from __future__ import annotations

from starlette.responses import Response

from gateway.web.console.services import ConsoleServices
from gateway.web.console.visit import PageRoute, Section, Visit


def section(services: ConsoleServices) -> Section:
    page = Overview(services)
    return Section("Overview", "", "overview", (PageRoute("", page.show),))


class Overview:
    def __init__(self, services: ConsoleServices) -> None:
        self._services = services

    async def show(self, visit: Visit) -> Response:
        """The page."""
        url = self._services.sandbox.url
        return visit.render("overview.html", dialects=self._services.dialects, url=url)
