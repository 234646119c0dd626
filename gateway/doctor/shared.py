"""Whether the shared server can be used: found out, and judged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.cluster.shared import server_of
from gateway.doctor.finding import Finding, fail, ok, warn
from gateway.settings.storage import SharedSettings

if TYPE_CHECKING:
    from gateway.cluster.shared.inspection import SharedServer

OLDEST_VERSION = (6, 2)
"""Of Redis; Valkey states one that it is compatible with."""
HARMLESS_POLICIES = ("noeviction", "")
SLOW_PART = 0.2
"""Of `shared.timeout_ms`: with a longer round trip a busy moment is a failure."""


async def examine_shared(settings: SharedSettings) -> list[Finding]:
    """The findings about the server of the settings; none without one."""
    if not settings.url:
        return []
    try:
        # imported here, since a process on its own need not have it
        from gateway.cluster.shared.inspection import inspect_shared
    except ModuleNotFoundError:
        advice = "Install it: pip install 'veriplex[cluster]'"
        return [fail("shared", server_of(settings), "its driver is not installed", advice)]
    return [judge_shared(await inspect_shared(settings, server_of(settings)), settings.timeout_ms)]


def judge_shared(fact: SharedServer, timeout_ms: int) -> Finding:
    """Whether it can be used, and how fast it is."""
    check, about = "shared", fact.where
    if fact.error:
        advice = (
            "Look at shared.url, shared.password, and whether the server runs. Until it does, each"
            " process keeps to its part of every limit."
        )
        return warn(check, about, f"cannot be used: {fact.error}", advice)
    numbers = re.findall(r"\d+", fact.version)[:2]
    if tuple(map(int, numbers)) < OLDEST_VERSION:
        text = f"is version {fact.version}"
        return warn(check, about, text, "Use Valkey, or Redis 6.2 or later.")
    took = f"answers in {fact.round_trip_ms:.1f} ms"
    if fact.round_trip_ms > timeout_ms * SLOW_PART:
        advice = "Run it near the servers, or raise shared.timeout_ms."
        return warn(check, about, f"{took}, of the {timeout_ms} ms that it may take", advice)
    if fact.policy not in HARMLESS_POLICIES and not fact.policy.startswith("volatile-"):
        text = f"{took}, but when it is full it evicts any key ({fact.policy})"
        return warn(check, about, text, "Set maxmemory-policy to volatile-ttl there.")
    if fact.policy in HARMLESS_POLICIES and fact.max_bytes:
        text = f"{took}, but when it is full it takes nothing more ({fact.policy})"
        return warn(check, about, text, "Set maxmemory-policy to volatile-ttl there.")
    return ok(check, about, took)
