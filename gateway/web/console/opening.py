"""Puts the console together: its sections, in the order of the menu."""

from __future__ import annotations

from collections.abc import Callable

from gateway.web.console import (
    api,
    batches,
    egress,
    keys,
    outcomes,
    overview,
    sandbox,
    settings,
    sources,
    try_,
)
from gateway.web.console.application import ConsoleApp, ConsoleServer
from gateway.web.console.services import ConsoleServices
from gateway.web.console.visit import Section

SECTIONS: tuple[Callable[[ConsoleServices], Section | None], ...] = (
    overview.section,
    try_.section,
    batches.section,
    sources.section,
    outcomes.section,
    egress.section,
    keys.section,
    sandbox.section,
    settings.section,
    api.section,
)
"""Each gives its entry of the menu, or None if the server has not what it would show."""


def create_console(services: ConsoleServices) -> ConsoleApp:
    """The ASGI application of `/console`."""
    server = ConsoleServer(
        services.access,
        services.guard,
        lambda: services.sandbox.url,
        is_sandbox=services.sandbox.standalone,
    )
    sections = (section(services) for section in SECTIONS)
    return ConsoleApp(server, [each for each in sections if each is not None])
