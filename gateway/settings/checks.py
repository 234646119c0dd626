"""Checks across settings, each of which is valid by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from gateway.errors import LOCAL_SOURCE
from gateway.settings.model import Settings
from gateway.settings.probe import EgressSettings
from gateway.settings.problems import suggestion
from gateway.settings.section import SettingPath
from gateway.settings.server import ConsoleSettings, KeySettings, ServerSettings
from gateway.settings.sources import (
    RESERVED_SOURCES,
    RouteSettings,
    RoutingSettings,
    Strategy,
    UpstreamSettings,
)
from gateway.settings.values import Secret, key_fault

MIN_PASSWORD_CHARACTERS = 8
"""Of the console's passwords."""

Mistakes = Iterator[tuple[SettingPath, str]]
"""The setting and the message of each mistake."""


def check_settings(
    settings: Settings, dialects: Collection[str], plans: Collection[str] = ()
) -> Mistakes:
    """All mistakes. `dialects` and `plans`, if given, are the names that are valid."""
    yield from _check_server(settings.server)
    yield from _check_console(settings.console)
    yield from _check_plan(settings.limits.plan, plans)
    yield from _check_declared_keys(settings.keys, dialects)
    yield from _check_egresses(settings.egress)
    yield from _check_upstreams(settings.upstreams, dialects)
    sources = (LOCAL_SOURCE, *(upstream.name for upstream in settings.upstreams))
    routings: list[tuple[SettingPath, RoutingSettings]] = [(("routing",), settings.routing)]
    routings += [(("routes", index), route) for index, route in enumerate(settings.routes)]
    for loc, routing in routings:
        yield from _check_routing(loc, routing, sources, settings.outcomes.keep_days)
        yield from _check_shadow(loc, routing, settings)
    yield from _check_routed_keys(settings.routes)


def _check_server(server: ServerSettings) -> Mistakes:
    if bool(server.ssl_certfile) != bool(server.ssl_keyfile):
        missing = "ssl_keyfile" if server.ssl_certfile else "ssl_certfile"
        yield ("server", missing), "ssl_certfile and ssl_keyfile belong together"


def _check_console(console: ConsoleSettings) -> Mistakes:
    for name in ("password", "viewer_password"):
        secret: Secret = getattr(console, name)
        if secret.value and len(secret.value) < MIN_PASSWORD_CHARACTERS:
            message = (
                f"{secret.reference}: should have {MIN_PASSWORD_CHARACTERS} characters at least"
            )
            yield ("console", name), message
    if console.password.value and console.password.value == console.viewer_password.value:
        yield ("console", "viewer_password"), "is the same as console.password"


def _check_plan(name: str, plans: Collection[str]) -> Mistakes:
    if plans and name not in plans:
        known = f"there are {', '.join(plans)}{suggestion(name, plans)}"
        yield ("limits", "plan"), f"no plan is named {name!r}; {known}"


def _check_declared_keys(declared: tuple[KeySettings, ...], dialects: Collection[str]) -> Mistakes:
    seen: dict[tuple[str, str], int] = {}
    for index, each in enumerate(declared):
        yield from _check_dialect(("keys", index), each.dialect, dialects)
        value = each.key.value
        if not value:  # the settings were loaded without secrets
            continue
        if fault := key_fault(value):
            yield ("keys", index, "key"), f"{each.key.reference}: {fault}"
        if (each.dialect, value) in seen:
            first = seen[each.dialect, value]
            yield ("keys", index, "key"), f"is the same key as keys[{first}]"
        seen.setdefault((each.dialect, value), index)


def _check_dialect(loc: SettingPath, name: str, dialects: Collection[str]) -> Mistakes:
    if dialects and name not in dialects:
        meant = suggestion(name, dialects) or f"; known: {', '.join(sorted(dialects))}"
        yield (*loc, "dialect"), f"unknown dialect {name!r}{meant}"


def _check_egresses(egresses: tuple[EgressSettings, ...]) -> Mistakes:
    names: set[str] = set()
    for index, egress in enumerate(egresses):
        if egress.name in names:
            yield ("egress", index, "name"), f"two egresses are named {egress.name!r}"
        names.add(egress.name)
        for position, operator in enumerate(egress.operators):
            if operator in egress.except_operators:
                loc: SettingPath = ("egress", index, "operators", position)
                yield loc, f"{operator!r} is in except_operators, too"


def check_source_addresses(settings: Settings) -> Mistakes:
    """The addresses that this machine does not have, which only a command that probes needs."""
    if not any(egress.source_address for egress in settings.egress):
        return
    # imported here, since few settings need it
    from engine.smtp.connect import missing_source_address

    for index, egress in enumerate(settings.egress):
        if egress.source_address and (why := missing_source_address(egress.source_address)):
            yield ("egress", index, "source_address"), why


def _check_upstreams(
    upstreams: tuple[UpstreamSettings, ...], dialects: Collection[str]
) -> Mistakes:
    names: set[str] = set()
    for index, upstream in enumerate(upstreams):
        loc: SettingPath = ("upstreams", index)
        if upstream.name in RESERVED_SOURCES:
            yield (*loc, "name"), f"{upstream.name!r} is reserved; choose another name"
        if upstream.name in names:
            yield (*loc, "name"), f"two upstreams are named {upstream.name!r}"
        names.add(upstream.name)
        yield from _check_dialect(loc, upstream.dialect, dialects)


def _check_routing(
    loc: SettingPath, routing: RoutingSettings, sources: Collection[str], keep_days: int
) -> Mistakes:
    yield from _check_names((*loc, "order"), routing.order, sources)
    yield from _check_names((*loc, "shadow"), routing.shadow, sources)
    if routing.quorum_agree > routing.quorum_ask:
        yield (*loc, "quorum_agree"), "cannot be more than quorum_ask"
    if routing.strategy is Strategy.MEASURED and not keep_days:
        yield (*loc, "strategy"), "'measured' needs outcomes.keep_days, or nothing is measured"


def _check_names(loc: SettingPath, names: tuple[str, ...], sources: Collection[str]) -> Mistakes:
    """A list of sources."""
    seen: set[str] = set()
    for index, source in enumerate(names):
        if source in seen:
            yield (*loc, index), f"{source!r} is named twice"
        if source not in sources:
            meant = suggestion(source, sources)
            yield (*loc, index), f"no upstream is named {source!r}{meant}"
        seen.add(source)


def _check_shadow(loc: SettingPath, routing: RoutingSettings, settings: Settings) -> Mistakes:
    if not routing.shadow:
        return
    if not settings.outcomes.keep_days:
        yield (*loc, "shadow"), "needs outcomes.keep_days: what it finds could not be kept"
    prices = {upstream.name: upstream.price for upstream in settings.upstreams}
    has_budget = routing.shadow_daily_budget or routing.shadow_monthly_budget
    for index, source in enumerate(routing.shadow):
        if settings.sources_of(routing) == (source,):
            message = f"{source!r} is the only source of this route: there is none to compare with"
            yield (*loc, "shadow", index), message
        if prices.get(source) and not has_budget:
            message = f"{source!r} has a price: set shadow_daily_budget or shadow_monthly_budget"
            yield (*loc, "shadow", index), message


def _check_routed_keys(routes: tuple[RouteSettings, ...]) -> Mistakes:
    """A key cannot be in two routes."""
    route_names: dict[str, str] = {}
    for index, route in enumerate(routes):
        for position, key in enumerate(route.keys):
            if key in route_names:
                message = f"{key!r} is already in the route {route_names[key]!r}"
                yield ("routes", index, "keys", position), message
            route_names.setdefault(key, route.name)
