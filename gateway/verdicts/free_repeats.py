"""Questions that are paid for but not answered yet, so that asking again costs nothing."""

from __future__ import annotations

from collections.abc import Callable

from engine.model import Checks
from gateway.accounts.caller import Charge

MOST = 100_000
"""Questions remembered; the oldest go first."""

Question = tuple[int, str, Checks]
"""Account, normalised address, and how far to go."""


class Paid:
    """Remembers charges for `kept_s` seconds. `clock` is Unix time in seconds.

    Nearly always empty, and asked at every request: a plain dict, since the caches of cachetools
    look at their clock even then.
    """

    def __init__(self, kept_s: float, clock: Callable[[], float]) -> None:
        self._kept_s = kept_s
        self._clock = clock
        self._charges: dict[Question, tuple[Charge, float]] = {}

    def get(self, question: Question) -> Charge | None:
        if not self._charges:
            return None
        found = self._charges.get(question)
        return found[0] if found is not None and found[1] > self._clock() else None

    def remember(self, question: Question, charge: Charge) -> None:
        """From the first time on, however often it is asked again."""
        if self.get(question) is None:
            self._charges.pop(question, None)
            if len(self._charges) >= MOST:
                del self._charges[next(iter(self._charges))]
            self._charges[question] = (charge, self._clock() + self._kept_s)

    def forget(self, question: Question) -> None:
        if self._charges:
            self._charges.pop(question, None)
