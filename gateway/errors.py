"""What any room may raise: storage that is unavailable, and a question no source answered.

Light, for those who only catch it.
"""

from __future__ import annotations

from dataclasses import dataclass

from adapters.contract.problems import Problem
from adapters.contract.upstream import FaultKind
from engine.model import Attempt

NO_SOURCE = "none"
"""The source of an answer that no source gave."""


class StorageUnavailable(Exception):
    """What is kept of accounts and batches cannot be read or written now."""


@dataclass(eq=False)
class NoAnswer(Problem):
    """No source answered."""

    attempts: tuple[Attempt, ...] = ()
    as_unknown: bool = False
    """Whether the settings want an unknown verdict for it."""

    @property
    def sources_asked(self) -> int:
        """Sources that were asked."""
        return sum(attempt.asked for attempt in self.attempts)

    @property
    def is_permanent(self) -> bool:
        """Whether everybody was asked and refused this very question: asking again is no use."""
        return all(attempt.outcome == FaultKind.REFUSED for attempt in self.attempts)
