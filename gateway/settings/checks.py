"""Checks across settings, each of which is valid by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from gateway.settings.model import (
    LOCAL_SOURCE,
    RESERVED_SOURCES,
    RouteSettings,
    RoutingSettings,
    ServerSettings,
    SettingPath,
    Settings,
    UpstreamSettings,
)
from gateway.settings.problems import suggestion

Mistakes = Iterator[tuple[SettingPath, str]]
"""The setting and the message of each mistake."""


def check_settings(settings: Settings, dialects: Collection[str]) -> Mistakes:
    """All mistakes. `dialects`, if given, are the valid names of `upstreams.dialect`."""
    yield from _check_server(settings.server)
    yield from _check_upstreams(settings.upstreams, dialects)
    sources = (LOCAL_SOURCE, *(upstream.name for upstream in settings.upstreams))
    yield from _check_routing(("routing",), settings.routing, sources)
    for index, route in enumerate(settings.routes):
        yield from _check_routing(("routes", index), route, sources)
    yield from _check_keys(settings.routes)


def _check_server(server: ServerSettings) -> Mistakes:
    if bool(server.ssl_certfile) != bool(server.ssl_keyfile):
        missing = "ssl_keyfile" if server.ssl_certfile else "ssl_certfile"
        yield ("server", missing), "ssl_certfile and ssl_keyfile belong together"


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
        if dialects and upstream.dialect not in dialects:
            meant = suggestion(upstream.dialect, dialects)
            meant = meant or f"; known: {', '.join(sorted(dialects))}"
            yield (*loc, "dialect"), f"unknown dialect {upstream.dialect!r}{meant}"


def _check_routing(
    loc: SettingPath, routing: RoutingSettings, sources: Collection[str]
) -> Mistakes:
    seen: set[str] = set()
    for index, source in enumerate(routing.order):
        if source in seen:
            yield (*loc, "order", index), f"{source!r} is named twice"
        if source not in sources:
            meant = suggestion(source, sources)
            yield (*loc, "order", index), f"no upstream is named {source!r}{meant}"
        seen.add(source)
    if routing.quorum_agree > routing.quorum_ask:
        yield (*loc, "quorum_agree"), "cannot be more than quorum_ask"


def _check_keys(routes: tuple[RouteSettings, ...]) -> Mistakes:
    """A key cannot be in two routes."""
    route_names: dict[str, str] = {}
    for index, route in enumerate(routes):
        for position, key in enumerate(route.keys):
            if key in route_names:
                message = f"{key!r} is already in the route {route_names[key]!r}"
                yield ("routes", index, "keys", position), message
            route_names.setdefault(key, route.name)
