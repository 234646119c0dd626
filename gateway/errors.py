"""Exceptions that cross rooms: storage that is unavailable, and a verification without an answer.

This module imports little, so that catching them costs no import of the storage.
"""

from __future__ import annotations

from dataclasses import dataclass

from adapters.contract.problems import Problem
from adapters.contract.upstream import FaultKind
from engine.model import Attempt

LOCAL_SOURCE = "local"
"""`Verification.source` of the local engine, and its name in routes."""
NO_SOURCE = "none"
"""`Verification.source` where no source answered."""


class StorageUnavailable(Exception):
    """The database cannot be read or written now."""


@dataclass(eq=False)
class NoAnswer(Problem):
    """No source answered a verification."""

    attempts: tuple[Attempt, ...] = ()
    as_unknown: bool = False
    """Whether the settings want an unknown verdict in its place."""

    @property
    def sources_asked(self) -> int:
        """How many sources were asked."""
        return sum(attempt.asked for attempt in self.attempts)

    @property
    def is_permanent(self) -> bool:
        """Whether every source refused this address, so that asking again is pointless."""
        return all(attempt.outcome == FaultKind.REFUSED for attempt in self.attempts)
