"""Settings: the effective values, where each comes from, and the doctor's findings."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.web.console.services import ConsoleServices
from gateway.web.console.visit import PageRoute, Section, Visit

log = logging.getLogger("veriplex.console")

LEVELS = {"ok": ("ok", "fine"), "warn": ("warn", "look at it"), "fail": ("bad", "mend it")}
"""Of a finding: its colour and its word."""


def section(services: ConsoleServices) -> Section | None:
    if services.settings is None or services.overview is None:
        return None
    page = SettingsPage(services)
    return Section(
        "Settings",
        "/settings",
        "settings",
        (
            PageRoute("/settings", page.show),
            PageRoute("/settings/doctor", page.examine, "POST"),
        ),
    )


class SettingsPage:
    def __init__(self, services: ConsoleServices) -> None:
        from gateway.settings.effective import setting_tables

        assert services.settings is not None
        assert services.overview is not None
        self._settings = services.settings
        self._overview = services.overview
        self._tables = setting_tables(services.settings, services.origins)
        self._given = [
            replace(table, rows=rows)
            for table in self._tables
            if (rows := tuple(row for row in table.rows if not row.is_default))
        ]
        self._lock = asyncio.Lock()

    async def show(self, visit: Visit) -> Response:
        """The page."""
        only_given = visit.query.get("only") == "given"
        return visit.render(
            "settings.html",
            tables=self._given if only_given else self._tables,
            only_given=only_given,
            given=sum(len(table.rows) for table in self._given),
            findings=self._overview.findings,
            examined_at=self._overview.examined_at,
            levels=LEVELS,
        )

    async def examine(self, visit: Visit) -> Response:
        """Run the doctor, which takes some seconds."""
        from gateway.doctor.examine import examine

        if self._lock.locked():
            raise HTTPException(409, "The doctor is at work already. Load the page again soon.")
        async with self._lock:
            visit.log_change("doctor.run")
            self._overview.findings = await examine(self._settings)
            self._overview.examined_at = self._overview.clock()
        failed = sum(finding.level == "fail" for finding in self._overview.findings)
        note = "The doctor found nothing to mend." if not failed else f"To mend: {failed}."
        return visit.redirect("/settings#doctor", note)
