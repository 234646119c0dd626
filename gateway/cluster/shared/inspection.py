"""What `veriplex doctor` wants to know of the shared server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from gateway.cluster.shared.connection import SERVER_ERRORS, open_client, reason
from gateway.settings.storage import SharedSettings

ROUND_TRIPS = 9
TIMEOUT_S = 2.0
"""For each call: slowness is a finding, not a failure to find anything."""


@dataclass(frozen=True, slots=True)
class SharedServer:
    """A Valkey or Redis server."""

    where: str
    error: str = ""
    """Why it cannot be used."""
    version: str = ""
    """Of Redis, which Valkey also states."""
    policy: str = ""
    """What it evicts when it is full."""
    max_bytes: int = 0
    """0 is no limit."""
    round_trip_ms: float = 0.0
    """The median of a few."""


async def inspect_shared(
    settings: SharedSettings, where: str, clock: Callable[[], float] = time.perf_counter
) -> SharedServer:
    """Try the server of the settings, of which `where` is the host and port."""
    client = open_client(settings.url, settings.password.value, timeout_s=TIMEOUT_S)
    try:
        info = await client.info()
        # As at work: a replica answers, but takes nothing.
        key = f"{settings.prefix}:doctor"
        took_ms = []
        for _ in range(ROUND_TRIPS):
            began = clock()
            await client.set(key, "1", ex=1)
            took_ms.append((clock() - began) * 1_000)
    except SERVER_ERRORS as exc:
        error = reason(exc)
        if password := settings.password.value:  # which a server may repeat
            error = error.replace(password, "…")
        return SharedServer(where, error=error)
    finally:
        with contextlib.suppress(*SERVER_ERRORS):
            await client.aclose()
    return SharedServer(
        where,
        version=str(info.get("redis_version", "")),
        policy=str(info.get("maxmemory_policy", "")),
        max_bytes=int(info.get("maxmemory", 0)),
        round_trip_ms=median(took_ms),
    )
