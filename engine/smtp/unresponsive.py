"""Targets that did not answer lately, so that others of their domain are asked first. Pure."""

from __future__ import annotations

from collections.abc import Callable

from engine.cache import TtlCache
from engine.model import Meaning, Stage
from engine.sharing import NO_NOTES, Notes
from engine.smtp.meanings import WITHOUT_REPLY
from engine.smtp.terms import Target

UNRESPONSIVE_FOR_S = 60.0
"""How long a target that did not answer comes after the other targets of a domain."""
LEARNT_FOR_S = UNRESPONSIVE_FOR_S / 2
"""The same if another process found it, some time ago."""
UNRESPONSIVE_CACHE_SIZE = 20_000
"""Targets."""


class UnresponsiveTargets:
    """Targets that did not answer lately, or answered with something other than SMTP."""

    def __init__(
        self, clock: Callable[[], float], notes: Notes = NO_NOTES, egress: str = ""
    ) -> None:
        """`notes` tell other processes with an egress of that name, and what they found."""
        self._cache: TtlCache[Target, Meaning] = TtlCache(UNRESPONSIVE_CACHE_SIZE, clock)
        self._notes = notes
        self._egress = egress

    def __contains__(self, target: Target) -> bool:
        return self._cache.get(target) is not None

    def record_connection(self, target: Target, meaning: Meaning, stage: Stage) -> None:
        """Store how a connection to `target` ended, at `stage`."""
        if stage is not Stage.RCPT and meaning in WITHOUT_REPLY | {Meaning.UNREACHABLE}:
            if target not in self:
                self._notes.put(self._name_of(target), meaning, UNRESPONSIVE_FOR_S)
            self._cache.put(target, meaning, UNRESPONSIVE_FOR_S)
        elif target in self:
            self._notes.put(self._name_of(target), "", 0)
            self._cache.put(target, meaning, 0)

    async def learn(self, target: Target) -> None:
        """Take over what another process found, if nothing is known here."""
        if target not in self and (word := await self._notes.get(self._name_of(target))):
            # another version may know further meanings
            meaning = Meaning(word) if word in _MEANINGS else Meaning.UNREACHABLE
            self._cache.put(target, meaning, LEARNT_FOR_S)

    def _name_of(self, target: Target) -> str:
        return f"unresponsive {self._egress} {target.host} {target.ip}"


_MEANINGS = frozenset(Meaning)
