"""What the processes of a database tell each other about upstreams.

A circuit that one process opened is open in the others within a second, so that not every process
pays for failures of its own. Each of them closes it by what it sees itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.sharing import NO_NOTES, NO_PACES, NO_PLACES, Notes, Paces, Places
from gateway.upstreams.source.circuit import CircuitState
from gateway.upstreams.source.upstream import UpstreamSource

LOOK_EVERY_S = 0.5
SAME_S = 0.5
"""Ends of a pause that are less apart are the same: each is counted from another moment."""


@dataclass(frozen=True, slots=True)
class UpstreamSharing:
    """What upstreams share; without others, nothing."""

    places: Places = NO_PLACES
    paces: Paces = NO_PACES
    notes: Notes = NO_NOTES
    parts: Callable[[], int] = lambda: 1
    """Processes among which what is not counted together is divided."""
    process: str = ""
    """The id of this process."""


ALONE = UpstreamSharing()


class CircuitNotes:
    """Tells other processes of open circuits, and opens those that they tell of.

    `clock` is Unix time in seconds.
    """

    def __init__(
        self,
        sources: Sequence[UpstreamSource],
        sharing: UpstreamSharing,
        clock: Callable[[], float],
    ) -> None:
        self._sources = sources
        self._notes = sharing.notes
        self._process = sharing.process
        self._clock = clock
        self._told: dict[UpstreamSource, float] = {}
        """When the pause of an open circuit ends that others were told of, or told us of."""
        self._seen: dict[UpstreamSource, str] = {}
        """The last note of another process, which is followed once."""

    async def run(self) -> None:
        """Look periodically, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Tell what is new here, and follow what is new elsewhere."""
        for source in self._sources:
            self._tell(source)
        words = await asyncio.gather(*(self._notes.get(_name(s)) for s in self._sources))
        for source, word in zip(self._sources, words, strict=True):
            if word is not None and word != self._seen.get(source):
                self._seen[source] = word
                self._follow(source, word)

    def _tell(self, source: UpstreamSource) -> None:
        circuit = source.circuit
        told = self._told.get(source)
        if circuit.state is CircuitState.OPEN:
            left_s = circuit.reopens_in_s
            until = self._clock() + left_s
            if left_s > 0 and (told is None or until - told > SAME_S):
                self._told[source] = until
                ban = "ban" if circuit.is_banned else "pause"
                self._notes.put(_name(source), f"{self._process} {until:.1f} {ban}", left_s)
        elif told is not None and circuit.state is not CircuitState.HALF_OPEN:
            del self._told[source]
            if told > self._clock():  # it is back before its time
                self._notes.put(_name(source), "", 0)

    def _follow(self, source: UpstreamSource, word: str) -> None:
        try:
            process, until, kind = word.split(" ")
            left_s = float(until) - self._clock()
        except ValueError:
            return  # of another version
        if process != self._process and left_s > 0:
            source.circuit.follow_pause(left_s, is_ban=kind == "ban")
            self._told[source] = self._clock() + left_s


def _name(source: UpstreamSource) -> str:
    return f"circuit {source.name} {source.vendor_api.base_url}"
