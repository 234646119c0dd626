"""The state of the sources, for people and programs."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from gateway.settings import LOCAL_SOURCE
from gateway.upstreams.opening import PolicyServices
from gateway.upstreams.routing.budgets import source_scope

MICROS = 1_000_000


async def report_sources(services: PolicyServices) -> list[dict[str, Any]]:
    """The sources in the order in which they are asked by default, then the others.

    Of upstreams it has the state of the circuit, the keys by their numbers, and what was spent.
    """
    route, _ = services.policy.route_for_key(0, "")
    upstreams = {source.name: source for source in services.upstreams}
    order = dict.fromkeys((*(source.name for source in route.sources), *upstreams))
    rows: list[dict[str, Any]] = []

    def paused_at(name: str) -> datetime | None:
        since = services.pauses.since.get(name)
        return None if since is None else datetime.fromtimestamp(since, UTC)

    for name in order:
        source = upstreams.get(name)
        if source is None:
            rows.append({"name": name, "kind": LOCAL_SOURCE, "paused_at": paused_at(name)})
            continue
        circuit = source.circuit
        usual_s = source.latency.percentile_s(50, 1)
        today, month = await services.budgets.spent(source_scope(name).name)
        rows.append(
            {
                "name": name,
                "kind": source.vendor_api.dialect.name,
                "paused_at": paused_at(name),
                "state": "banned" if circuit.is_banned else circuit.state.value,
                "ready_in_s": None if math.isinf(source.ready_in_s) else round(source.ready_in_s),
                "fault": source.unusable_fault or None,
                "usual_latency_ms": None if usual_s is None else round(usual_s * 1000),
                "spent_today": today / MICROS,
                "spent_this_month": month / MICROS,
                "keys": [
                    {"number": key.number, "refused": key.dead, "credits": key.credits}
                    for key in source.keys.keys
                ],
            }
        )
    return rows
