"""Opens the shadow traffic that the settings describe."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from hashlib import sha256

from adapters.contract.dialect import Dialect
from gateway.observability.redaction import SecretList
from gateway.settings import LOCAL_SOURCE, RouteSettings, RoutingSettings, Settings
from gateway.tasks import in_background
from gateway.upstreams.opening import PolicyServices, open_upstreams
from gateway.upstreams.routing.budgets import SpendingCap, SpendingScope, to_micros
from gateway.upstreams.shadow.source import MAX_IN_FLIGHT, RecordAnswer, ShadowSource
from gateway.upstreams.shadow.traffic import ShadowRoute, ShadowTraffic
from gateway.upstreams.source.local import LocalSource
from gateway.upstreams.source.sharing import ALONE, UpstreamSharing
from gateway.upstreams.source.source import Source
from gateway.upstreams.source.throttle import Throttle
from gateway.verdicts.verifier import Verifier

log = logging.getLogger(__name__)

MAX_SCOPE = 80
"""The longest name of a budget that the database has room for."""
PART_OF_RATE = 0.1
"""Of an upstream's `rate_per_s` and `connections`, what shadow requests get at most."""


@contextlib.asynccontextmanager
async def open_shadow(
    settings: Settings,
    dialects: Sequence[Dialect],
    services: PolicyServices,
    verifier: Verifier,
    record: RecordAnswer,
    *,
    monotonic: Callable[[], float],
    clock: Callable[[], float],
    rng: random.Random,
    secrets: SecretList | None = None,
    sharing: UpstreamSharing = ALONE,
) -> AsyncIterator[ShadowTraffic]:
    """The shadow traffic of all routes. `clock` is Unix time, in seconds; `verifier` the engine."""
    routings: dict[str, RoutingSettings] = {"": settings.routing}
    routings |= {route.name: route for route in settings.routes}
    routes: dict[str, ShadowRoute] = {}
    async with contextlib.AsyncExitStack() as stack:
        for name, routing in routings.items():
            if not (routing.shadow and routing.shadow_share):
                continue
            own = _own_upstreams(settings, routing)
            for upstream in own.upstreams:
                if not upstream.price:
                    log.warning("shadow.unpriced", extra={"source": upstream.name})
            upstreams = await stack.enter_async_context(
                open_upstreams(
                    own,
                    dialects,
                    clock=clock,
                    monotonic=monotonic,
                    rng=rng,
                    secrets=secrets,
                    pause_of=services.pauses.fault_of,
                )
            )
            by_name: dict[str, Source] = {source.name: source for source in upstreams}
            by_name[LOCAL_SOURCE] = LocalSource(
                verifier,
                timeout_s=settings.engine.deadline_s,
                final=frozenset(),
                is_only_source=False,
                pause_of=services.pauses.fault_of,
            )
            serving = {source.name: source for source in services.upstreams}
            routes[name] = ShadowRoute(
                routing.shadow_share,
                [
                    ShadowSource(
                        by_name[each],
                        serving.get(each),
                        _throttle(settings, routing, each, monotonic, sharing),
                        services.budgets,
                        (_scope(routing, each),),
                        record,
                        clock=monotonic,
                    )
                    for each in routing.shadow
                ],
            )
            for source in upstreams:
                if source.key_files is not None:
                    await stack.enter_async_context(in_background(source.key_files.watch()))
        traffic = ShadowTraffic(routes, services.policy.route_of_partition, rng)
        stack.push_async_callback(traffic.aclose)
        if routes:
            await stack.enter_async_context(in_background(traffic.report_periodically()))
        yield traffic


def _own_upstreams(settings: Settings, routing: RoutingSettings) -> Settings:
    """The settings with the shadow upstreams of a route alone, which record no fixtures."""
    upstreams = tuple(
        each.model_copy(update={"record": False})
        for each in settings.upstreams
        if each.name in routing.shadow
    )
    return settings.model_copy(update={"upstreams": upstreams})


def _throttle(
    settings: Settings,
    routing: RoutingSettings,
    name: str,
    clock: Callable[[], float],
    sharing: UpstreamSharing,
) -> Throttle:
    """The limits of a shadow source, which all processes share."""
    connections, per_s = MAX_IN_FLIGHT, routing.shadow_rate_per_s
    upstream = next((each for each in settings.upstreams if each.name == name), None)
    if upstream is not None:
        connections = max(1, min(connections, int(upstream.connections * PART_OF_RATE)))
        if upstream.rate_per_s:
            per_s = min(per_s, upstream.rate_per_s * PART_OF_RATE)
    return Throttle(
        connections,
        per_s,
        clock=clock,
        name=_scope(routing, name).name,
        places=sharing.places,
        paces=sharing.paces,
    )


def _scope(routing: RoutingSettings, name: str) -> SpendingScope:
    """The budget of a shadow source, of which each route has one."""
    route = f"{routing.name}:" if isinstance(routing, RouteSettings) else ""
    cap = SpendingCap(
        to_micros(routing.shadow_daily_budget), to_micros(routing.shadow_monthly_budget)
    )
    scope = f"shadow:{route}{name}"
    if len(scope) > MAX_SCOPE:
        scope = f"shadow:{sha256(scope.encode()).hexdigest()[:32]}"
    return SpendingScope(scope, cap)
