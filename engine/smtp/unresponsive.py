"""Targets that did not answer lately, so that others of their domain are asked first. Pure."""

from __future__ import annotations

from collections.abc import Callable

from engine.cache import TtlCache
from engine.model import Meaning, Stage
from engine.smtp.meanings import WITHOUT_REPLY
from engine.smtp.terms import Target

UNRESPONSIVE_FOR_S = 60.0
"""How long a target that did not answer comes after the other targets of a domain."""
UNRESPONSIVE_CACHE_SIZE = 20_000
"""Targets."""


class UnresponsiveTargets:
    """Targets that did not answer lately, or answered with something other than SMTP."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._cache: TtlCache[Target, Meaning] = TtlCache(UNRESPONSIVE_CACHE_SIZE, clock)

    def __contains__(self, target: Target) -> bool:
        return self._cache.get(target) is not None

    def record_connection(self, target: Target, meaning: Meaning, stage: Stage) -> None:
        """Store how a connection to `target` ended, at `stage`."""
        if stage is not Stage.RCPT and meaning in WITHOUT_REPLY | {Meaning.UNREACHABLE}:
            self._cache.put(target, meaning, UNRESPONSIVE_FOR_S)
        else:
            self._cache.put(target, meaning, 0)
